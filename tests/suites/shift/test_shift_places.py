"""Shifted data of one's own: known drops, estimates without labels, duplicates told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Share
from crucibench.contracts.suite import SuiteConfig
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Severity
from crucibench.metrics.scoring import score
from crucibench.stats import newcombe_unpaired
from crucibench.util.ids import contents
from crucibench_suites.shift import ShiftConfig
from crucibench_suites.shift.audits import audit_place
from crucibench_suites.shift.own_data import OwnData
from crucibench_suites.shift.place_scoring import view_of_place

PLACE = OwnData.of("shift", "v2", "shift/v2", train=False)

ESTIMATES = (
    "estimated-top-1-average-confidence",
    "estimated-top-1-difference-of-confidences",
    "estimated-top-1-thresholded-confidence",
)


def side(bench: Any, right: Any, confidence: Any, prefix: str, **more: Any) -> CellEvidence:
    """Returns a pass over a side: which answers are right, and how sure each is."""
    right, sure = np.asarray(right, dtype=bool), np.asarray(confidence, dtype=np.float64)
    hand = bench(np.arange(len(right)) % 3, 3, **more)
    hand.ids = np.array([f"{prefix}{row:05d}" for row in range(len(right))], dtype=object)
    hand.samples = hand.samples.replaced(ids=hand.ids)
    said = np.where(right, hand.targets, (hand.targets + 1) % 3)
    scores = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
    scores[np.arange(len(said)), said] = sure
    columns = {"id": list(hand.ids), "prediction": said.astype(np.int32), "scores": scores}
    found: CellEvidence = hand.cell(columns)
    return found


def joined(bench: Any, home: CellEvidence, here: CellEvidence, **more: CellEvidence) -> Evidence:
    found: Evidence = bench([0, 1, 2], 3).evidence(here, home=home, here=here, **more)
    return found


def rows_of(evidence: Evidence) -> dict[str, Row]:
    return {row.metric: row for row in score(PLACE, evidence).rows}


def unlabelled(cell: CellEvidence) -> CellEvidence:
    targets = np.full(len(cell.samples), -1)
    return replace(cell, samples=cell.samples.replaced(targets=targets))


def test_the_drop_by_hand(bench: Any) -> None:
    home = side(bench, np.arange(200) < 180, np.full(200, 0.9), "h")
    here = side(bench, np.arange(100) < 70, np.full(100, 0.8), "v")
    rows = rows_of(joined(bench, home, here))
    assert rows["top-1"].value == 0.7 and rows["top-1"].n == 100
    drop = rows["top-1-home-minus-here"]
    known = newcombe_unpaired(180, 200, 70, 100)
    assert drop.value == pytest.approx(0.2) and drop.n == 300
    assert (drop.lower, drop.upper) == (known.lower, known.upper)
    assert drop.method == "newcombe-unpaired"
    assert rows["ece-15-equal-width-top-label"].value == pytest.approx(0.1)
    assert rows["mean-confidence"].value == pytest.approx(0.8)
    assert rows[ESTIMATES[0]].value == pytest.approx(0.8)
    assert rows[ESTIMATES[1]].value == pytest.approx(0.8)


def test_without_labels_there_are_estimates_and_no_more(bench: Any) -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.4, 1.0, (2, 3000))
    sure[1] = 0.4 + (sure[1] - 0.4) ** 2 / 0.6
    right = rng.random(sure.shape) < sure
    home, here = (side(bench, right[k], sure[k], "hv"[k]) for k in range(2))
    told, blind = rows_of(joined(bench, home, here)), rows_of(joined(bench, home, unlabelled(here)))
    for metric in ("top-1", "top-1-home-minus-here", "log-loss", "ece-15-equal-width-top-label"):
        assert blind[metric].value is None and blind[metric].reason == "the data has no labels"
    assert blind["mean-confidence"].value == told["mean-confidence"].value
    truth = told["top-1"].value
    for metric in ESTIMATES:
        row = blind[metric]
        assert row == told[metric], "labels there play no part"
        assert row.lower is not None and row.upper is not None and row.lower < row.upper
        assert "stratified" in row.method
        # The model is calibrated on both sides, which the threshold does not build on.
        if metric != ESTIMATES[2]:
            assert abs(row.value - truth) < 0.03
    assert view_of_place(joined(bench, home, unlabelled(here))) is None


def test_the_threshold_holds_where_errors_lie_below_one(bench: Any) -> None:
    rng = np.random.default_rng(7)
    sure = [rng.uniform(0.4, 1.0, 1000), rng.uniform(0.4, 0.8, 1000)]
    home, here = (side(bench, one > 0.6, one, name) for one, name in zip(sure, "hv", strict=True))
    row = rows_of(joined(bench, home, unlabelled(here)))[ESTIMATES[2]]
    assert row.value == pytest.approx((sure[1] > 0.6).mean(), abs=0.002)


def test_intervals_of_estimates_draw_both_sides(bench: Any) -> None:
    rng = np.random.default_rng(1)

    def width(at_home: int, away: int) -> float:
        sure = [rng.uniform(0.4, 1, n) for n in (at_home, away)]
        sides = [side(bench, rng.random(len(s)) < s, s, p) for s, p in zip(sure, "hv", strict=True)]
        row = rows_of(joined(bench, sides[0], unlabelled(sides[1])))[ESTIMATES[1]]
        assert row.lower is not None and row.upper is not None
        return row.upper - row.lower

    assert width(4000, 200) > 1.5 * width(4000, 4000)
    assert width(200, 4000) > 1.5 * width(4000, 4000)


def test_clusters_are_drawn_whole(bench: Any) -> None:
    rng = np.random.default_rng(2)
    right = np.repeat(rng.random((2, 30)) < 0.7, 10, axis=1)
    names = np.repeat([f"p{k}" for k in range(30)], 10)
    sure = np.full(300, 0.8)
    alone = [side(bench, right[k], sure, "hv"[k]) for k in range(2)]
    together = [side(bench, right[k], sure, "hv"[k], clusters=names) for k in range(2)]
    drops = [rows_of(joined(bench, *cells))["top-1-home-minus-here"] for cells in (alone, together)]
    assert drops[0].value == pytest.approx(drops[1].value)
    assert drops[1].upper - drops[1].lower > 2 * (drops[0].upper - drops[0].lower)
    assert "cluster" in drops[1].method


def test_regression(bench: Any) -> None:
    rng = np.random.default_rng(3)

    def values(n: int, spread: float, prefix: str) -> CellEvidence:
        hand = bench(np.zeros(n), 3)
        ids = np.array([f"{prefix}{row:05d}" for row in range(n)], dtype=object)
        hand.samples = hand.samples.replaced(ids=ids)
        said = rng.normal(scale=spread, size=n)
        found: CellEvidence = hand.cell({"id": list(ids), "prediction": said})
        return found

    home, here = values(400, 1.0, "h"), values(300, 2.0, "v")
    task = Task(kind="regression", modality=Modality.TABLE)
    evidence = joined(bench, home, here)
    evidence = replace(evidence, data=replace(evidence.data, task=task))
    rows = rows_of(evidence)
    errors = [np.abs(cell.records.array("prediction")) for cell in (home, here)]
    assert rows["mae"].value == pytest.approx(errors[1].mean())
    rise = rows["mae-here-minus-home"]
    assert rise.value == pytest.approx(errors[1].mean() - errors[0].mean())
    # Of two independent means, by their standard errors.
    error = np.sqrt(sum(e.var(ddof=1) / len(e) for e in errors))
    assert rise.upper - rise.lower == pytest.approx(2 * 1.96 * error, rel=0.15)
    roots = [np.sqrt((e**2).mean()) for e in errors]
    assert rows["rmse-here-minus-home"].value == pytest.approx(roots[1] - roots[0])
    no_labels = replace(here, samples=here.samples.replaced(targets=np.full(300, np.nan)))
    blind = rows_of(replace(evidence, needs={"home": home, "here": no_labels}))
    assert blind["mae-here-minus-home"].reason == "the data has no labels"


def test_labels_alone(bench: Any) -> None:
    def bare(cell: CellEvidence) -> CellEvidence:
        table = cell.records.table.drop_columns(["scores"])
        return replace(cell, records=Records(table))

    home = bare(side(bench, np.arange(50) < 40, np.full(50, 0.9), "h"))
    here = bare(side(bench, np.arange(50) < 30, np.full(50, 0.9), "v"))
    rows = rows_of(joined(bench, home, here))
    assert rows["top-1-home-minus-here"].value == pytest.approx(0.2)
    assert all("no probabilities" in rows[metric].reason for metric in ESTIMATES)


def test_comparables_and_outcomes_are_of_the_shifted_samples(bench: Any) -> None:
    home = side(bench, np.ones(20), np.full(20, 0.9), "h")
    here = side(bench, np.arange(40) < 30, np.full(40, 0.8), "v")
    evidence = joined(bench, home, here)
    rows = rows_of(evidence)
    for entry in PLACE.numbers(evidence):
        if isinstance(entry.form, Share):
            assert entry.form.hits.mean() == rows[entry.metric].value
        elif entry.metric in rows:
            value = entry.form.of_rows(np.ones((1, 40)))[0]  # type: ignore[union-attr]
            assert value == pytest.approx(rows[entry.metric].value)
    view = view_of_place(evidence)
    assert view is not None and view.correct.sum() == 30 and view.ids[0] == "v00000"


def with_ids(cell: CellEvidence, ids: list[str]) -> CellEvidence:
    named = np.array(ids, dtype=object)
    columns = {name: cell.records.array(name) for name in ("prediction", "scores")}
    records = Records(to_table({"id": ids, **columns}))
    return replace(cell, records=records, samples=cell.samples.replaced(ids=named))


def test_samples_that_are_not_new_are_told(bench: Any) -> None:
    hashes = [f"{row:032x}" for row in range(300)]
    sure = np.full(100, 0.9)
    home = with_ids(side(bench, np.ones(100), sure, "h"), hashes[:100])
    train = with_ids(side(bench, np.ones(100), sure, "t"), hashes[100:200])
    clean = with_ids(side(bench, np.ones(100), sure, "v"), hashes[200:])
    assert audit_place(joined(bench, home, clean, train=train)) == []
    # One of home, again under a number; three of train.
    planted = [f"{hashes[5]}-1", *hashes[150:153], *hashes[200:296]]
    findings = audit_place(joined(bench, home, with_ids(clean, planted), train=train))
    assert [(entry.code, entry.severity) for entry in findings] == [
        ("duplicates-between-test-and-shifted", Severity.SUSPECT),
        ("duplicates-between-train-and-shifted", Severity.SUSPECT),
    ]
    assert [entry.evidence["count"] for entry in findings] == [1, 3]
    assert "3 of 100 samples (3 %) are in the training set, too" in findings[1].message
    assert contents(np.array(["customer-7", f"{hashes[1]}-12"], dtype=object)).tolist() == [
        "customer-7", hashes[1],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": {"a/b": "csv:x.csv"}}, "got 'a/b'"),
        ({"data": {"test": "csv:x.csv"}}, "or published, got 'test'"),
        ({"cross": [["sex"]]}, "expected two unlike group columns or more, got ['sex']"),
        ({"cross": [["sex", "sex"]]}, "got ['sex', 'sex']"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str, refusal: Any) -> None:
    assert message in refusal(ValueError, lambda: ShiftConfig.model_validate(settings))


def test_settings() -> None:
    config: SuiteConfig = ShiftConfig.model_validate(
        {"data": {"v2": "csv:v2.csv", "week-7": "csv:w7.csv"}, "cross": [["sex", "age"]]}
    )
    found = config.data_sets()
    assert list(found) == ["shift/v2", "shift/week-7"]
    assert found["shift/v2"].address == "csv:v2.csv" and found["shift/v2"].setting == "data.v2"
