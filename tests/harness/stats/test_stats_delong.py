"""AUC and DeLong against brute force, scikit-learn and the Gaussian closed form."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import norm, rankdata
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from crucibench.stats import auc, auc_interval, delong
from crucibench.stats.delong import delong_both


def brute_force(
    models: list[NDArray[np.float64]], labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUCs and their covariance from all pairs, as DeLong et al. 1988 define them."""
    positive, negative = np.flatnonzero(labels), np.flatnonzero(~labels)
    kernels = []
    for scores in models:
        gap = scores[positive][:, None] - scores[negative][None, :]
        kernels.append((gap > 0) + 0.5 * (gap == 0))
    rows = [k.mean(axis=1) for k in kernels]
    columns = [k.mean(axis=0) for k in kernels]
    covariance = np.cov(rows) / positive.size + np.cov(columns) / negative.size
    return np.array([k.mean() for k in kernels]), np.atleast_2d(covariance)


def satterthwaite(a: Any, b: Any, labels: NDArray[np.bool_]) -> float:
    """Returns the degrees of freedom of a difference, from the gaps of placements by class."""
    gap = [
        (s[labels][:, None] > s[~labels]) + 0.5 * (s[labels][:, None] == s[~labels]) for s in (a, b)
    ]
    change = gap[0].astype(float) - gap[1]
    parts = [(rows.var(ddof=1) / rows.size, rows.size) for rows in (change.mean(1), change.mean(0))]
    return sum(v for v, _ in parts) ** 2 / sum(v**2 / (size - 1) for v, size in parts)


