"""Rates and gaps by group against fairlearn, AIF360's toys, closed forms and simulation."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import combinations
from math import log
from typing import Any

import fairlearn.metrics as fm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom, norm
from sklearn import metrics as sk

from crucibench.metrics import gap_clusters
from crucibench.metrics.catalogue_groups import GAPS
from crucibench.metrics.gap_chance import (
    _from_rest,
    corrected_gap,
    detectable_gap,
    p_chance_of_means,
    p_chance_of_rates,
)
from crucibench.metrics.gap_change import Change, GapSide, Paired, change_of_largest
from crucibench.metrics.gap_clusters import (
    ClusterTotals,
    p_chance_of_whole_clusters,
    p_chance_within_clusters,
)
from crucibench.metrics.gaps import (
    contrast,
    effective_sizes,
    gap_interval,
    gap_of,
    of_means,
    of_rates,
)
from crucibench.metrics.group_counts import (
    RATES,
    generalized_entropy,
    theil_index,
)
from crucibench.stats import newcombe_unpaired, wilson

# The eighteen rows of fairlearn's user guide (docs/user_guide/assessment).
TRUTH = [0, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1]
SAID = [0, 0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0]
GROUPS = list("bbabbccca") + list("acabccbcc")


def table_of(groups: Any, truth: Any, said: Any) -> np.ndarray:
    cells = 2 * np.asarray(truth, int) + np.asarray(said, int)
    return np.array([np.bincount(cells[np.array(groups) == one], minlength=4)
                     for one in sorted(set(groups))])  # fmt: skip


def rates(counts: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return counts @ RATES[name].hits / (counts @ RATES[name].among)


def gap(counts: np.ndarray, name: str) -> float:
    """The gap as its definition in the catalogue says."""
    found = GAPS[name]
    parts = [float(gap_of(rates(counts, rate), found.kind)) for rate in found.rates]
    if found.combine == "mean":
        return float(np.mean(parts))
    return max(parts) if found.kind == "difference" else min(parts)


def test_the_guide_s_toy() -> None:
    counts = table_of(GROUPS, TRUTH, SAID)
    assert rates(counts, "tpr") == pytest.approx([0.5, 0.6, 0.4], abs=1e-15)
    assert rates(counts, "fpr") == pytest.approx([1.0, 0.0, 2 / 3], abs=1e-15)
    expected = {
        "demographic-parity-difference": 0.25,
        "demographic-parity-ratio": 2 / 3,
        "equalized-odds-difference": 1.0,
        "equalized-odds-ratio": 0.0,
        "equal-opportunity-difference": 0.2,
        "equalized-odds-difference-mean": 0.6,
    }
    assert {name: gap(counts, name) for name in expected} == pytest.approx(expected)


_FAIRLEARN: dict[str, Any] = {
    "demographic-parity-difference": fm.demographic_parity_difference,
    "demographic-parity-ratio": fm.demographic_parity_ratio,
    "equal-opportunity-difference": fm.equal_opportunity_difference,
    "equal-opportunity-ratio": fm.equal_opportunity_ratio,
    "equalized-odds-difference": fm.equalized_odds_difference,
    "equalized-odds-difference-mean": lambda *a, **k: fm.equalized_odds_difference(
        *a, agg="mean", **k
    ),
    "equalized-odds-ratio": fm.equalized_odds_ratio,
    "top-1-difference": lambda y, p, sensitive_features: fm.MetricFrame(
        metrics=sk.accuracy_score, y_true=y, y_pred=p, sensitive_features=sensitive_features
    ).difference(),
    "predictive-parity-difference": lambda y, p, sensitive_features: fm.MetricFrame(
        metrics=sk.precision_score, y_true=y, y_pred=p, sensitive_features=sensitive_features
    ).difference(),
    "base-rate-difference": lambda y, p, sensitive_features: fm.MetricFrame(
        metrics=fm.selection_rate, y_true=y, y_pred=y, sensitive_features=sensitive_features
    ).difference(),
}


def test_every_gap_is_held_against_fairlearn() -> None:
    assert set(_FAIRLEARN) == set(GAPS)


@pytest.mark.parametrize("name", GAPS)
@pytest.mark.parametrize("seed", range(3))
def test_gaps_are_fairlearn_s(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.choice(list("abcde"), 400)
    truth, said = rng.random(400) < 0.4, rng.random(400) < 0.5
    expected = _FAIRLEARN[name](truth.astype(int), said.astype(int), sensitive_features=groups)
    assert gap(table_of(groups, truth, said), name) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("top-1", sk.accuracy_score),
        ("selection-rate", fm.selection_rate),
        ("tpr", fm.true_positive_rate),
        ("fnr", fm.false_negative_rate),
        ("fpr", fm.false_positive_rate),
        ("tnr", fm.true_negative_rate),
        ("ppv", sk.precision_score),
        ("npv", lambda y, p: sk.precision_score(y, p, pos_label=0)),
        ("base-rate", lambda y, p: np.mean(y)),
    ],
)
def test_rates_are_fairlearn_s_and_scikit_learn_s(name: str, reference: Any) -> None:
    rng = np.random.default_rng(7)
    groups = rng.choice(list("abc"), 300)
    truth, said = (rng.random(300) < 0.4).astype(int), (rng.random(300) < 0.3).astype(int)
    frame = fm.MetricFrame(metrics=reference, y_true=truth, y_pred=said, sensitive_features=groups)
    found = rates(table_of(groups, truth, said), name)
    assert found == pytest.approx(frame.by_group.to_numpy(), abs=1e-12)


def test_an_undefined_rate_is_no_rate_of_zero() -> None:
    """Where fairlearn says 0 and so shows a gap of 0.9, there is nothing to compare."""
    truth = np.array([1] * 10 + [0] * 10)
    said = np.array([1] * 9 + [0] * 11)
    groups = ["with"] * 10 + ["without"] * 10
    assert fm.true_positive_rate(truth[10:], said[10:]) == 0.0
    assert fm.equal_opportunity_difference(truth, said, sensitive_features=groups) == 0.9
    table = table_of(groups, truth, said)
    assert np.isnan(rates(table, "tpr")[1])
    assert np.isnan(gap(table, "equal-opportunity-difference"))


def test_inequality_of_aif360_s_toys() -> None:
    """Two errors of each kind in ten: 0.2 and 4 ln 2 / 10; three: 0.3."""
    assert generalized_entropy([4, 2, 2, 2]) == pytest.approx(0.2, abs=1e-15)
    assert generalized_entropy([2, 3, 3, 2]) == pytest.approx(0.3, abs=1e-15)
    assert theil_index([4, 2, 2, 2]) == pytest.approx(4 * log(2) / 10, abs=1e-15)
    assert generalized_entropy([5, 0, 0, 5]) == theil_index([5, 0, 0, 5]) == 0.0
    assert np.isnan(theil_index([0, 0, 5, 0])) and np.isnan(generalized_entropy([0, 0, 5, 0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: of_rates([0], [0]), "trials: expected numbers above 0, got 0"),
        (
            lambda: gap_interval([of_rates([1], [2])], "difference", 0.95),
            "of two groups or more each",
        ),
    ],
)
def test_bad_counts_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@given(st.integers(1, 200), st.integers(1, 200), st.data())
@settings(max_examples=60, deadline=None)
def test_a_contrast_is_newcombe_s(n1: int, n2: int, data: Any) -> None:
    s1, s2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    level = data.draw(st.sampled_from([0.8, 0.95, 0.99]))
    first, second = of_rates([s1], [n1]), of_rates([s2], [n2])
    ((value, found),) = contrast(first, second, "difference", level)
    expected = newcombe_unpaired(s1, n1, s2, n2, level)
    assert value == pytest.approx(s1 / n1 - s2 / n2, abs=1e-15)
    assert found[:3] == pytest.approx(expected[:3], abs=1e-12)
    assert first.bounds((1 - level) / 2)[0][0] == pytest.approx(wilson(s1, n1, level).lower)


def test_a_contrast_of_means_is_that_of_two_independent_errors() -> None:
    big = np.array([1e9])
    ((value, found),) = contrast(of_means([5.0], [3.0], big), of_means([2.0], [4.0], big),
                                 "difference", 0.95)  # fmt: skip
    assert value == 3.0
    assert (found.lower, found.upper) == pytest.approx((3 - 1.959964 * 5, 3 + 1.959964 * 5))


@pytest.mark.parametrize("n", [1, 7, 30])
def test_bounds_of_rates_are_wilson_s(n: int) -> None:
    hits = np.arange(n + 1)
    low, high = of_rates(hits, np.full(n + 1, n)).bounds(0.025)
    expected = [wilson(int(k), n) for k in hits]
    assert low[0] == 0.0 and high[n] == 1.0
    np.testing.assert_allclose(low, [one.lower for one in expected], rtol=1e-12)
    np.testing.assert_allclose(high, [one.upper for one in expected], rtol=1e-12)


def test_a_ratio_where_an_estimate_is_zero() -> None:
    ((value, found),) = contrast(of_rates([0], [50]), of_rates([20], [50]), "ratio", 0.95)
    assert value == 0.0 and found.lower == 0.0
    assert found.upper == pytest.approx(wilson(0, 50).upper / 0.4)
    ((value, found),) = contrast(of_rates([20], [50]), of_rates([0], [50]), "ratio", 0.95)
    assert value == found.upper == np.inf and found.lower == pytest.approx(
        0.4 / wilson(0, 50).upper
    )


@pytest.mark.parametrize("kind", ["difference", "ratio"])
@pytest.mark.parametrize("size", [50, 300])
@pytest.mark.parametrize("shares", [[0.3, 0.3], [0.3, 0.3, 0.3, 0.3, 0.3], [0.1, 0.3, 0.4]])
def test_intervals_of_gaps_cover(kind: Any, size: int, shares: list[float]) -> None:
    """fairlearn's bootstrap covers a gap of 0 in 0 of 100 simulations."""
    rng = np.random.default_rng(5)
    true = float(gap_of(shares, kind))
    covered = 0
    for hits in rng.binomial(size, shares, (400, len(shares))):
        found = gap_interval([of_rates(hits, np.full(len(shares), size))], kind, 0.95)
        assert 0.0 <= found.lower <= gap_of(hits / size, kind) <= found.upper <= 1.0
        covered += found.lower <= true <= found.upper
    assert covered / 400 >= 0.93


