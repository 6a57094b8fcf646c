"""Every form of a metric, compared: against scipy, statsmodels and plain arithmetic."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from crucibench.comparing import resampled
from crucibench.comparing.cell import FormPair, MeasuredDifference, measure_cell
from crucibench.comparing.extremes import extreme_difference
from crucibench.comparing.resampled import ResamplingSettings
from crucibench.contracts.statistic import (
    Extreme,
    Form,
    GroupMeans,
    Ranking,
    RowMetric,
    Share,
    TableMetric,
)
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.metrics.classification import balanced_accuracy, f1_macro, mcc
from crucibench.metrics.forms import Aligner, evaluate
from crucibench.metrics.probabilistic import brier_statistic
from crucibench.metrics.ranking import average_precision_statistic
from crucibench.metrics.selective import (
    accuracy_at_coverage_interval,
    accuracy_at_coverage_statistic,
)
from crucibench.stats import mcnemar_exact
from crucibench.stats.delong import delong_both

KEY = ("m", "", "")


def ids(n: int) -> np.ndarray:
    return np.array([f"s{k}" for k in range(n)], dtype=object)


def one(
    baseline: Form, candidate: Form, n: int, clusters: Any = None, **how: Any
) -> MeasuredDifference:
    settings = ResamplingSettings(**how)
    lower = how.pop("lower", False)
    pairs = {KEY: FormPair(baseline, candidate, lower)}
    return measure_cell(pairs, ids(n), clusters, settings)[KEY]


def brier(probabilities: np.ndarray, truth: np.ndarray) -> RowMetric:
    statistic = brier_statistic(probabilities, truth)
    return RowMetric(statistic, statistic.influence)


@pytest.fixture
def models() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets and the positive class's probability under two models."""
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.4
    lead = 2.0 * truth - 1 + rng.normal(0, 1, 400)
    first, second = (1 / (1 + np.exp(-(lead + rng.normal(0, s, 400)))) for s in (0.3, 0.9))
    return truth, first, second


@pytest.mark.parametrize(("lost", "gained"), [(12, 4), (3, 0), (0, 0), (40, 41)])
def test_shares_of_the_same_samples_are_mcnemars(lost: int, gained: int) -> None:
    was = np.r_[np.ones(100 + lost), np.zeros(gained + 20)].astype(bool)
    now = np.r_[np.ones(100), np.zeros(lost), np.ones(gained), np.zeros(20)].astype(bool)
    found = one(Share(was), Share(now), len(was))
    table = [[100, lost], [gained, 20]]
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-12)
    if lost + gained:
        assert found.p == pytest.approx(stats.binomtest(lost, lost + gained).pvalue, rel=1e-12)
    assert found.delta == pytest.approx((gained - lost) / len(was), abs=1e-15)
    assert found.interval is not None
    assert found.interval.lower <= found.delta <= found.interval.upper
    assert found.flips is not None
    assert (len(found.flips.lost), len(found.flips.gained)) == (lost, gained)
    assert found.identical is (lost + gained == 0)
    assert found.n == len(was) and "mcnemar-exact" in found.method


def test_a_denominator_counts_its_samples_alone() -> None:
    was, now = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 1, 1, 0], bool)
    among = np.array([1, 1, 0, 0, 1], bool)
    found = one(Share(was, among), Share(now, among), 5)
    assert (found.baseline, found.candidate, found.n) == (2 / 3, 1 / 3, 3)
    assert found.flips is not None and found.flips.lost.tolist() == ["s1"]
    assert found.p == mcnemar_exact(1, 0)


def test_flips_of_a_rate_of_errors_are_losses_where_errors_are_new() -> None:
    was, now = np.array([0, 0, 1], bool), np.array([1, 0, 0], bool)
    pairs = {KEY: FormPair(Share(was), Share(now), lower_is_better=True)}
    flips = measure_cell(pairs, ids(3))[KEY].flips
    assert flips is not None
    assert (flips.lost.tolist(), flips.gained.tolist()) == (["s0"], ["s2"])