def data(
    seed: int, n: int, levels: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    labels[:2], labels[2:4] = True, False
    a = rng.normal(size=n) + labels
    b = 0.6 * a + 0.8 * rng.normal(size=n) + 0.3 * labels
    if levels:
        a, b = np.round(a * levels) / levels, np.round(b * levels) / levels
    return a, b, labels


@pytest.mark.parametrize("levels", [None, 1, 2])
@pytest.mark.parametrize("n", [5, 12, 60, 400])
def test_fast_equals_brute_force(n: int, levels: int | None) -> None:
    a, b, labels = data(n, n, levels)
    aucs, covariance = brute_force([a, b], labels)
    ours = delong(a, labels)
    assert_allclose(ours.auc, aucs[0], rtol=1e-13)
    assert_allclose(ours.variance, covariance[0, 0], rtol=1e-10, atol=1e-16)
    assert (ours.n_positive, ours.n_negative) == (labels.sum(), (~labels).sum())
    assert_allclose(ours.auc, roc_auc_score(labels, a), rtol=1e-12)
    assert_allclose(auc(a[labels], a[~labels]), ours.auc, rtol=1e-14)

    paired = delong_both(a, b, labels).difference
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert_allclose(paired.estimate, aucs[0] - aucs[1], rtol=1e-11, atol=1e-14)
    assert_allclose(paired.standard_error, math.sqrt(variance), rtol=1e-9)
    freedom = satterthwaite(a, b, labels)
    ratio = abs(paired.estimate) / math.sqrt(variance)
    assert_allclose(paired.p_value, 2 * student.sf(ratio, freedom))
    half = student.ppf(0.975, freedom) * math.sqrt(variance)
    expected = np.clip([paired.estimate - half, paired.estimate + half], -1, 1)
    assert_allclose(paired.interval[:2], expected, rtol=1e-9)


def test_the_midranks_of_sun_and_xu_give_the_same_placements() -> None:
    a, _, labels = data(3, 200, 2)
    combined = rankdata(a)
    within_positive, within_negative = rankdata(a[labels]), rankdata(a[~labels])
    m, k = labels.sum(), (~labels).sum()
    v10 = (combined[labels] - within_positive) / k
    v01 = 1 - (combined[~labels] - within_negative) / m
    assert_allclose(delong(a, labels).variance, v10.var(ddof=1) / m + v01.var(ddof=1) / k)


small_scores = st.lists(
    st.tuples(st.sampled_from([-3.0, -0.5, 0.0, 0.25, 2.0, 7.0]), st.booleans()),
    min_size=2,
    max_size=40,
).filter(lambda rows: len({label for _, label in rows}) == 2)


@settings(deadline=None, max_examples=150)
@given(small_scores)
def test_invariants(rows: list[tuple[float, bool]]) -> None:
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    estimate = delong(scores, labels)
    assert 0.0 <= estimate.auc <= 1.0
    # Any strictly increasing map leaves all of it as it is; a decreasing one mirrors it.
    assert delong(np.exp(scores) * 3 - 1, labels) == pytest.approx(estimate, nan_ok=True)
    mirrored = delong(-scores, labels)
    assert_allclose(mirrored.auc, 1 - estimate.auc, atol=1e-14)
    assert_allclose(mirrored.variance, estimate.variance, atol=1e-15)
    assert_allclose(delong(scores, ~labels).auc, 1 - estimate.auc, atol=1e-14)
    interval = auc_interval(scores, labels)
    assert 0.0 <= interval.lower <= estimate.auc <= interval.upper <= 1.0
    assert interval.lower < interval.upper
    assert interval.method == "placements"
    flipped = auc_interval(-scores, labels)
    assert_allclose(flipped[:2], [1 - interval.upper, 1 - interval.lower], atol=1e-7)


def test_infinite_scores_and_integer_labels_rank() -> None:
    assert auc([math.inf, 1.0], [-math.inf, 1.0]) == 0.875
    assert delong([1.0, 2.0, 3.0, 1.5], [0, 1, 1, 0]).auc == 1.0


def test_of_many_middling_scores_the_interval_is_delongs() -> None:
    a, _, labels = data(8, 2000)
    estimate = delong(a, labels)
    half = norm.ppf(0.975) * math.sqrt(estimate.variance)
    interval = auc_interval(a, labels)
    assert_allclose(interval[:2], [estimate.auc - half, estimate.auc + half], atol=0.05 * half)


@pytest.mark.parametrize(("distance", "positives"), [(2.5, 5), (1.5, 10), (4.0, 30)])
def test_few_positives_and_areas_near_one_are_covered(distance: float, positives: int) -> None:
    # DeLong's interval on the logit scale covers 77, 88 and 91 % here.
    rng = np.random.default_rng(9)
    labels = np.arange(positives + 290) < positives
    truth, repetitions = norm.cdf(distance / math.sqrt(2)), 300
    covered = 0
    for _ in range(repetitions):
        interval = auc_interval(rng.normal(size=labels.size) + distance * labels, labels)
        covered += interval.lower <= truth <= interval.upper
    assert covered / repetitions > 0.95 - 3.5 * math.sqrt(0.95 * 0.05 / repetitions)


def test_gaussian_scores_meet_the_closed_form_and_the_interval_covers() -> None:
    # AUC of N(d, 1) against N(0, 1) is Phi(d / sqrt 2).
    rng = np.random.default_rng(5)
    d, positives, negatives, repetitions = 1.0, 60, 90, 1200
    truth = norm.cdf(d / math.sqrt(2))
    labels = np.arange(positives + negatives) < positives
    areas, covered, variances = [], 0, []
    for _ in range(repetitions):
        scores = rng.normal(size=labels.size) + d * labels
        estimate = delong(scores, labels)
        interval = auc_interval(scores, labels)
        covered += interval.lower <= truth <= interval.upper
        areas.append(estimate.auc)
        variances.append(estimate.variance)
    spread = np.std(areas, ddof=1)
    assert abs(np.mean(areas) - truth) < 3.5 * spread / math.sqrt(repetitions)
    assert_allclose(math.sqrt(np.mean(variances)), spread, rtol=3.5 / math.sqrt(2 * repetitions))
    # A little more than the level: half an unseen value stands at each end.
    assert -3.5 < (covered / repetitions - 0.95) / math.sqrt(0.95 * 0.05 / repetitions) < 4.5


def test_the_paired_test_keeps_its_level() -> None:
    rng = np.random.default_rng(6)
    labels = np.arange(120) < 50
    repetitions, rejected, covered = 1000, 0, 0
    for _ in range(repetitions):
        shared = rng.normal(size=120) + labels
        a, b = shared + 0.5 * rng.normal(size=120), shared + 0.5 * rng.normal(size=120)
        paired = delong_both(a, b, labels).difference
        rejected += paired.p_value < 0.05
        covered += paired.interval.lower <= 0.0 <= paired.interval.upper
    assert rejected + covered == repetitions
    assert abs(rejected / repetitions - 0.05) < 3.5 * math.sqrt(0.05 * 0.95 / repetitions)


@pytest.mark.parametrize("pairs", [1, 3, 20])
def test_complete_separation_leaves_room_for_an_unseen_pair(pairs: int) -> None:
    scores = np.r_[np.full(pairs, 2.0) + np.arange(pairs), np.zeros(500)]
    labels = np.arange(scores.size) < pairs
    interval = auc_interval(scores, labels)
    assert interval.upper == 1.0
    # Of as many pairs, all ranked rightly, and half an unseen one that is not.
    assert_allclose(interval.lower, betaincinv(pairs, 0.5, 0.025), atol=0.015)
    mirrored = auc_interval(-scores, labels)
    assert_allclose(mirrored[:2], [0.0, 1 - interval.lower], atol=1e-9)


def test_one_sample_of_a_class_has_no_variance_but_an_interval() -> None:
    scores, labels = [3.0, 1.0, 5.0, 0.0], [True, False, False, False]
    estimate = delong(scores, labels)
    assert_allclose(estimate.auc, 2 / 3)
    assert math.isnan(estimate.variance)
    interval = auc_interval(scores, labels)
    assert interval.lower < 0.25
    assert interval.upper > 0.9
    paired = delong_both(scores, [1.0, 2.0, 3.0, 4.0], labels).difference
    assert paired.interval is None
    assert math.isnan(paired.p_value)
    assert "one sample only" in paired.reason


def test_identical_and_monotone_related_models_do_not_differ() -> None:
    a, _, labels = data(9, 50)
    for other in (a, np.exp(a)):
        paired = delong_both(a, other, labels).difference
        assert (paired.estimate, paired.standard_error, paired.p_value) == (0.0, 0.0, 1.0)
        assert paired.interval is None
        assert paired.degenerate
        assert "no sample tells" in paired.reason


def test_swapping_models_flips_the_sign() -> None:
    a, b, labels = data(10, 90)
    one, other = delong_both(a, b, labels).difference, delong_both(b, a, labels).difference
    assert one.estimate == -other.estimate
    assert_allclose(one.p_value, other.p_value, rtol=1e-12)
    assert_allclose(one.interval[:2], (-other.interval.upper, -other.interval.lower), rtol=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, 2.0], [True, True], "at least one positive and one negative, got 2 positive and 0"),
        ([1.0, math.nan], [True, False], "scores: expected no nan value, got 1"),
        ([1.0, 2.0], [True], r"labels: expected shape \(2,\), got \(1,\)"),
        ([1.0, 2.0], [1, 2], "labels: expected booleans or 0 and 1"),
        ([1.0, 2.0], ["a", "b"], "labels: expected booleans or 0 and 1"),
        ([[1.0]], [True], "scores: expected one dimension"),
    ],
)
def test_bad_scores_and_labels_are_refused(
    scores: list[float], labels: list[object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        delong(scores, labels)
    with pytest.raises(ValueError, match=message):
        auc_interval(scores, labels)
