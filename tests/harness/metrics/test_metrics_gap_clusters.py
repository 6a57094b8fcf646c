"""Chance where samples come in clusters: enumerated, closed forms, and levels by simulation."""

from __future__ import annotations

from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import hypergeom

from crucibench.metrics import gap_clusters
from crucibench.metrics.gap_chance import p_chance_of_rates
from crucibench.metrics.gap_clusters import (
    ClusterTotals,
    p_chance_of_whole_clusters,
    p_chance_within_clusters,
)
from crucibench.metrics.gaps import contrast, of_means

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