def test_areas_are_delongs(models: Any) -> None:
    truth, first, second = models
    found = one(Ranking(first, truth), Ranking(second, truth), 400)
    expected = delong_both(second, first, truth).difference
    assert found.delta == pytest.approx(expected.estimate, abs=1e-15)
    assert (found.interval, found.p) == (expected.interval, expected.p_value)
    assert found.standard_error == pytest.approx(brute_force_error(second, first, truth), rel=1e-9)


def brute_force_error(a: np.ndarray, b: np.ndarray, truth: np.ndarray) -> float:
    """DeLong's standard error of a difference from all pairs."""
    kernels = [
        np.sign(scores[truth][:, None] - scores[~truth][None]) / 2 + 0.5 for scores in (a, b)
    ]
    gap = kernels[0] - kernels[1]
    rows, columns = gap.mean(axis=1), gap.mean(axis=0)
    return math.sqrt(rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns))


def test_the_paired_bootstrap_is_scipys(models: Any) -> None:
    truth, first, second = models
    found = one(brier(first, truth), brier(second, truth), 400)
    losses = [(part - truth) ** 2 for part in (second, first)]
    expected = stats.bootstrap(
        losses, lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), paired=True,
        n_resamples=9999, method="percentile", rng=np.random.default_rng(1),
    )  # fmt: skip
    assert found.delta == pytest.approx(losses[0].mean() - losses[1].mean(), rel=1e-12)
    assert found.interval is not None
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert found.interval.lower == pytest.approx(expected.confidence_interval.low, abs=0.1 * width)
    assert found.interval.upper == pytest.approx(expected.confidence_interval.high, abs=0.1 * width)
    assert found.standard_error == pytest.approx(expected.standard_error, rel=0.05)
    assert found.method.startswith("percentile-bootstrap-2000")


def tables(truth: np.ndarray, said: np.ndarray, statistic: Any, k: int = 2) -> TableMetric:
    return TableMetric(said.astype(np.int64), truth.astype(np.int64), k, statistic)


def every_form(models: Any) -> list[tuple[Form, Form]]:
    truth, first, second = models
    said = [part >= 0.5 for part in (first, second)]
    precision = [Share(truth, part, same_samples=False) for part in said]
    ece = [calibration_error_statistic(part, truth) for part in (first, second)]
    ap = [average_precision_statistic(part, truth) for part in (first, second)]
    return [
        (Share(said[0] == truth), Share(said[1] == truth)),
        (precision[0], precision[1]),
        (Ranking(first, truth), Ranking(second, truth)),
        *(
            (tables(truth, said[0], statistic), tables(truth, said[1], statistic))
            for statistic in (balanced_accuracy, f1_macro, mcc)
        ),
        (brier(first, truth), brier(second, truth)),
        (RowMetric(ece[0].compute, bias="up"), RowMetric(ece[1].compute, bias="up")),
        tuple(RowMetric(each.compute, each.influence) for each in ap),
    ]


def test_swapped_models_flip_the_signs_and_a_model_equals_itself(models: Any) -> None:
    for position, (first, second) in enumerate(every_form(models)):
        forth, back = one(first, second, 400), one(second, first, 400)
        assert forth.delta == pytest.approx(-(back.delta or 0.0), abs=1e-15), position
        assert forth.interval is not None and back.interval is not None
        assert forth.interval.lower == pytest.approx(-back.interval.upper, abs=1e-9), position
        assert forth.p == pytest.approx(back.p, rel=1e-6), position
        same = one(first, first, 400)
        assert same.delta == 0.0 and same.p == 1.0 and same.identical, position


def test_clusters_are_drawn_whole(models: Any) -> None:
    truth, first, second = (np.repeat(part, 5) for part in models)
    clusters = np.repeat(np.arange(400), 5)
    for plain, repeated in zip(every_form(models), every_form((truth, first, second)), strict=True):
        alone, together = one(*plain, 400), one(*repeated, 2000, clusters)
        naive = one(*repeated, 2000)
        assert together.delta == pytest.approx(alone.delta, abs=1e-2)
        assert "400 clusters" in together.method
        errors = [part.standard_error or 0.0 for part in (alone, together, naive)]
        assert errors[1] == pytest.approx(errors[0], rel=0.25)
        assert errors[2] < 0.7 * errors[1], "five copies are no five samples"


