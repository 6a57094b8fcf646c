"""What chance alone makes of gaps between groups where samples come in clusters.

Members of a cluster are alike, so that shuffling samples as if they were independent finds gaps
where there are none. What can be shuffled depends on where groups lie:

- Each cluster in one group: whole clusters are dealt out again. If group has nothing to do with
  the outcome, clusters are exchangeable. Differences are divided by cluster-robust standard errors,
  so that the test also holds for many clusters where groups' clusters differ in size or spread.
- A cluster in several groups: groups are shuffled within each cluster, and each group's total is
  held against what its clusters lead to expect (as Mantel and Haenszel do). That asks about
  differences within clusters, not about groups that lie in other clusters.

Where there are very many clusters, the distributions that both tend to are drawn from instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from crucibench.metrics._inputs import FloatArray, IntArray
from crucibench.metrics.gap_chance import DRAWS, beyond, widest
from crucibench.stats.resampling import generator

_CELLS = 4_000_000
"""Draws times clusters that are shuffled at most."""

_MOST = 1_000
"""With more clusters than this the limit of the shuffled statistic is drawn."""

_BLOCK = 1 << 18


@final
@dataclass(frozen=True, kw_only=True)
class ClusterTotals:
    """A mean of each group, told by what each cluster adds to it.

    Each pair of a cluster and a group that has samples is one of M places.

    Attributes:
        clusters: shape (M,), which cluster.
        groups: shape (M,), which group, 0 to G - 1.
        trials: shape (M,), how many samples, at least 1.
        totals: shape (M,), the sum of their values.
        squares: shape (M,), the sum of the values' squares.
    """

    clusters: IntArray
    groups: IntArray
    trials: IntArray
    totals: FloatArray
    squares: FloatArray

    @classmethod
    def of(cls, clusters: IntArray, groups: IntArray, values: FloatArray) -> ClusterTotals:
        """Adds up samples: codes of cluster and group, at least 0, and values, shape (n,) each."""
        k = int(groups.max(initial=0)) + 1
        keys, places = np.unique(clusters * k + groups, return_inverse=True)
        return cls(
            clusters=keys // k,
            groups=keys % k,
            trials=np.bincount(places, minlength=len(keys)),
            totals=np.bincount(places, values, len(keys)).astype(np.float64),
            squares=np.bincount(places, values**2, len(keys)).astype(np.float64),
        )

    def take(self, groups: IntArray) -> ClusterTotals:
        """Returns some groups, numbered anew in the order given."""
        place = np.full(int(max(self.groups.max(initial=0), groups.max(initial=0))) + 1, -1)
        place[groups] = np.arange(len(groups))
        kept = place[self.groups] >= 0
        return ClusterTotals(
            clusters=self.clusters[kept], groups=place[self.groups[kept]],
            trials=self.trials[kept], totals=self.totals[kept], squares=self.squares[kept],
        )  # fmt: skip

    def correlation(self, k: int) -> FloatArray:
        """Returns how the means of k groups go together as they share clusters, shape (k, k).

        Of totals of residuals by cluster; 0 where a group shows no spread.
        """
        residuals = self.residuals(k)
        units = np.unique(self.clusters, return_inverse=True)[1]
        dense = np.zeros((int(units.max(initial=-1)) + 1, k))
        dense[units, self.groups] = residuals
        cross = dense.T @ dense
        scale = np.sqrt(np.diag(cross))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.nan_to_num(cross / np.outer(scale, scale), posinf=0.0, neginf=0.0)
        return np.asarray(np.clip(found, -1.0, 1.0))

    def residuals(self, k: int) -> FloatArray:
        """Returns the totals less what the means of k groups lead to expect, shape (M,)."""
        trials = np.bincount(self.groups, self.trials, k)
        with np.errstate(invalid="ignore"):
            means = np.bincount(self.groups, self.totals, k) / trials
        return np.asarray(self.totals - means[self.groups] * self.trials)


class Chance(NamedTuple):
    """What chance says of a gap.

    Attributes:
        p: how likely so wide a gap is by chance alone, in (0, 1]; nan where that is not told.
        method: how that was found.
    """

    p: float
    method: str


def p_chance_of_whole_clusters(
    rates: Sequence[ClusterTotals], k: int, *, seed: int, stream: str, draws: int = DRAWS
) -> Chance:
    """Returns the p-value of a largest difference, each cluster lying in one group.

    Args:
        rates: one for each rate that is looked at, groups 0 to k - 1.
        k: how many groups there are.
        seed: of the draws.
        stream: names the draws.
        draws: at most so many; fewer where there are many clusters.

    Returns:
        Never below 1 / (draws + 1).

    Raises:
        ValueError: if a cluster lies in two groups.

    Source:
        Chung and Romano 2013, Annals of Statistics 41:484 (studentized permutation).
    """
    every = np.concatenate([rate.clusters for rate in rates])
    names, units = np.unique(every, return_inverse=True)
    groups = np.zeros(len(names), dtype=np.int64)
    of = np.concatenate([rate.groups for rate in rates])
    groups[units] = of
    if (groups[units] != of).any():
        raise ValueError("rates: expected each cluster in one group, got one in two")
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(k))
    # By rate, what is summed over the clusters of a group: m, x, m^2, m x, x^2 and 1.
    sums = np.zeros((len(rates), 6, len(names)))
    done = 0
    for place, rate in enumerate(rates):
        own = units[done : done + len(rate.clusters)]
        done += len(own)
        m, x = rate.trials.astype(np.float64), rate.totals
        sums[place][:, own] = (m, x, m * m, m * x, x * x, np.ones(len(own)))
    rng = generator(seed, stream)
    measured = float(_studentised(sums, order[None], starts)[0])
    if len(names) > _MOST:
        drawn = _limit_of_whole(rates, k, rng, draws)
        return Chance(beyond(drawn, measured), "studentized-range-of-clusters")
    count = min(draws, max(1, _CELLS // max(1, len(names))))
    drawn = np.empty(count)
    rows = max(1, _BLOCK // max(1, len(names)))
    for start in range(0, count, rows):
        size = min(rows, count - start)
        dealt = rng.permuted(np.broadcast_to(order, (size, len(order))), axis=1)
        drawn[start : start + size] = _studentised(sums, dealt, starts)
    return Chance(beyond(drawn, measured), "permutation-of-clusters")


def _studentised(sums: FloatArray, dealt: IntArray, starts: IntArray) -> FloatArray:
    """Returns the largest difference in standard errors of B ways to deal clusters to groups."""
    found = np.zeros(len(dealt))
    for rate in sums:
        m, x, mm, mx, xx, there = (
            np.add.reduceat(part[dealt], starts, axis=1) for part in rate
        )  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = x / m
            square = xx - 2 * mean * mx + mean**2 * mm
            # What is left of equal numbers is rounding, not spread.
            square = np.where(square > 1e-9 * xx, square, 0.0)
            error = np.sqrt(square * there / (there - 1)) / m
        found = np.maximum(found, widest(mean, error))
    return found


def _limit_of_whole(
    rates: Sequence[ClusterTotals], k: int, rng: np.random.Generator, draws: int
) -> FloatArray:
    """Draws the largest difference where groups are alike: the studentised range, by rates."""
    names, units = np.unique(np.concatenate([rate.clusters for rate in rates]), return_inverse=True)
    residuals, of = np.zeros((len(rates), len(names))), np.zeros(len(names), dtype=np.int64)
    trials, freedoms = np.zeros((k, len(rates))), np.ones((k, len(rates)))
    done = 0
    for place, rate in enumerate(rates):
        own = units[done : done + len(rate.clusters)]
        done += len(own)
        residuals[place, own], of[own] = rate.residuals(k), rate.groups
        trials[:, place] = np.bincount(rate.groups, rate.trials, k)
        freedoms[:, place] = np.maximum(1, np.bincount(rate.groups, minlength=k) - 1)
    trials[trials == 0] = np.nan
    cross = np.array([[np.bincount(of, one * two, k) for two in residuals] for one in residuals])
    cross = np.nan_to_num(np.moveaxis(cross, 2, 0) / (trials[:, :, None] * trials[:, None, :]))
    values = _normal(rng, cross, draws)
    spread = np.sqrt(np.diagonal(cross, axis1=1, axis2=2))
    errors = spread * np.sqrt(rng.chisquare(freedoms, (draws, k, len(rates))) / freedoms)
    return np.asarray(
        np.max([widest(values[:, :, r], errors[:, :, r]) for r in range(len(rates))], axis=0)
    )


def _normal(rng: np.random.Generator, covariance: FloatArray, draws: int) -> FloatArray:
    """Draws normal vectors of covariances (..., d, d): shape (draws, ..., d)."""
    sizes, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(np.maximum(sizes, 0.0))[..., None, :]
    return np.asarray(
        np.einsum("...ij,b...j->b...i", root, rng.standard_normal((draws, *covariance.shape[:-1])))
    )


def p_chance_within_clusters(
    rates: Sequence[ClusterTotals],
    k: int,
    *,
    whole: bool,
    seed: int,
    stream: str,
    draws: int = DRAWS,
) -> Chance:
    """Returns the p-value of a largest difference, groups being shuffled within each cluster.

    Args:
        rates: one for each rate that is looked at, groups 0 to k - 1. Their samples must not
            overlap.
        k: how many groups there are.
        whole: whether values are 0 and 1: then hits fall to a cluster's groups as a multivariate
            hypergeometric draw, which is exact. Else the normal limit is drawn.
        seed: of the draws.
        stream: names the draws.
        draws: at most so many; fewer where there are many clusters.

    Returns:
        Never below 1 / (draws + 1); 1 where no cluster has two groups and two outcomes.

    Source:
        Mantel and Haenszel 1959, JNCI 22:719; Landis, Heyman and Koch 1978 (several groups).
    """
    strata = [_Strata.of(rate, k) for rate in rates]
    most = max(len(one.counts) for one in strata) * (k - 1)
    exact = whole and most <= _MOST
    rng = generator(seed, stream)
    count = min(draws, max(1, _CELLS // max(1, most))) if exact else draws
    measured, drawn = 0.0, np.zeros(count)
    for one in strata:
        error = one.errors()
        measured = max(measured, float(one.largest(one.apart[None], error)[0]))
        moved = one.dealt(rng, count) if exact else _normal(rng, one.covariance(), count)
        drawn = np.maximum(drawn, one.largest(moved, error))
    method = "permutation-within-clusters"
    return Chance(beyond(drawn, measured), method if exact else f"normal-limit-of-{method}")


@dataclass(frozen=True)
class _Strata:
    """Clusters with samples of two groups or more and unequal values; S of them, G groups."""

    counts: IntArray  # (S, G) samples
    totals: FloatArray  # (S,) sums of values
    spreads: FloatArray  # (S,) variances of values
    apart: FloatArray  # (G,) each group's total less what is expected
    trials: FloatArray  # (G,) of all clusters

    @classmethod
    def of(cls, rate: ClusterTotals, k: int) -> _Strata:
        units = np.unique(rate.clusters, return_inverse=True)[1]
        c = int(units.max(initial=-1)) + 1
        n, total, squares = (
            np.bincount(units, part, c).astype(np.float64)
            for part in (rate.trials, rate.totals, rate.squares)
        )
        spread = np.maximum(0.0, squares - total**2 / n) / np.maximum(1.0, n - 1)
        mixed = (np.bincount(units, minlength=c) > 1) & (spread > 1e-12 * squares)
        place = np.cumsum(mixed) - 1
        kept = mixed[units]
        counts = np.zeros((int(mixed.sum()), k), dtype=np.int64)
        counts[place[units[kept]], rate.groups[kept]] = rate.trials[kept]
        expected = counts * (total / n)[mixed, None]
        return cls(
            counts=counts, totals=total[mixed], spreads=spread[mixed],
            apart=np.bincount(rate.groups[kept], rate.totals[kept], k) - expected.sum(axis=0),
            trials=np.bincount(rate.groups, rate.trials, k).astype(np.float64),
        )  # fmt: skip

    def covariance(self) -> FloatArray:
        """Of the groups' totals as groups are shuffled, shape (G, G)."""
        n = self.counts.sum(axis=1)
        own = np.diag(self.spreads @ self.counts)
        return np.asarray(own - (self.counts * (self.spreads / n)[:, None]).T @ self.counts)

    def errors(self) -> FloatArray:
        """Standard errors of the pairs' differences, shape (G, G)."""
        per = np.where(self.trials > 0, self.trials, np.nan)
        scaled = self.covariance() / np.outer(per, per)
        own = np.diag(scaled)
        return np.asarray(np.sqrt(np.maximum(0.0, own[:, None] + own[None, :] - 2 * scaled)))

    def largest(self, moved: FloatArray, errors: FloatArray) -> FloatArray:
        """Returns the largest difference in standard errors of totals' shifts (B, G)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            shifts = moved / self.trials
            found = np.zeros(len(moved))
            for a in range(moved.shape[1] - 1):
                apart = np.abs(shifts[:, a + 1 :] - shifts[:, a : a + 1]) / errors[a, a + 1 :]
                apart = np.where(errors[a, a + 1 :] > 1e-12, apart, 0.0)
                found = np.maximum(found, apart.max(axis=1))
        return found

    def dealt(self, rng: np.random.Generator, draws: int) -> FloatArray:
        """Deals each cluster's hits to its groups: the totals' shifts, shape (draws, G)."""
        expected = (self.counts * (self.totals / self.counts.sum(axis=1))[:, None]).sum(axis=0)
        found = np.zeros((draws, self.counts.shape[1]))
        left = np.broadcast_to(self.totals.astype(np.int64), (draws, len(self.totals)))
        others = self.counts.sum(axis=1)
        for group in range(self.counts.shape[1] - 1):
            own = self.counts[:, group]
            hits = rng.hypergeometric(left, others - left, own)
            found[:, group] = hits.sum(axis=1)
            left, others = left - hits, others - own
        found[:, -1] = left.sum(axis=1)
        return np.asarray(found - expected)