def test_one_group_of_twelve_is_found_by_the_interval() -> None:
    rng, runs, trials = np.random.default_rng(5), 200, np.full(12, 85)
    found = {"found": 0, "false": 0, "covered": 0}
    for _ in range(runs):
        share = np.full(12, 0.85)
        alike = gap_interval([of_rates(rng.binomial(85, share), trials)], "difference", 0.95)
        share[3] = 0.65
        apart = gap_interval([of_rates(rng.binomial(85, share), trials)], "difference", 0.95)
        found["found"] += apart.lower > 0
        found["false"] += alike.lower > 0
        found["covered"] += apart.lower <= 0.2 <= apart.upper
    assert found["found"] >= 0.7 * runs and found["covered"] >= 0.95 * runs
    assert found["false"] <= 0.05 * runs


def test_the_mean_of_two_gaps_is_covered_too() -> None:
    rng = np.random.default_rng(6)
    one, other = [0.6, 0.7, 0.9], [0.1, 0.1, 0.3]
    true = (float(gap_of(one, "difference")) + float(gap_of(other, "difference"))) / 2
    covered = 0
    for _ in range(300):
        drawn = [of_rates(rng.binomial(200, shares), np.full(3, 200)) for shares in (one, other)]
        found = gap_interval(drawn, "difference", 0.95, "mean")
        covered += found.lower <= true <= found.upper
    assert covered / 300 >= 0.94