def test_large_n_has_forms_of_its_own_that_agree(
    models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [one(*pair, 400) for pair in every_form(models)]
    monkeypatch.setattr("crucibench.metrics.scoring.BOOTSTRAP_UP_TO", 100)
    large = [one(*pair, 400) for pair in every_form(models)]
    for before, after in zip(small, large, strict=True):
        assert after.delta == before.delta
        assert after.standard_error == pytest.approx(before.standard_error, rel=0.2)
    assert [part.method for part in large[-3:]] == [
        "percentile-bootstrap-2000; normal p", "group-jackknife-200", "influence-asymptotic"
    ]  # fmt: skip
    clustered = one(*every_form(models)[-1], 400, np.arange(400))
    assert clustered.method == "cluster-influence-asymptotic (400 clusters)"
    assert clustered.standard_error == pytest.approx(large[-1].standard_error, rel=0.01)


def test_few_flips_do_not_become_significant_by_another_metric() -> None:
    """Four losses and no gain: 0.125 by the exact test; resampling alone would give 0.04."""
    truth = np.r_[np.ones(150), np.zeros(150)].astype(np.int64)
    was, now = truth.copy(), truth.copy()
    was[:5] = 0
    now[:9] = 0
    pairs = {
        (name, "", ""): FormPair(tables(truth, was, s), tables(truth, now, s))
        for name, s in {"ba": balanced_accuracy, "mcc": mcc, "f1": f1_macro}.items()
    }
    for found in measure_cell(pairs, ids(300)).values():
        assert found.delta is not None and found.delta < 0
        assert found.p is not None and found.p > 0.05
        assert found.interval is not None and found.interval.upper > 0


def test_p_values_go_below_what_replicates_can_show(models: Any) -> None:
    truth, first, _ = models
    found = one(brier(first, truth), brier(1 - first, truth), 400)
    assert found.p is not None and found.p < 1e-10
    assert found.method.endswith("normal p")


def test_what_is_undefined_has_no_difference() -> None:
    nothing = np.zeros(4, bool)
    found = one(
        Share(nothing, nothing, same_samples=False), Share(nothing, ~nothing, same_samples=False), 4
    )
    assert (found.baseline, found.candidate, found.delta, found.p) == (None, 0.0, None, None)
    assert "undefined for the baseline" in found.reason


def test_forms_are_aligned(models: Any) -> None:
    order = np.random.default_rng(3).permutation(400)
    shuffled = every_form(tuple(part[order] for part in models))
    back = Aligner(400, np.argsort(order))
    for (first, second), (other, another) in zip(every_form(models), shuffled, strict=True):
        straight = one(first, second, 400)
        crooked = one(first, back(another), 400)
        assert evaluate(back(other), 400) == pytest.approx(evaluate(first, 400), abs=1e-12)
        assert crooked.delta == pytest.approx(straight.delta, abs=1e-12)
        assert crooked.p == pytest.approx(straight.p, abs=1e-9)
    half = Aligner(400, np.arange(0, 400, 2))
    for (first, _), (expected, _) in zip(
        every_form(models), every_form(tuple(part[::2] for part in models)), strict=True
    ):
        assert evaluate(half(first), 200) == pytest.approx(evaluate(expected, 200), abs=1e-12)


def answered(probabilities: np.ndarray, truth: np.ndarray, percent: int = 80) -> RowMetric:
    """Returns the accuracy of those that a binary model is surest of."""
    judged = np.abs(probabilities - 0.5), (probabilities >= 0.5) == truth
    return RowMetric(
        accuracy_at_coverage_statistic(*judged, percent=percent),
        closed=partial(accuracy_at_coverage_interval, *judged, percent=percent),
    )


def test_a_difference_of_what_has_a_closed_interval_is_squared_and_added(models: Any) -> None:
    truth, first, second = models
    was, now = answered(first, truth), answered(second, truth)
    found = one(was, now, len(truth))
    assert found.method == "square-and-add-paired"
    assert found.interval is not None and found.delta is not None
    # Of answers that have nothing to do with each other the two distances are squared and added;
    # of alike ones there is less to tell them apart.
    (one_lower, one_upper), (other_lower, other_upper) = (
        form.closed(0.95)[:2] for form in (now, was)
    )
    widest = math.hypot(one_upper - one_lower, other_upper - other_lower)
    assert found.interval.upper - found.interval.lower < widest
    assert one(was, was, len(truth)).identical


@pytest.mark.parametrize(
    "which", ["balanced accuracy", "brier", "ece", "debiased", "accuracy at coverage"]
)
def test_intervals_cover_no_difference(which: str) -> None:
    """Two equally good models: at most 5 % + 3 standard errors of the intervals leave 0 out."""
    rng = np.random.default_rng(7)
    repetitions, missed, n = 150, 0, 250
    for _ in range(repetitions):
        truth = rng.random(n) < 0.4
        lead = 2.0 * truth - 1 + rng.normal(0, 1, n)
        parts = [1 / (1 + np.exp(-(lead + rng.normal(0, 0.4, n)))) for _ in range(2)]
        forms: list[Form] = []
        for part in parts:
            if which == "brier":
                forms.append(brier(part, truth))
            elif which == "ece":
                forms.append(RowMetric(calibration_error_statistic(part, truth), bias="up"))
            elif which == "debiased":
                how: Any = {"binning": "equal-mass", "norm": "l2", "debias": True}
                forms.append(
                    RowMetric(calibration_error_statistic(part, truth, **how), bias="corrected")
                )
            elif which == "accuracy at coverage":
                forms.append(answered(part, truth))
            else:
                forms.append(tables(truth, part >= 0.5, balanced_accuracy))
        interval = one(forms[0], forms[1], n, replicates=300).interval
        assert interval is not None
        missed += not interval.lower <= 0 <= interval.upper
    assert missed / repetitions <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repetitions)


