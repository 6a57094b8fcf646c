"""Numbers and outcomes of shifted samples against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crucibench.contracts.evidence import Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import RowMetric, Share
from crucibench.contracts.task import Decision
from crucibench.metrics.scoring import score
from crucibench.stats import newcombe_paired, wilson
from crucibench_suites.shift.corrupted import CorruptedGrid, CorruptedImage
from crucibench_suites.shift.corruptions.images import IMAGES, geometric_worst

TARGETS = [0, 1, 2, 0, 1, 2, 0, 1]
CLEAN = [0, 1, 2, 0, 1, 2, 0, 0]
MILD = [0, 1, 2, 0, 1, 0, 0, 1]
STRONG = [1, 1, 0, 1, 1, 0, 0, 0]
POINTS = {"severity=1": MILD, "severity=5": STRONG}


def scenario(name: str = "fog") -> CorruptedImage:
    return CorruptedImage.of(
        "shift", IMAGES[name], severities=(1, 5), parameter_set="cifar", limit=None
    )


def by_place(scored: Scored) -> dict[tuple[str, str], Row]:
    found = {(row.metric, row.point): row for row in scored.rows}
    assert len(found) == len(scored.rows)
    return found


def test_rows_are_what_a_hand_counts(bench: Any) -> None:
    made = bench(TARGETS, 3)
    evidence = made.evidence(made.shifted(POINTS), clean=made.clean(CLEAN))
    rows = by_place(score(scenario(), evidence))
    assert {row.metric for row in rows.values()} == {info.id for info in CorruptedImage.metrics}
    assert {row.point for row in rows.values()} == set(scenario().points)

    mild = rows["top-1", "severity=1"]
    assert (mild.value, mild.n) == (7 / 8, 8)
    assert (mild.lower, mild.upper) == wilson(7, 8)[:2]
    assert rows["top-1", "severity=5"].value == 3 / 8
    assert rows["mean-top-1", ""].value == pytest.approx((7 / 8 + 3 / 8) / 2)
    assert rows["top-1-drop", "severity=1"].value == 0.0
    lost = rows["top-1-drop", "severity=5"]
    assert lost.value == 4 / 8
    # Right both times: 1, 4 and 6; right only clean: 0, 2, 3 and 5; never right: 7.
    assert (lost.lower, lost.upper) == newcombe_paired(3, 4, 0, 1)[:2]
    assert rows["flip-rate", "severity=1"].value == 2 / 8
    assert rows["flip-rate", "severity=5"].value == 4 / 8
    assert rows["mean-confidence", "severity=5"].value == pytest.approx(0.8)
    # All in one bin of confidence 0.8.
    assert rows["ece-15-equal-width-top-label", "severity=5"].value == pytest.approx(0.8 - 3 / 8)
    expected = (3 * -np.log(0.8) + 5 * -np.log(0.1)) / 8
    assert rows["log-loss", "severity=5"].value == pytest.approx(expected)


def test_the_curve_begins_with_the_clean_samples(bench: Any) -> None:
    made = bench(TARGETS, 3)
    evidence = made.evidence(made.shifted(POINTS), clean=made.clean(CLEAN))
    curve = score(scenario(), evidence).tables["curve"]
    assert curve["severity"].tolist() == [0, 1, 5]
    assert curve["accuracy"].tolist() == [7 / 8, 7 / 8, 3 / 8]
    assert (curve["lower"] <= curve["accuracy"]).all()
    assert (curve["accuracy"] <= curve["upper"]).all()
    assert curve["distance"].tolist() == pytest.approx([0.0, 0.1, 0.2])


def test_a_threshold_decides_shifted_samples_too(bench: Any) -> None:
    targets = [1, 1, 0, 0]
    made = bench(targets, 2, decision=Decision(positive=0, threshold=0.15))
    # The probability of class 0 is 0.2 where 1 is predicted: at 0.15 that says 0.
    evidence = made.evidence(
        made.shifted({"severity=1": [1, 1, 1, 0], "severity=5": [1, 1, 1, 1]}),
        clean=made.clean([1, 1, 0, 0]),
    )
    rows = by_place(score(scenario(), evidence))
    assert rows["top-1", "severity=1"].value == 2 / 4
    # Clean, it is 0.1 sure of class 0 where it predicts 1: below the threshold.
    assert rows["flip-rate", "severity=5"].value == 2 / 4
    assert rows["mean-confidence", "severity=5"].value == pytest.approx(0.2)
    view = scenario().outcomes(evidence)
    assert view.score[:4].tolist() == pytest.approx([0.2, 0.2, 0.2, 0.8])


def test_a_model_that_gives_labels_has_no_calibration(bench: Any) -> None:
    made = bench(TARGETS, 3)
    cell = made.shifted(POINTS, confidence=float("nan"))
    rows = by_place(score(scenario(), made.evidence(cell, clean=made.clean(CLEAN))))
    row = rows["ece-15-equal-width-top-label", "severity=5"]
    assert row.value is None
    assert "labels only" in row.reason
    assert rows["top-1", "severity=5"].value == 3 / 8


def test_clusters_get_no_closed_form(bench: Any) -> None:
    clusters = [f"patient {place // 2}" for place in range(40)]
    targets = [0, 1] * 20
    made = bench(targets, 3, clusters=clusters)
    points = {"severity=1": [0] * 40, "severity=5": [1] * 39 + [0]}
    evidence = made.evidence(made.shifted(points), clean=made.clean(targets))
    for row in score(scenario(), evidence).rows:
        assert row.method.startswith("cluster-") or row.reason


def test_comparables_are_the_rows_again(bench: Any) -> None:
    made = bench(TARGETS * 5, 3)
    points = {point: said * 5 for point, said in POINTS.items()}
    evidence = made.evidence(made.shifted(points), clean=made.clean(CLEAN * 5))
    rows = by_place(score(scenario(), evidence))
    found = scenario().numbers(evidence)
    assert {(one.metric, one.point) for one in found} == set(rows)
    n = len(made.ids)
    for one in found:
        if isinstance(one.form, Share):
            value = one.form.hits.mean()
        else:
            assert isinstance(one.form, RowMetric)
            value = one.form.of_rows(np.ones((1, n)))[0]
        assert value == pytest.approx(rows[one.metric, one.point].value), one.metric


def test_outcomes_name_every_sample_at_every_severity(bench: Any) -> None:
    made = bench(TARGETS, 3)
    view = scenario().outcomes(made.evidence(made.shifted(POINTS), clean=made.clean(CLEAN)))
    assert view.point.tolist() == ["severity=1"] * 8 + ["severity=5"] * 8
    assert view.ids.tolist() == made.ids.tolist() * 2
    assert view.prediction.tolist() == MILD + STRONG
    assert view.correct.tolist() == [
        float(a == b) for a, b in zip(MILD + STRONG, TARGETS * 2, strict=True)
    ]


def test_the_worst_of_a_grid_is_no_better_than_any_place(bench: Any) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 200)
    made = bench(targets, 3)
    scenario = CorruptedGrid.of(
        "shift", geometric_worst, severities=geometric_worst.severities, limit=None
    )
    points = {
        point: np.where(rng.random(200) < 0.95, targets, (targets + 1) % 3)
        for point in scenario.points
        if point
    }
    evidence = made.evidence(made.shifted(points), clean=made.clean(targets))
    rows = by_place(score(scenario, evidence))
    worst = rows["worst-case-top-1", ""].value
    everywhere = np.all([said == targets for said in points.values()], axis=0)
    assert worst == everywhere.mean()
    assert rows["top-1-drop", ""].value == pytest.approx(1 - everywhere.mean())
    for point, said in points.items():
        assert rows["top-1", point].value == (said == targets).mean()
        assert bool((everywhere <= (said == targets)).all())
    forms = {(one.metric, one.point): one.form for one in scenario.numbers(evidence)}
    assert forms["worst-case-top-1", ""].hits.tolist() == everywhere.tolist()