def test_the_permutation_test_holds_its_level_and_finds_a_gap() -> None:
    rng = np.random.default_rng(8)
    sizes = np.array([400, 100, 60])
    p_values = [
        p_chance_of_rates([(rng.binomial(sizes, 0.2), sizes)], seed=run, stream="t", draws=400)
        for run in range(400)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 400)
    hits = np.array([80, 20, 30])
    assert p_chance_of_rates([(hits, sizes)], seed=1, stream="t") < 0.001
    assert p_chance_of_rates([(np.array([0, 0]), sizes[:2])], seed=1, stream="t") == 1.0


def test_the_permutation_test_of_two_groups_is_fisher_s_in_kind() -> None:
    """With two groups of one size, the p-value is that of the two-sided hypergeometric test."""
    from scipy.stats import fisher_exact

    for hits in ([10, 3], [12, 12], [9, 5], [20, 6]):
        expected = fisher_exact([[hits[0], 40 - hits[0]], [hits[1], 40 - hits[1]]]).pvalue
        found = p_chance_of_rates([(np.array(hits), np.array([40, 40]))], seed=3, stream="t")
        assert found == pytest.approx(expected, abs=0.015)


def test_the_test_of_means_holds_its_level() -> None:
    rng = np.random.default_rng(9)
    sizes, spreads = np.array([200, 40, 60]), np.array([1.0, 4.0, 2.0])
    rejected = 0
    for run in range(300):
        drawn = [rng.normal(0, s, n) for s, n in zip(spreads, sizes, strict=True)]
        means = np.array([part.mean() for part in drawn])
        errors = np.array([part.std(ddof=1) / np.sqrt(len(part)) for part in drawn])
        found = p_chance_of_means(means, errors, sizes - 1, seed=run, stream="m", draws=400)
        rejected += found <= 0.05
    assert rejected / 300 <= 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 300)
    apart = np.array([0.0, 5.0])
    assert p_chance_of_means(apart, np.ones(2), np.full(2, 99), seed=1, stream="m") < 0.01