def test_replicates_of_a_model_are_drawn_once_for_all_its_comparisons(
    models: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, first, second = models
    third = (first + second) / 2
    ece = [calibration_error_statistic(part, truth) for part in (first, second, third)]
    # Without a `Statistic` nothing is kept: what is compared with.
    apart = [RowMetric(part.compute, bias="up") for part in ece]
    kept = [RowMetric(part, bias="up") for part in ece]
    asked: list[int] = []
    draw = resampled.replicates_of

    def counted(statistics: Any, n: int, **how: Any) -> Any:
        asked.append(len(statistics))
        return draw(statistics, n, **how)

    monkeypatch.setattr(resampled, "replicates_of", counted)
    clusters = np.arange(len(truth)) // 2
    for was, now, new in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        found = one(kept[was], kept[now], len(truth))
        assert sum(asked) == new
        asked.clear()
        assert found == one(apart[was], apart[now], len(truth))
        asked.clear()
    assert one(kept[0], kept[1], len(truth), clusters).n == len(truth)
    assert sum(asked) == 2
    asked.clear()
    one(kept[0], kept[1], len(truth), seed=1)
    assert sum(asked) == 2


@pytest.mark.parametrize("largest", ["difference", "lowest", "highest"])
def test_kinds_of_samples_say_what_samples_say(largest: Any, monkeypatch: Any) -> None:
    """Of proportions, counts of kinds of samples give the same difference as all samples."""
    rng = np.random.default_rng(3)
    n, codes = 3000, rng.integers(-1, 3, 3000)
    truth = rng.random(n) < 0.5

    def metric(among: np.ndarray) -> RowMetric:
        hits = rng.random(n) < 0.6 + 0.1 * (codes == 1)
        parts = tuple(
            GroupMeans(codes, hits, among & of, 3, proportion=True) for of in (truth, ~truth)
        )
        return RowMetric(lambda weights: weights.sum(axis=1), extreme=Extreme(parts, largest))

    pair = metric(rng.random(n) < 0.9), metric(rng.random(n) < 0.8)
    counted = extreme_difference(*pair, None, 0.95)
    monkeypatch.setattr("crucibench.comparing.extremes._counted", lambda pairs: (pairs, None))
    plain = extreme_difference(*pair, None, 0.95)
    assert counted is not None and plain is not None
    assert counted.estimate == pytest.approx(plain.estimate, rel=1e-12)
    assert counted.interval is not None and plain.interval is not None
    assert counted.interval[:2] == pytest.approx(plain.interval[:2], rel=1e-9)
    assert counted.p_value == pytest.approx(plain.p_value, rel=1e-9)
