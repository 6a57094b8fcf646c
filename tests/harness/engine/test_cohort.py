from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crucibench.engine.collect.cohort import TimedCohort
from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.worker.tasks import (
    CloseTask,
    Done,
    Failed,
    Gone,
    LeaseTask,
    Message,
    Opened,
    OpenTask,
    RoundDone,
    RoundTask,
    TaskCost,
    TimedTask,
)

Script = Callable[[TimedTask], Message]


def cells(names: str) -> list[PlannedCell]:
    return [cast("PlannedCell", SimpleNamespace(id=name)) for name in names]


def told(task: TimedTask) -> str:
    match task:
        case LeaseTask():
            return "lease" if task.hold else "release"
        case OpenTask():
            return f"{'more' if task.more else 'open'} {task.cell.id}"
        case RoundTask():
            return f"{task.cell.id}{task.number}"
        case CloseTask():
            return f"close {task.cell.id}"


class Models:
    """Answers like worker processes: each model does so many rounds each time it is opened."""

    def __init__(self, rounds: int = 2, **special: Message) -> None:
        self.rounds = rounds
        self.special: dict[str, list[Message]] = {
            name.replace("_", " "): [message] for name, message in special.items()
        }
        self.left: dict[str, int] = {}

    def __call__(self, task: TimedTask) -> Message:
        if isinstance(task, OpenTask):
            self.left[task.cell.id] = self.rounds
        if answers := self.special.get(told(task)):
            return answers.pop(0)
        match task:
            case LeaseTask():
                return Opened()
            case OpenTask():
                return Opened()
            case RoundTask():
                self.left[task.cell.id] -= 1
                return RoundDone(last=self.left[task.cell.id] < 0)
            case CloseTask():
                return Done(cost=TaskCost(0.0, 0.0, 0.0))


def directed(names: str, script: Script) -> tuple[list[str], TimedCohort]:
    turns, heard = TimedCohort(cells(names)), []
    task: TimedTask | None = turns.start()
    while task is not None:
        heard.append(told(task))
        assert len(heard) < 200
        task = turns.answered(script(task))
    return heard, turns


def test_models_take_turns_under_one_lease() -> None:
    heard, turns = directed("ab", Models())
    assert heard == [
        *("lease", "open a", "open b", "a0", "b0", "a1", "b1", "a2", "b2"),
        *("close a", "close b", "release"),
    ]
    assert turns.outcome() == {"a": None, "b": None}
    assert set(turns.done) == {"a", "b"}


@pytest.mark.parametrize(
    ("at", "message"),
    [("open_b", Gone("killed")), ("b1", Failed("error", "raised")), ("close_b", Gone("killed"))],
)
def test_whoever_fails_leaves_and_the_others_go_on(at: str, message: Message) -> None:
    heard, turns = directed("abc", Models(**{at: message}))
    failures = {name: failure for name, failure in turns.outcome().items() if failure}
    assert list(failures) == ["b"]
    assert failures["b"].kind == ("worker" if isinstance(message, Gone) else "error")
    assert [step for step in heard if step in {"a2", "c2", "close a", "close c"}] == [
        *("a2", "c2", "close a", "close c")
    ]
    assert heard[-1] == "release"


@pytest.mark.parametrize(
    "message", [Gone("the node is gone", lost=True), Failed("worn", "memory ran out")]
)
def test_a_lost_machine_lets_all_begin_anew(message: Message) -> None:
    heard, turns = directed("ab", Models(b1=message))
    again = heard.index("lease", 1)
    assert heard[again - 1] == "b1"
    assert heard[again:] == directed("ab", Models())[0]
    assert set(turns.done) == {"a", "b"}


def test_a_machine_that_is_always_lost_fails_the_cohort() -> None:
    lost = Gone("the node is gone", lost=True)
    heard, turns = directed("ab", lambda task: lost)
    assert set(heard) == {"lease"} and len(heard) < 20
    assert all(failure and "lost" in failure.reason for failure in turns.outcome().values())


def test_where_memory_is_short_the_first_model_is_in_every_block() -> None:
    full = Opened(crowded=True)
    heard, turns = directed("abcd", Models(rounds=1, open_b=full, open_c=full))
    assert heard == [
        *("lease", "open a", "open b", "a0", "b0", "a1", "b1", "close b"),
        *("more a", "open c", "a2", "c2", "a3", "c3", "close c"),
        *("more a", "open d", "a4", "d4", "a5", "d5", "close a", "close d", "release"),
    ]
    assert set(turns.done) == set("abcd")


def test_a_crowded_machine_times_two_models_at_least() -> None:
    heard, _ = directed("ab", Models(rounds=1, open_a=Opened(crowded=True)))
    assert heard[1:5] == ["open a", "open b", "a0", "b0"]


def test_the_next_model_stands_in_for_a_first_one_that_fails() -> None:
    full = Opened(crowded=True)
    script = Models(rounds=1, a0=Failed("error", "raised"), open_b=full)
    heard, turns = directed("abc", script)
    assert "more b" in heard
    assert {name: bool(failure) for name, failure in turns.outcome().items()} == {
        "a": True, "b": False, "c": False,
    }  # fmt: skip


def test_time_counts_for_whose_turn_it_is() -> None:
    turns = TimedCohort(cells("ab"))
    script: Any = Models()
    task: TimedTask | None = turns.start()
    while task is not None and not isinstance(task, RoundTask):
        task = turns.answered(script(task))
    assert turns.cell is not None and turns.cell.id == "a"
    assert turns.seconds() >= 0.0