def test_a_corrected_gap_is_nearer_to_the_truth() -> None:
    rng = np.random.default_rng(10)
    sizes = np.full(4, 150)
    raw, corrected = [], []
    for run in range(100):
        hits = rng.binomial(sizes, 0.4)
        raw.append(float(gap_of(hits / sizes, "difference")))
        corrected.append(corrected_gap([(hits, sizes)], "worst", seed=run, stream="c", draws=500))
    assert 0 <= np.mean(corrected) < 0.8 * np.mean(raw)
    large = np.array([50_000, 50_000])
    hits = np.array([20_000, 25_000])
    assert corrected_gap([(hits, large)], "worst", seed=1, stream="c") == pytest.approx(
        0.1, abs=1e-3
    )


def test_effective_sizes() -> None:
    rng = np.random.default_rng(11)
    ones = np.ones(5000)
    hits = (rng.random(5000) < 0.3).astype(float)
    _, alone = effective_sizes(hits, ones, 5000)
    assert alone == pytest.approx(5000, rel=0.001)
    # Five copies of each sample say what one says.
    found, whole = effective_sizes(5 * hits, 5 * ones, 5000)
    assert whole == pytest.approx(5000, rel=0.001)
    assert found / whole == pytest.approx(hits.mean())
    assert effective_sizes(np.zeros(8), np.full(8, 4.0), 8) == (0.0, 8.0)


def test_gaps_of_many_tables_at_once() -> None:
    rng = np.random.default_rng(12)
    tables = rng.integers(0, 40, (20, 3, 4))
    together = gap_of(rates(tables, "selection-rate"), "difference")
    assert together == pytest.approx(
        [float(gap_of(rates(table, "selection-rate"), "difference")) for table in tables]
    )


@pytest.mark.parametrize(("n1", "n2", "share"), [(25, 25, 0.05), (300, 100, 0.3), (50, 50, 0.9)])
def test_the_detectable_gap_is_found_in_four_of_five_cases(n1: int, n2: int, share: float) -> None:
    width = detectable_gap(n1, n2, share)
    other = share + width if share < 0.5 else share - width
    rng, z, found = np.random.default_rng(13), 1.959964, 0
    one, two = rng.binomial(n1, share, 4000) / n1, rng.binomial(n2, other, 4000) / n2
    middle = (n1 * one + n2 * two) / (n1 + n2)
    error = np.sqrt(middle * (1 - middle) * (1 / n1 + 1 / n2))
    found = np.mean(np.abs(one - two) > z * np.maximum(error, 1e-9))
    assert 0.74 < found < 0.9
    assert detectable_gap(4 * n1, 4 * n2, share) < width
    assert detectable_gap(1, 1, 0.5) == 1.0


RUNS = 300
ALLOWED = 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / RUNS)


