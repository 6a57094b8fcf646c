"""Numbers of scores: closed forms, invariances, intervals that cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from crucibench.contracts.rows import Row
from crucibench.metrics.ranking import fpr_at_tpr_statistic
from crucibench.metrics.scoring import rows_of
from crucibench.stats import linearised_error
from crucibench_suites.ood import metrics
from crucibench_suites.ood.detection import Detection
from crucibench_suites.ood.headline import Detectors, Mixture, difference, roc_table
from crucibench_suites.ood.scores import STATISTICS, DetectorScores, Mean, ScoredSet, numbers_of

AUROC, FPR_OOD, FPR_ID = metrics.AUROC.id, metrics.FPR_OOD.id, metrics.FPR_ID.id
APS = metrics.AUPR_OUT.id, metrics.AUPR_IN.id


def rows_at(evidence: Any, points: Any) -> list[Row]:
    scenario = Detection(name="msp", points=tuple(points))
    return rows_of(scenario.numbers(evidence), scenario, evidence)


scores_of = st.lists(st.integers(-6, 6), min_size=2, max_size=40)


def part(known: Any, strange: Any, units: Any = None) -> ScoredSet:
    scores = np.concatenate([np.asarray(known, float), np.asarray(strange, float)])
    n = len(scores)
    return ScoredSet(
        scores=scores,
        strange=np.arange(n) >= len(known),
        units=np.arange(n) if units is None else np.asarray(units),
    )


def value(metric: str, *parts: ScoredSet) -> float:
    return Mean(metric, parts).value


@pytest.mark.parametrize("d", [0.0, 0.5, 1.5, 3.0])
def test_gaussian_scores_have_the_closed_forms(d: float) -> None:
    grid = ndtri((np.arange(20_000) + 0.5) / 20_000)
    one = part(grid, grid + d)
    assert value(AUROC, one) == pytest.approx(ndtr(d / np.sqrt(2)), abs=2e-4)
    for metric in (FPR_OOD, FPR_ID):
        assert value(metric, one) == pytest.approx(ndtr(1.6449 - d), abs=3e-4)


@settings(max_examples=60, deadline=None)
@given(known=scores_of, strange=scores_of)
def test_scores_turned_and_stretched(known: list[int], strange: list[int]) -> None:
    one = part(known, strange)
    stretched = part(np.exp(np.array(known) / 3.0), np.exp(np.array(strange) / 3.0))
    for metric in STATISTICS:
        assert value(metric, stretched) == pytest.approx(value(metric, one), abs=1e-12)
    turned = part(-np.array(known), -np.array(strange))
    assert value(AUROC, turned) == pytest.approx(1 - value(AUROC, one), abs=1e-12)
    # Sides exchanged and scores turned: each number becomes its twin.
    twin = part(-np.array(strange), -np.array(known))
    for first, second in (APS, (FPR_OOD, FPR_ID), (AUROC, AUROC)):
        assert value(first, twin) == pytest.approx(value(second, one), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(known=scores_of, strange=scores_of)
def test_the_numbers_are_scikit_learns(known: list[int], strange: list[int]) -> None:
    one = part(known, strange)
    assert value(AUROC, one) == pytest.approx(roc_auc_score(one.strange, one.scores))
    assert value(APS[0], one) == pytest.approx(average_precision_score(one.strange, one.scores))
    assert value(APS[1], one) == pytest.approx(average_precision_score(~one.strange, -one.scores))
    # As OpenOOD's metrics take it: the first point of the curve with a recall of 95 %.
    rates, hits, _ = roc_curve(one.strange, one.scores, drop_intermediate=False)
    assert value(FPR_OOD, one) == pytest.approx(rates[np.argmax(hits >= 0.95)])


def test_ties_count_half_and_a_constant_score_is_chance() -> None:
    one = part(np.zeros(30), np.zeros(10))
    assert value(AUROC, one) == 0.5
    assert value(APS[0], one) == pytest.approx(0.25)  # the prevalence
    assert value(APS[1], one) == pytest.approx(0.75)
    assert value(FPR_OOD, one) == value(FPR_ID, one) == 1.0


def test_a_random_score_has_the_prevalence() -> None:
    rng = np.random.default_rng(0)
    one = part(rng.random(30_000), rng.random(10_000))
    assert value(APS[0], one) == pytest.approx(0.25, abs=0.01)
    assert value(APS[1], one) == pytest.approx(0.75, abs=0.01)


def test_large_scores_do_not_saturate() -> None:
    assert value(AUROC, part([1000.0, 1001.0], [1002.0, 1003.0])) == 1.0


def test_fpr_refuses_a_rate_outside_its_range() -> None:
    with pytest.raises(ValueError, match=r"tpr: expected a number in \(0, 1\], got 0"):
        fpr_at_tpr_statistic([0.0], [True], tpr=0)


def test_fpr_counts_by_weights() -> None:
    rng = np.random.default_rng(3)
    scores, strange = rng.normal(size=60).round(1), rng.random(60) < 0.5
    counts = rng.integers(0, 4, 60)
    whole = fpr_at_tpr_statistic(scores, strange, tpr=0.95)(counts[None].astype(float))[0]
    repeated = fpr_at_tpr_statistic(
        np.repeat(scores, counts), np.repeat(strange, counts), tpr=0.95
    ).value()
    assert whole == repeated.value


@pytest.mark.parametrize("paired", [False, True])
def test_intervals_cover(paired: bool) -> None:
    d, n, runs = 1.5, 150, 200
    rng = np.random.default_rng(11)
    truth = {AUROC: ndtr(d / np.sqrt(2)), FPR_OOD: ndtr(1.6449 - d), FPR_ID: ndtr(1.6449 - d)}
    grid = ndtri((np.arange(20_000) + 0.5) / 20_000)
    truth |= {metric: value(metric, part(grid, grid + d)) for metric in APS}
    hits = dict.fromkeys([*truth, "mean"], 0)
    for _ in range(runs):
        known = rng.normal(size=n)
        sets = []
        for k in (1, 2):
            noise = rng.normal(size=n)
            strange = (0.6 * known + 0.8 * noise if paired else noise) + d
            units = np.r_[np.arange(n), np.arange(n) + (0 if paired else k * n)]
            sets.append(part(known, strange, units))
        for metric, expected in truth.items():
            row = Mean(metric, sets[:1]).interval(0.95)
            assert row is not None
            hits[metric] += row.lower <= expected <= row.upper
        row = Mean(AUROC, sets).interval(0.95)
        assert row is not None
        hits["mean"] += row.lower <= truth[AUROC] <= row.upper
    assert all(0.91 <= count / runs <= 0.995 for count in hits.values()), hits


def test_pairs_of_one_sample_are_no_independent_evidence() -> None:
    rng = np.random.default_rng(5)
    known = rng.normal(size=200)
    strange = known + 0.5  # each OOD score follows its own sample's
    apart = Mean(AUROC, [part(known, strange)])
    together = Mean(AUROC, [part(known, strange, np.r_[np.arange(200), np.arange(200)])])
    widths = [
        found.upper - found.lower
        for found in (mean.interval(0.95) for mean in (apart, together))
        if found
    ]
    assert widths[1] < 0.5 * widths[0]


def test_where_nothing_is_ranked_wrongly_there_is_a_bound_or_a_reason() -> None:
    units = np.r_[np.arange(40), np.arange(40)]
    mean = Mean(AUROC, [part(np.zeros(40), np.ones(40), units)])
    assert mean.independent_pairs() == 20
    bound = mean.interval(0.95)
    assert bound is not None and (mean.value, bound.upper, bound.method) == (
        1.0,
        1.0,
        "hoeffding-kl",
    )
    assert bound.lower == pytest.approx(0.025 ** (1 / 20))
    flagged = Mean(FPR_OOD, mean.sets)
    held = flagged.interval(0.95)
    assert flagged.value == 0.0 and held is not None and 0.05 < held.upper < 0.1
    assert Mean(APS[0], mean.sets).interval(0.95) is None


@pytest.mark.parametrize("clusters", [None, [f"c{row // 2}" for row in range(40)]])
def test_rows_have_the_bound_or_the_reason(maker: Any, clusters: Any) -> None:
    evidence = maker.detection(np.zeros(40), {"far/a": np.ones(40)}, clusters=clusters)
    rows = {row.metric: row for row in rows_at(evidence, ("far/a",))}
    pairs = 20 if clusters is None else 10
    assert rows[AUROC].method.partition(";")[0] == "hoeffding-kl"
    assert rows[AUROC].lower == pytest.approx(0.025 ** (1 / pairs))
    assert rows[FPR_OOD].method.startswith("clopper-pearson; the threshold held fixed")
    assert rows[APS[0]].lower is None and "no spread" in rows[APS[0]].reason


def test_means_over_sets_count_sets_alike(maker: Any) -> None:
    rng = np.random.default_rng(2)
    sets = {"near/a": rng.normal(1, 1, 50), "near/b": rng.normal(2, 1, 50),
            "far/c": rng.normal(3, 1, 50)}  # fmt: skip
    evidence = maker.detection(rng.normal(size=50), sets)
    points = (*sets, "near", "far", "overall")
    rows = {(row.metric, row.point): row for row in rows_at(evidence, points)}
    for metric in STATISTICS:
        found = {point: rows[metric, point].value for point in points}
        assert found["near"] == pytest.approx((found["near/a"] + found["near/b"]) / 2)
        assert found["far"] == found["far/c"]
        assert found["overall"] == pytest.approx(np.mean([found[name] for name in sets]))


PUBLISHED = {
    AUROC: {"near/ssb-hard": 72.20, "near/ninco": 81.91, "far/inaturalist": 92.45,
            "far/textures": 87.50, "far/openimage-o": 89.25, "near": 77.06, "far": 89.73},
    FPR_OOD: {"near/ssb-hard": 86.22, "near/ninco": 76.59, "far/inaturalist": 45.79,
              "far/textures": 57.71, "far/openimage-o": 60.87, "near": 81.41, "far": 54.79},
}  # fmt: skip
"""OpenOOD v1.5's own output for GEN, ImageNet-1K, ResNet-50 (github.com/Jingkang50/OpenOOD, issue
172): sets, and its rows `nearood` and `farood`. The CSV files under its `results` have only such
means."""


@pytest.mark.parametrize("metric", PUBLISHED)
def test_published_sets_have_the_published_averages(metric: str, maker: Any) -> None:
    # Sets are as unlike in size as the published ones, a tenth of each: pooled, the means would be
    # other ones. Gaussian scores whose distance the closed form gives stand for each set.
    sizes = {"near/ssb-hard": 4900, "near/ninco": 588, "far/inaturalist": 1000,
             "far/textures": 516, "far/openimage-o": 1587}  # fmt: skip
    published = PUBLISHED[metric]

    def grid(n: int) -> np.ndarray:
        return ndtri((np.arange(n) + 0.5) / n)

    def distance(percent: float) -> float:
        share = percent / 100
        found = np.sqrt(2) * ndtri(share) if metric == AUROC else ndtri(0.95) - ndtri(share)
        return float(found)

    sets = {name: grid(n) + distance(published[name]) for name, n in sizes.items()}
    evidence = maker.detection(grid(5000), sets, paired=False)
    found = rows_at(evidence, published)
    rows = {row.point: 100 * (row.value or 0) for row in found if row.metric == metric}
    assert rows == pytest.approx(published, abs=0.3)  # FPR of the small sets goes in steps
    for point in ("near", "far"):
        inside = [rows[name] for name in sizes if name.startswith(point)]
        assert rows[point] == pytest.approx(np.mean(inside))


def test_a_set_of_its_own_brings_its_own_units(maker: Any) -> None:
    rng = np.random.default_rng(2)
    sets = {"far/a": rng.normal(1, 1, 30), "far/b": rng.normal(1, 1, 30)}
    evidence = maker.detection(rng.normal(size=40), sets, paired=False)
    scores = DetectorScores(evidence.own, evidence.needs["test"].samples)
    assert not set(scores.units("far/a")) & set(scores.units("far/b"))
    assert min(scores.units("far/a")) == 40
    rows = {row.point: row for row in rows_at(evidence, ("far/a", "far"))
            if row.metric == AUROC}  # fmt: skip
    for entry in numbers_of(evidence, evidence.own, ("far/a", "far"), metrics.OF_DETECTOR):
        assert entry.samples is not None and len(set(entry.samples.ids)) == 40 + 60
        if entry.metric == AUROC:
            again = entry.form.of_rows(np.ones((1, 100)))[0]  # type: ignore[union-attr]
            assert again == pytest.approx(rows[entry.point].value)


def test_clusters_are_one_unit(maker: Any) -> None:
    rng = np.random.default_rng(2)
    known = np.repeat(rng.normal(size=40), 5)
    sets = {"far/a": known + 1.0}
    clusters = [f"c{row // 5}" for row in range(200)]
    widths = []
    for names in (None, clusters):
        evidence = maker.detection(known, sets, clusters=names)
        row = rows_at(evidence, ("far/a",))[0]
        assert row.lower is not None and row.upper is not None
        widths.append(row.upper - row.lower)
    assert widths[1] == pytest.approx(np.sqrt(5) * widths[0], rel=0.15)


def test_comparables_compute_the_rows_again(maker: Any) -> None:
    rng = np.random.default_rng(2)
    sets = {"near/a": rng.normal(1, 1, 50), "far/b": rng.normal(3, 1, 50)}
    evidence = maker.detection(rng.normal(size=50), sets)
    points = (*sets, "near", "far", "overall")
    rows = {(row.metric, row.point): row.value for row in rows_at(evidence, points)}
    found = numbers_of(evidence, evidence.own, points, metrics.OF_DETECTOR)
    assert {(entry.metric, entry.point) for entry in found} == set(rows)
    for entry in found:
        form = entry.form
        again = form.of_rows(np.ones((1, 50)))[0]  # type: ignore[union-attr]
        assert again == pytest.approx(rows[entry.metric, entry.point])
        influences = form.influence()  # type: ignore[union-attr,misc]
        assert influences is not None and influences.sum() == pytest.approx(0, abs=1e-9)


def test_accuracy_where_half_of_the_inputs_are_strange() -> None:
    known, right = np.arange(100.0), np.arange(100) < 90
    strange = np.full(50, 1000.0)
    strange[:10] = 0.5
    mixture = Mixture(known, right, np.arange(100), [(strange, 100 + np.arange(50))])
    weights = np.ones((1, 150))
    # 95 of 100 are let in, 90 of these are right, and 10 of 50 strange ones come along.
    assert mixture.accuracy_at(0.95, weights)[0] == pytest.approx(0.90 / (0.95 + 0.20))
    assert mixture.accuracy_at(1.0, weights)[0] == pytest.approx(0.90 / (1.00 + 0.20))
    coverage, accuracy = mixture.curve(10)
    assert coverage[-1] == pytest.approx(0.6)
    assert accuracy[-1] == pytest.approx(0.90 / 1.20)
    assert (np.diff(coverage) >= 0).all()


@pytest.mark.parametrize("metric", [entry.id for entry in metrics.OF_DETECTOR])
def test_paired_differences_are_those_of_the_paired_bootstrap(metric: str) -> None:
    # Two scores of the same samples, and sets made of these: all that is shared must cancel.
    n, rng = 400, np.random.default_rng(17)
    units = np.r_[np.arange(n), np.arange(n)]
    known, strange = rng.normal(size=n), rng.normal(1.2, 1.0, size=n)
    noise = 0.5 * rng.normal(size=(2, n))
    first = Mean(metric, [part(known, strange, units)])
    second = Mean(metric, [part(known + noise[0], strange + noise[1], units)])
    error = linearised_error(first.influence - second.influence)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=2000).astype(float)
    replicates = first(counts) - second(counts)
    assert error == pytest.approx(replicates.std(), rel=0.25)
    unpaired = np.hypot(*(linearised_error(one.influence) for one in (first, second)))
    if metric in {AUROC, *APS}:  # the threshold of FPR@95 jumps about on its own
        assert error < 0.8 * unpaired


@pytest.mark.parametrize("metric", [entry.id for entry in metrics.OF_DETECTOR])
def test_intervals_of_paired_differences_cover(metric: str) -> None:
    d, better, n, runs = 1.0, 1.6, 200, 150
    grid = ndtri((np.arange(20_000) + 0.5) / 20_000)
    truth = value(metric, part(grid, grid + better)) - value(metric, part(grid, grid + d))
    rng, hits = np.random.default_rng(19), 0
    units = np.r_[np.arange(n), np.arange(n)]
    for _ in range(runs):
        shared, own = rng.normal(size=(2, n)), rng.normal(size=(2, 2, n))
        sides = [np.sqrt(0.7) * shared + np.sqrt(0.3) * one for one in own]
        old, new = (
            Mean(metric, [part(side[0], side[1] + far, units)])
            for side, far in zip(sides, (d, better), strict=True)
        )
        row = difference(metric, "near", (new, old), 0.95)
        assert row.lower is not None and row.upper is not None
        hits += row.lower <= truth <= row.upper
    assert 0.90 <= hits / runs <= 0.995, hits


def test_every_number_of_a_detector_is_compared_with_the_headlines(maker: Any) -> None:
    rng = np.random.default_rng(23)
    samples = maker.samples([f"s{row}" for row in range(80)])
    cells = {
        name: maker.cell(
            maker.scores(rng.normal(size=80), {"near/a": rng.normal(far, 1, 80)}), samples
        )
        for name, far in (("msp", 0.5), ("knn", 1.5))
    }
    test = maker.cell({"id": samples.ids, "prediction": samples.targets}, samples)
    evidence = maker.evidence(test, test=test, **cells)
    rows = Detectors(detectors=("msp", "knn"), points=("near", "overall")).score(evidence).rows
    assert {(row.metric, row.point) for row in rows} == {
        (f"{entry.id}-minus-headline", point)
        for entry in metrics.OF_DETECTOR for point in ("near", "overall")
    }  # fmt: skip
    for row in rows:
        alone = [
            {one.metric: one.value for one in
             rows_at(maker.evidence(cells[name], test=test), ("near",))}
            for name in ("knn", "msp")
        ]  # fmt: skip
        metric = row.metric.removesuffix("-minus-headline")
        assert row.group == "knn"
        assert row.value == pytest.approx(alone[0][metric] - alone[1][metric])
        assert row.lower is not None and row.lower < row.value < row.upper


def test_the_area_under_the_curve_is_the_mean_of_the_sets(maker: Any) -> None:
    rng = np.random.default_rng(4)
    # Coarse scores, so that many are alike; few enough for the curve to have every step.
    known = np.round(rng.normal(size=90), 1)
    sets = {name: np.round(rng.normal(shift, 1, 60), 1)
            for name, shift in (("near/a", 0.5), ("near/b", 1.5), ("far/c", 4.0))}  # fmt: skip
    evidence = maker.detection(known, sets, paired=False)
    scores = DetectorScores(evidence.own, evidence.needs["test"].samples)
    rows = {row.point: row.value for row in rows_at(evidence, ("near", "far"))
            if row.metric == AUROC}  # fmt: skip
    table = roc_table(scores)
    for kind in ("near", "far"):
        curve = table[table["inputs"] == kind]
        x, y = curve["false_positive_rate"], curve["true_positive_rate"]
        assert (x.iloc[0], y.iloc[0], x.iloc[-1], y.iloc[-1]) == (0, 0, 1, 1)
        assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
        # Scores between two of the known ones leave no step of their own.
        assert np.trapezoid(y, x) == pytest.approx(rows[kind], abs=0.01)
