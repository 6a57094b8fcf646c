"""Running out of memory: smaller batches, marked; and the batch that ``auto`` comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import crucibench as cb
from crucibench.contracts.adapter import Answer
from crucibench.contracts.verdict import Verdict
from crucibench.engine.executors import local
from crucibench.engine.executors.local import LocalExecutor
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.run import execute
from crucibench.engine.worker import inspect as inspecting
from crucibench.engine.worker.tasks import Failed, Gone, Setup
from crucibench.store.cells import CellFile
from crucibench.store.manifest import digests
from crucibench.store.run import Run
from crucibench.util.memory import is_out_of_memory
from crucibench.util.untrusted.yaml_text import read_yaml

pytestmark = pytest.mark.slow

MODELS = {"a": "nearest:0", "b": "nearest:1.5"}
DEFAULTS = {"batch_size": 32, "replicates": 100}
NO_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
]


@pytest.fixture
def asked() -> list[int]:
    """The sizes of all batches that the leaning model was asked."""
    return []


@pytest.fixture
def tight(model: Any, monkeypatch: pytest.MonkeyPatch, asked: list[int]) -> Callable[[int], None]:
    """Lets the leaning model raise above a batch of so many, as if memory were short."""
    honest = model._predict
    errors = cycle(NO_MEMORY)

    def tighten(most: int) -> None:
        def predict(self: Any, batch: Any, want: Any) -> Answer:
            if self.lean and want:  # rounds are asked of whole batches, or not at all
                asked.append(len(batch))
                if len(batch) > most:
                    raise next(errors)
            return honest(self, batch, want)

        monkeypatch.setattr(model, "_predict", predict)

    return tighten


def mapped(run: Run, model: str) -> dict[str, CellFile]:
    return {
        file.scenario: file
        for file in run.cells.values()
        if file.model == model and file.kind == "mapped"
    }


def cached(run: Run) -> set[str]:
    events = map(json.loads, run.layout.events.read_text().splitlines())
    return {event["cell"] for event in events if event["event"] == "cached"}


# -- the batch is halved -------------------------------------------------------------------------


def test_the_batch_is_halved_and_the_cell_says_so(
    run_spec: Any, tight: Callable[[int], None]
) -> None:
    assert all(is_out_of_memory(error) for error in NO_MEMORY)
    assert not is_out_of_memory(RuntimeError("my own bug"))
    planned = run_spec(out="small", defaults=DEFAULTS | {"batch_size": 8}, cache=True)
    tight(8)
    run = run_spec(out="tight", defaults=DEFAULTS, cache=True)
    assert run.exit_code == 0
    for scenario, file in mapped(run, "b").items():
        (finding,) = [one for one in file.findings if one.code == "batch-reduced"]
        assert finding.severity == "info" and file.verdict is Verdict.VALID
        assert file.facts == {"reduced_batch": 8} and finding.evidence == {"batch_size": 8}
        own = run.records(file.cell)
        theirs = planned.records(mapped(planned, "b")[scenario].cell)
        assert list(own["id"]) == list(theirs["id"]) or scenario == "noise"
        keys = [name for name in ("point", "stage", "id") if name in own]
        own, theirs = (frame.sort_values(keys, kind="stable") for frame in (own, theirs))
        assert list(own.columns) == list(theirs.columns)
        for name in own:
            left, right = (np.stack(frame[name].to_numpy()) for frame in (own, theirs))
            if left.dtype.kind == "f":
                np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
            else:
                assert (left == right).all(), name
    for file in mapped(run, "a").values():
        assert file.facts == {} and "batch-reduced" not in {one.code for one in file.findings}


def test_what_was_made_in_smaller_batches_is_not_kept(
    run_spec: Any, model: Any, tight: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # Only the pass runs short: what needs it was made in the batches of the plan.
    with monkeypatch.context() as patched:
        honest = model._predict

        def short(self: Any, batch: Any, want: Any) -> Answer:
            if self.lean and len(batch) > 8 and "labels" not in want and short.passing:
                raise MemoryError
            return honest(self, batch, want)

        from crucibench.passes.scenario import Pass

        run_pass = Pass.run

        def watched(self: Any, stage: str, work: Any, context: Any) -> Any:
            short.passing = True
            try:
                return run_pass(self, stage, work, context)
            finally:
                short.passing = False

        short.passing = False  # type: ignore[attr-defined]
        patched.setattr(model, "_predict", short)
        patched.setattr(Pass, "run", watched)
        run = run_spec(out="first", defaults=DEFAULTS, cache=True)
    own = mapped(run, "b")
    assert own["test"].facts == {"reduced_batch": 8}
    assert own["search"].facts == own["noise"].facts == {}
    again = run_spec(out="second", defaults=DEFAULTS, cache=True)
    left_out = {own["test"].cell, own["search"].cell}
    everything = {file.cell for name in MODELS for file in mapped(again, name).values()}
    assert cached(again) == everything - left_out
    assert all(not file.facts for file in again.cells.values())


class _Stop(Listener):
    """Interrupts after so many batches of a scenario."""

    def __init__(self, after: int, scenario: str) -> None:
        self.left, self.scenario = after, scenario

    def advanced(self, cell: Any, samples: int) -> None:
        self.left -= cell.scenario.name == self.scenario
        if not self.left:
            raise KeyboardInterrupt


def test_a_reduced_batch_outlives_the_process(
    run_spec: Any, tight: Callable[[int], None], asked: list[int]
) -> None:
    tight(8)
    options = {"models": {"b": MODELS["b"]}, "defaults": DEFAULTS, "suites": ("sample",)}
    whole = run_spec(out="whole", **options)
    with pytest.raises(KeyboardInterrupt):
        run_spec(out="cut", listener=_Stop(9, "search"), **options)
    cut = len(asked)
    resumed = run_spec(out="cut", **options)
    same = [digests(run.layout) for run in (whole, resumed)]
    timeless = [{key: value for key, value in one.items() if "rounds" not in key} for one in same]
    assert timeless[0] == timeless[1]
    assert mapped(resumed, "b")["search"].facts == {"reduced_batch": 8}
    inspection, rest = asked[cut : cut + 3], asked[cut + 3 :]
    assert inspection == [32, 16, 8]
    assert rest and max(rest) == 8, "the cell that was under way does not run short again"


@pytest.mark.parametrize("fingerprint", [True, False])
def test_a_probe_asks_no_more_at_once_than_the_pass_does(
    run_spec: Any, model: Any, tight: Callable[[int], None], asked: list[int],
    monkeypatch: pytest.MonkeyPatch, fingerprint: bool,
) -> None:  # fmt: skip
    if not fingerprint:
        monkeypatch.setattr(model, "fingerprint", lambda self: None)
    tight(8)
    run = run_spec(models={"b": MODELS["b"]}, defaults={"batch_size": 8})
    assert run.exit_code == 0
    for file in mapped(run, "b").values():
        assert file.facts == {}
        assert not {"batch-reduced", "batch-composition"} & {one.code for one in file.findings}
    assert max(asked[asked.index(8) :]) == 8
    (path,) = run.layout.cell(mapped(run, "b")["test"].cell).glob("probes-normalisation*")
    assert len(pd.read_parquet(path)) == 5 * 256


def test_one_sample_that_is_too_large_is_a_failed_cell(
    run_spec: Any, tight: Callable[[int], None]
) -> None:
    options = {"defaults": DEFAULTS, "keep_going": True}
    tight(0)
    run = run_spec(out="none", **options)
    assert {file.model for file in run.cells.values() if file.status == "ok"} == {"a"}


# -- a worker's limit ----------------------------------------------------------------------------


class _Process:
    def __init__(self, tasks: int) -> None:
        self.slot, self.pid, self.busy, self.tasks = "local-1", 1, True, tasks
        self.printed = self

    def tail(self) -> str:
        return "the end of the log"

    def take(self) -> bytes:
        return b""

    def end(self, patience: float) -> None:
        self.busy = False


@pytest.mark.parametrize("tasks", [1, 2])
def test_what_other_tasks_left_behind_is_not_held_against_this_one(
    monkeypatch: pytest.MonkeyPatch, tasks: int
) -> None:
    monkeypatch.setattr(local, "own_memory", lambda pid: 3 << 30)
    executor = LocalExecutor.__new__(LocalExecutor)
    executor._setup = Setup(
        resolved=None, cards={}, scratch=Path(), root=Path(), device="cpu", threads=1,
        memory=2 << 30,
    )  # type: ignore[arg-type]  # fmt: skip
    executor._watched, executor._printed = 0.0, {}
    process: Any = _Process(tasks)
    executor._all, executor._latest = [process], {"local-1": process}
    (heard,) = executor._over_limit()
    reason = "the worker used 3.0 GiB of memory, more than its limit of 2.0 GiB"
    expected = Gone(reason, "the end of the log") if tasks == 1 else Failed("worn", reason)
    assert heard.message == expected
    assert not executor._all


# -- auto ----------------------------------------------------------------------------------------


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "available_memory", lambda: 0)


@pytest.mark.parametrize(("most", "size"), [(1000, 256), (40, 32), (3, 2), (1, 1)])
def test_auto_is_the_largest_half_that_fits(no_room: None, most: int, size: int) -> None:
    tried = []

    def ask(count: int) -> None:
        tried.append(count)
        if count > most:
            raise MemoryError

    assert inspecting._fitting_batch(ask, 32, 0, 256) == size
    assert tried == [256 >> step for step in range(len(tried))]


def test_auto_tries_nothing_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "available_memory", lambda: 1 << 40)
    assert inspecting._fitting_batch(_never, 32, 1 << 20, 256) == 256
    monkeypatch.setattr(inspecting, "available_memory", lambda: None)
    assert inspecting._fitting_batch(lambda size: None, 32, 0, 256) == 256


def _never(size: int) -> None:
    raise AssertionError("nothing was to be tried")


def test_auto_is_found_once_and_kept(
    run_spec: Any, model: Any, no_room: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        honest = model._predict

        def forty(self: Any, batch: Any, want: Any) -> Answer:
            if self.lean and len(batch) > 40:
                raise MemoryError
            return honest(self, batch, want)

        patched.setattr(model, "_predict", forty)
        with pytest.raises(KeyboardInterrupt):
            run_spec(listener=_Stop(1, "search"))
    (root,) = (tmp_path / "out").iterdir()
    spec = root / "spec.yaml"
    sizes = {"a": {"stripes": 256}, "b": {"stripes": 32}}
    assert read_yaml(spec)["resolved"]["batch_sizes"] == sizes
    run = run_spec()  # there is room now, and yet
    assert run.root == root
    assert read_yaml(spec)["resolved"]["batch_sizes"] == sizes
    for file in run.cells.values():
        assert file.numerics is not None
        assert file.numerics.fields["batch_size"] == sizes[file.model]["stripes"]
    resolved = resolve(read_yaml(spec), spec.parent, str(spec), Overrides())
    options = RunOptions(
        out=tmp_path / "other", scratch=tmp_path / "scratch", workers=0, cache=False
    )
    again = execute(resolved, options, Listener())
    assert again is not None and again.id == run.id
    same = [digests(one.layout) for one in (run, again)]
    assert {name for name in same[0] if same[0][name] != same[1].get(name)} <= {
        name for name in same[0] if "rounds" in name or name == "spec.yaml"
    }


def test_auto_asks_about_the_longest_texts(no_room: None, tmp_path: Path) -> None:
    texts = [f"{row} {'word ' * (row % 50)}" for row in range(400)]
    frame = pd.DataFrame({"text": texts, "y": [f"c{row % 2}" for row in range(400)]})
    longest = sorted(map(len, texts))[-32:]
    seen: list[list[int]] = []

    def model(batch: list[str]) -> np.ndarray:
        seen.append(sorted(map(len, batch)))
        return np.tile([0.25, 0.75], (len(batch), 1))

    cb.run(
        models={"m": model}, data=frame, suites=["accuracy"], out=tmp_path, cache=False,
        data_options={"target": "y", "input": ["text"]}, defaults={"replicates": 100},
    )  # fmt: skip
    assert seen[0] == longest
    assert seen[1] == longest, "a batch of 32 texts, the largest that auto tries"
