"""The plan in words, for each kind of scenario."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crucibench.cli._forecast import Forecast, range_words
from crucibench.cli._plan import plan_document, plan_tables
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, MapContext, Mapped, Timed, TimedContext, Work
from crucibench.contracts.task import Modality, Task
from crucibench.engine.inspect import Inspection
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.resolve.resolve import Resolved
from crucibench.report.format import duration
from crucibench.util.errors import InputError


class _Noise(Mapped):
    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        raise NotImplementedError


class _Clock(Timed):
    def rounds(self, context: TimedContext) -> Iterator[Columns]:
        raise NotImplementedError


class _Worst(Derived):
    pass


TASK = Task(kind="classification", modality=Modality.TABLE, classes=("no", "yes"))
CARD = DataCard(name="claims", uri="csv:claims.csv", task=TASK, counts={"test": 1000})
MODEL = ModelInfo(
    name="fraud", uri="sklearn:fraud.skops", capabilities=frozenset(), score_kind="probabilities",
    geometry={}, fingerprint={"weights": "1"},
)  # fmt: skip
RESOLVED = cast(
    Resolved,
    SimpleNamespace(
        run_id="3f2a", spec=SimpleNamespace(defaults=SimpleNamespace(preset="quick", seed=3))
    ),
)


def _cell(scenario: Any, skip: str = "") -> PlannedCell:
    return PlannedCell(id=scenario.address, scenario=scenario, model=MODEL, data=CARD, skip=skip)


PASS = _cell(_Noise(suite="pass", name="test"))
NOISE = _cell(_Noise(suite="shift", name="noise", points=("severity=1", "severity=3"), limit=100))
WORST = _cell(_Worst(suite="shift", name="worst"))
CLOCK = _cell(_Clock(suite="throughput", name="batch"))
NO_GRADIENTS = _cell(_Noise(suite="shift", name="adversarial"), "the model can't give: gradients")


def _inspection() -> Inspection:
    return Inspection(
        seconds_per_sample={("fraud", "claims"): 0.01},
        errors={("broken", "claims"): InputError("models.py:broken raised KeyError: 1")},
    )


def test_tables() -> None:
    plan = Plan(
        (NOISE, WORST, NO_GRADIENTS, PASS), {("fraud", "claims", "ood"): "the data has no role ood"}
    )
    what, idle = plan_tables(RESOLVED, plan, _inspection())
    assert what.title == ("Plan of run 3f2a: preset quick, seed 3")
    # model, data, suite, cells, samples, points, skipped
    assert what.rows == [
        ["fraud", "claims", "forward pass: test", 1, 1000, 1, None],
        ["fraud", "claims", "shift", 2, 100, 3, 1],
    ]
    assert idle.title == "Not run"
    assert idle.rows == [
        ["broken", "claims", "the model", "models.py:broken raised KeyError: 1"],
        ["fraud", "claims", "suite ood", "the data has no role ood"],
        ["fraud", "claims", "shift/adversarial", "the model can't give: gradients"],
    ]
    (long,) = plan_tables(RESOLVED, plan, _inspection(), long=True)
    assert [row[8] for row in long.rows] == [
        "planned", "planned", "skipped", "planned", "not applicable"
    ]  # fmt: skip


def test_a_plan_without_gaps_has_no_second_table() -> None:
    assert len(plan_tables(RESOLVED, Plan((PASS,), {}), Inspection())) == 1


def test_a_model_without_a_fingerprint_is_told_with_the_reason() -> None:
    info = replace(
        PASS.model, name="cnn", fingerprint=None,
        unidentified="attribute layers.3.table is a generator",
    )  # fmt: skip
    plan = Plan((PASS, replace(PASS, model=info)), {})
    _, unknown = plan_tables(RESOLVED, plan, Inspection())
    assert unknown.rows == [["not cached: cnn: attribute layers.3.table is a generator"]]
    assert plan_document(RESOLVED, plan, Inspection())["not_cached"] == [
        {"model": "cnn", "reason": "attribute layers.3.table is a generator"}
    ]


def test_document() -> None:
    document = plan_document(RESOLVED, Plan((PASS, CLOCK), {}), _inspection())
    assert [cell["kind"] for cell in document["cells"]] == ["mapped", "timed"]
    (refused,) = document["not_inspected"]
    assert refused["model"] == "broken"


def test_a_forecast_comes_of_what_was_measured_and_is_renewed_at_a_quarter() -> None:
    forecast = Forecast(Plan((PASS, NOISE), {}), {}, 0.0)
    forecast.advance(PASS.id, 100, 1.0)
    assert forecast.news() is None  # of the other suite nothing is known
    forecast = Forecast(Plan((replace(PASS, id="a"), replace(PASS, id="b")), {}), {}, 0.0)
    forecast.advance("a", 50, 100.0)  # it was asked other things before
    forecast.advance("a", 50, 100.5)
    assert forecast.news() is None  # a twentieth
    forecast.advance("a", 100, 101.5)
    low, high = forecast.news() or (0, 0)
    assert low < 18.0 + 100.0 < high <= 2 * low
    forecast.advance("b", 100, 102.5)
    assert forecast.news() is None
    forecast.advance("b", 300, 105.5)
    low, high = forecast.news() or (0, 0)
    assert low < 14.0 < high and range_words((low, high)) == "13 s to 17 s"
    forecast.advance("a", None, 113.0)
    forecast.advance("b", None, 114.0)
    assert forecast.seconds_left is None


def test_a_forecast_is_tried_at_each_hundredth_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(Forecast, "seconds_left", property(tried.append))  # none can be made
    forecast = Forecast(Plan((PASS,), {}), {}, 0.0)
    for done in range(2000):
        forecast.advance(PASS.id, 1, done / 1000)
        forecast.news()
    assert 0 < len(tried) <= 100


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.1 s"), (0.44, "0.4 s"), (9.0, "9.0 s"), (42.4, "42 s"), (119, "119 s"),
        (180, "3 min"), (7500, "2 h 5 min"),
    ],
)  # fmt: skip
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