def drawn(seed: int, *, clusters: int, within: bool, gap: float = 0.0) -> Any:
    """Two groups of samples whose clusters hold very different shares of hits."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(clusters), 1 + rng.poisson(9, clusters))
    group = code % 2
    if within:
        group = (rng.random(len(code)) < rng.uniform(0.1, 0.9, clusters)[code]).astype(np.int64)
    share = np.clip(rng.beta(0.5, 0.5, clusters)[code] + gap * group, 0, 1)
    return code, group, (rng.random(len(code)) < share).astype(np.float64)


@pytest.mark.parametrize("within", [False, True])
def test_alike_groups_are_told_apart_no_more_often_than_stated(within: bool) -> None:
    ours, plain = 0, 0
    for run in range(RUNS):
        code, group, hit = drawn(run, clusters=30, within=within)
        totals = [ClusterTotals.of(code, group, hit)]
        draw: dict[str, Any] = {"seed": run, "stream": "t", "draws": 300}
        found = (
            p_chance_within_clusters(totals, 2, whole=True, **draw)
            if within
            else p_chance_of_whole_clusters(totals, 2, **draw)
        )
        ours += found.p <= 0.05
        hits = np.bincount(group, hit, 2).astype(np.int64)
        plain += p_chance_of_rates([(hits, np.bincount(group))], **draw) <= 0.05
    assert ours / RUNS <= ALLOWED
    assert plain / RUNS > (0.08 if within else 0.25)


@pytest.mark.parametrize("within", [False, True])
def test_a_planted_gap_is_found(within: bool) -> None:
    code, group, hit = drawn(1, clusters=200, within=within, gap=0.4)
    totals = [ClusterTotals.of(code, group, hit)]
    if within:
        for whole in (True, False):
            found = p_chance_within_clusters(totals, 2, whole=whole, seed=1, stream="t")
            assert found.p < 0.001
    else:
        assert p_chance_of_whole_clusters(totals, 2, seed=1, stream="t").p < 0.001


def test_whole_clusters_against_every_way_to_deal_them() -> None:
    trials = np.array([3, 8, 5, 4, 9, 2, 6, 7, 4])
    hits = np.array([1.0, 6, 2, 1, 8, 2, 5, 7, 1])
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])

    def statistic(own: Any) -> float:
        ends = []
        for inside in (own, ~own):
            m, x = trials[inside], hits[inside]
            mean = x.sum() / m.sum()
            spread = np.sum((x - mean * m) ** 2) * len(m) / (len(m) - 1) / m.sum() ** 2
            ends.append((mean, spread))
        return abs(ends[0][0] - ends[1][0]) / np.sqrt(ends[0][1] + ends[1][1])

    measured, beyond = statistic(groups == 0), []
    for chosen in combinations(range(9), 4):
        beyond.append(statistic(np.isin(np.arange(9), chosen)) >= measured - 1e-9)
    totals = ClusterTotals(
        clusters=np.arange(9), groups=groups, trials=trials, totals=hits, squares=hits
    )
    found = p_chance_of_whole_clusters([totals], 2, seed=0, stream="t")
    assert found.p == pytest.approx(np.mean(beyond), abs=0.02)
    assert found.method == "permutation-of-clusters"


def test_shuffling_within_clusters_is_mantel_and_haenszel_s_exact_test() -> None:
    """For two groups the total of one is a sum of hypergeometric draws."""
    first, second, hits = [5, 2, 8, 3, 4], [4, 6, 3, 3, 4], [[4, 1], [1, 2], [6, 0], [3, 3], [0, 0]]
    parts = [
        (stratum, group, value)
        for stratum, sizes in enumerate(zip(first, second, strict=True))
        for group, size in enumerate(sizes)
        for value in [1.0] * hits[stratum][group] + [0.0] * (size - hits[stratum][group])
    ]
    code, group, value = (np.array(column) for column in zip(*parts, strict=True))
    ways = [
        hypergeom(a + b, sum(hit), a).pmf(np.arange(a + 1))
        for a, b, hit in zip(first, second, hits, strict=True)
    ]
    law = reduce(np.convolve, ways)
    expected = np.arange(len(law)) @ law
    apart = np.abs(np.arange(len(law)) - expected)
    exact = law[apart >= abs(sum(hit[0] for hit in hits) - expected) - 1e-9].sum()
    totals = [ClusterTotals.of(code, group, value)]
    found = p_chance_within_clusters(totals, 2, whole=True, seed=0, stream="t")
    assert found.p == pytest.approx(exact, abs=0.02)
    # A fifth cluster without a hit adds nothing but samples.
    assert found.method == "permutation-within-clusters"
    alike = ClusterTotals.of(code, group, np.ones(len(code)))
    assert p_chance_within_clusters([alike], 2, whole=True, seed=0, stream="t").p == 1.0


def test_three_groups_of_one_cluster_against_every_way_to_deal_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Shuffled values have the variance s^2 (1 / a + 1 / b) of a difference of means.
    sizes = np.array([5, 5, 2])
    group = np.repeat([0, 1, 2], sizes)
    value = (np.arange(12) >= 9).astype(float)
    pairs = list(combinations(range(3), 2))

    def largest(hits: Any) -> float:
        means = np.array(hits) / sizes
        return max(
            abs(means[a] - means[b]) / np.sqrt(1 / sizes[a] + 1 / sizes[b]) for a, b in pairs
        )

    dealt = [
        np.bincount(group[list(rows)], minlength=3)
        for rows in combinations(range(len(group)), int(value.sum()))
    ]
    seen = largest(np.bincount(group, value))
    exact = np.mean([largest(hits) >= seen - 1e-9 for hits in dealt])
    totals = [ClusterTotals.of(np.zeros(len(group), dtype=int), group, value)]
    monkeypatch.setattr(gap_clusters, "_MOST", 2)  # one cluster of three groups: the most
    found = p_chance_within_clusters(totals, 3, whole=True, seed=0, stream="t")
    assert found.method == "permutation-within-clusters"
    assert found.p == pytest.approx(exact, abs=0.02)


def test_the_limits_are_near_what_they_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for run in range(3):
        code, group, hit = drawn(run, clusters=300, within=False, gap=0.05)
        totals = [ClusterTotals.of(code, group, hit), ClusterTotals.of(code, group, 1 - hit)]
        shuffled = p_chance_of_whole_clusters(totals, 2, seed=0, stream="t")
        code, group, hit = drawn(run, clusters=300, within=True, gap=0.05)
        inside = [ClusterTotals.of(code, group, hit)]
        exact = p_chance_within_clusters(inside, 2, whole=True, seed=0, stream="t")
        with monkeypatch.context() as patch:
            patch.setattr(gap_clusters, "_MOST", 10)
            limit = p_chance_of_whole_clusters(totals, 2, seed=0, stream="t")
            normal = p_chance_within_clusters(inside, 2, whole=True, seed=0, stream="t")
        assert limit.method == "studentized-range-of-clusters"
        assert limit.p == pytest.approx(shuffled.p, abs=0.04)
        assert normal.method == "normal-limit-of-permutation-within-clusters"
        assert normal.p == pytest.approx(exact.p, abs=0.04)


def test_groups_that_lack_a_rate_are_left_out() -> None:
    code, group, hit = drawn(5, clusters=40, within=False)
    third = np.where(code % 4 == 3, 2, group)
    whole = ClusterTotals.of(code, third, hit)
    without = whole.take(np.array([0, 1]))
    found = p_chance_of_whole_clusters([whole, without], 3, seed=0, stream="t")
    assert 0 < found.p <= 1
    assert p_chance_of_whole_clusters([without], 2, seed=0, stream="t").p > 0.0


def test_a_cluster_in_two_groups_is_refused() -> None:
    code, group, hit = drawn(0, clusters=10, within=True)
    with pytest.raises(ValueError, match="each cluster in one group"):
        p_chance_of_whole_clusters([ClusterTotals.of(code, group, hit)], 2, seed=0, stream="t")


def test_totals_and_how_groups_go_together() -> None:
    code, group, hit = drawn(2, clusters=30, within=True)
    totals = ClusterTotals.of(code, group, hit)
    assert totals.trials.sum() == len(code) and totals.totals.sum() == hit.sum()
    residuals = np.zeros((30, 2))
    for k in range(2):
        own = group == k
        residuals[:, k] = np.bincount(code[own], hit[own] - hit[own].mean(), 30)
    cross = residuals.T @ residuals
    expected = cross[0, 1] / np.sqrt(cross[0, 0] * cross[1, 1])
    assert totals.correlation(2)[0, 1] == pytest.approx(expected) and expected > 0.3
    turned = totals.take(np.array([1, 0]))
    assert turned.correlation(2)[0, 1] == pytest.approx(expected)
    apart = ClusterTotals.of(code, code % 2, hit).correlation(2)
    assert apart == pytest.approx(np.eye(2))


def test_a_contrast_of_correlated_means() -> None:
    big = np.array([1e9])
    ((_, found),) = contrast(of_means([5.0], [3.0], big), of_means([2.0], [4.0], big),
                             "difference", 0.95, 0.5)  # fmt: skip
    half = 1.959964 * np.sqrt(9 + 16 - 2 * 0.5 * 12)
    assert (found.lower, found.upper) == pytest.approx((3 - half, 3 + half))


def side(hits: Any, codes: Any, k: int) -> GapSide:
    n = np.bincount(codes, minlength=k)
    means = np.bincount(codes, weights=hits, minlength=k) / n
    return GapSide(values=means, influence=(hits - means[codes]) / n[codes], trials=n)


def change(new: Any, old: Any, codes: Any, largest: Any = "difference", **more: Any) -> Change:
    k = int(codes.max()) + 1
    new, old = np.asarray(new, dtype=float), np.asarray(old, dtype=float)
    part = Paired(codes=codes, new=side(new, codes, k), old=side(old, codes, k))
    return change_of_largest([part], largest, level=more.pop("level", 0.95), **more)


def test_two_groups_far_apart_have_the_normal_interval_of_one_contrast() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(4000) % 2
    old = rng.random(4000) < 0.9 - 0.3 * codes
    new = np.where(rng.random(4000) < 0.5, old, rng.random(4000) < 0.9 - 0.6 * codes)
    found = change(new, old, codes)
    # (new - old) of group 0 less that of group 1, each group with two pseudo-pairs.
    square, value = 0.0, 0.0
    for group, sign in ((0, 1), (1, -1)):
        a, b = (x[codes == group].astype(float) for x in (new, old))
        p, q, n = a.mean(), b.mean(), len(a)
        value += sign * (p - q)
        residuals = np.concatenate([(a - p) - (b - q), [(1 - p) + q, -p - (1 - q)]])
        square += (residuals**2).sum() / n**2
    half = norm.isf(0.9 * 0.025) * np.sqrt(square)
    assert found.interval is not None
    assert found.value == pytest.approx(value)
    assert found.interval[:2] == pytest.approx((value - half, value + half))
    assert found.p == pytest.approx(2 * norm.sf(abs(value) / np.sqrt(square)) / 0.9)


@pytest.mark.parametrize(
    ("new", "old", "seed"),
    [
        ((0.5, 0.5), (0.5, 0.5), 0),
        ((0.6, 0.8), (0.9, 0.9), 1),
        ((0.6, 0.8), (0.8, 0.6), 2),
        ((0.05, 0.05), (0.1, 0.05), 3),
        ((0.5, 0.8, 0.8, 0.8), (0.9, 0.9, 0.9, 0.9), 4),
    ],
)
def test_the_interval_covers(new: Any, old: Any, seed: int) -> None:
    """At least 95 %, less 3.5 standard errors of 300 repetitions; also where groups are alike."""
    rng = np.random.default_rng(seed)
    truth = (max(new) - min(new)) - (max(old) - min(old))
    n, covered, rejected = 300, 0, 0
    codes = np.arange(n) % len(new)
    for _ in range(300):
        first = rng.random(n)
        second = np.where(rng.random(n) < 0.7, first, rng.random(n))
        found = change(first < np.array(new)[codes], second < np.array(old)[codes], codes)
        assert found.interval is not None
        covered += found.interval.lower <= truth <= found.interval.upper
        rejected += found.p < 0.05
        outside = not found.interval.lower <= 0 <= found.interval.upper
        assert (found.p < 0.05) == outside
    assert covered / 300 >= 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / 300)
    if truth == 0:
        assert rejected / 300 <= 0.05 + 3.5 * np.sqrt(0.95 * 0.05 / 300)


def test_a_planted_rise_is_found() -> None:
    rng = np.random.default_rng(5)
    codes = np.arange(600) % 2
    found = 0
    for _ in range(50):
        old = rng.random(600) < 0.9
        new = old & (rng.random(600) < 1 - 0.25 * codes)
        found += change(new, old, codes).p < 0.05
    assert found >= 40


@given(st.integers(0, 10_000), st.sampled_from(["difference", "lowest", "highest"]))
@settings(max_examples=40, deadline=None)
def test_exchanging_the_answers_turns_the_change(seed: int, largest: Any) -> None:
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(3), rng.integers(0, 3, 90)])
    new, old = rng.random((2, 93)) < rng.random((2, 1))
    one, other = change(new, old, codes, largest), change(old, new, codes, largest)
    assert one.value == pytest.approx(-other.value)
    assert one.interval is not None and other.interval is not None
    assert one.interval.lower == pytest.approx(-other.interval.upper)
    assert one.interval.upper == pytest.approx(-other.interval.lower)
    assert one.interval.lower <= one.value <= one.interval.upper
    assert one.p == pytest.approx(other.p)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_names_of_groups_and_the_order_of_samples_don_t_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(4), rng.integers(0, 4, 80)])
    new, old = rng.random((2, 84)) < 0.6
    order, names = rng.permutation(84), rng.permutation(4)
    one, other = change(new, old, codes), change(new[order], old[order], names[codes[order]])
    assert one.value == pytest.approx(other.value)
    assert one.interval is not None and other.interval is not None
    assert one.interval[:2] == pytest.approx(other.interval[:2])


def test_clusters_of_copies_say_no_more_than_one_sample() -> None:
    """Each sample four times: as clusters, the interval is that of the samples, but for C - 1."""
    rng = np.random.default_rng(6)
    codes = np.arange(200) % 2
    old, new = rng.random(200) < 0.8, rng.random(200) < 0.8 - 0.2 * codes
    own = np.arange(200)
    once = change(new, old, codes, clusters=own)
    copies = change(*(np.tile(x, 4) for x in (new, old, codes)), clusters=np.tile(own, 4))
    assert once.interval is not None and copies.interval is not None
    assert copies.interval[:2] == pytest.approx(once.interval[:2])
    taken_for_more = change(*(np.tile(x, 4) for x in (new, old, codes)))
    assert taken_for_more.interval is not None
    wide = once.interval.upper - once.interval.lower
    assert taken_for_more.interval.upper - taken_for_more.interval.lower < 0.6 * wide


def test_the_lowest_group_s_mean() -> None:
    codes = np.repeat([0, 1], 500)
    old = np.concatenate([np.arange(500) < 450, np.arange(500) < 400])
    new = np.concatenate([np.arange(500) < 250, np.arange(500) < 400])
    found = change(new, old, codes, "lowest")
    assert found.value == pytest.approx(0.5 - 0.8)
    assert found.interval is not None and found.interval.upper < -0.2
    assert change(new, old, codes, "highest").value == pytest.approx(0.8 - 0.9)


def test_nothing_to_tell_apart_has_no_interval() -> None:
    codes = np.arange(20) % 2
    flat = GapSide(values=np.zeros(2), influence=np.zeros(20))
    found = change_of_largest([Paired(codes=codes, new=flat, old=flat)], "difference", level=0.95)
    assert found.interval is None and np.isnan(found.p) and found.reason
    with pytest.raises(ValueError, match="parts: expected at least one"):
        change_of_largest([], "difference", level=0.95)


def test_a_group_is_held_against_all_others_together() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(k, 1.0, n) for k, n in enumerate((5, 9, 14))]
    sizes, means = np.array([5, 9, 14]), np.array([one.mean() for one in samples])

    def errors(k: int) -> float:
        rest = np.concatenate(samples[:k] + samples[k + 1 :])
        return float(abs(means[k] - rest.mean()) / np.sqrt(1 / sizes[k] + 1 / len(rest)))

    found = _from_rest(means[None], sizes, 1 / np.sqrt(sizes))
    assert found == pytest.approx([max(map(errors, range(3)))])
