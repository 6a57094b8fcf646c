"""The delete-a-group jackknife: standard errors where a bootstrap would cost too much."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks
from crucibench.stats.replicates import without_spread
from crucibench.stats.resampling import MAX_CELLS, Resampler, delete_groups
from crucibench.stats.results import BootstrapResult
from crucibench.stats.weighted import (
    WeightedStatistic,
    evaluate,
    evaluate_sums,
    sums_of,
)

GROUPS = 200


def block_jackknife_many(
    statistics: Mapping[str, WeightedStatistic],
    n: int,
    *,
    level: float = 0.95,
    groups: int = GROUPS,
    seed: int,
    stream: str,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    max_cells: int = MAX_CELLS,
) -> dict[str, BootstrapResult]:
    """Return intervals from leaving out each of some random groups of samples in turn.

    The interval is estimate +- t * standard error with Student's t of groups - 1 degrees of
    freedom, so that few clusters are paid for. A function of sums costs one pass over the samples,
    any other ``groups`` evaluations, never with more than ``max_cells`` weights (or n) at once.

    Args:
        statistics: Name to statistic, from (B, n) weights to (B,) values.
        n: Number of samples, at least 2.
        level: Confidence level, in (0, 1).
        groups: Number of groups, at least 2; with fewer units (samples or clusters) than that,
            each unit is a group.
        seed: Any integer.
        stream: Name of the draw that deals units out to groups.
        clusters: (n,) codes of samples that stay together.
        strata: (n,) codes whose shares every group keeps.
        max_cells: Bound on the cells of one block of weights.

    Returns:
        Name to result, method ``group-jackknife-200``, or ``cluster-group-jackknife-37 (37
        clusters)``. Without an interval where a deletion is undefined or all are equal.

    Raises:
        ValueError: An argument out of range, fewer than two units, or a statistic that returns
            another shape than (B,).

    Source:
        Shao and Tu 1995, The Jackknife and Bootstrap, chapter 2 (grouped and delete-d
        jackknife: valid for quantiles too, as groups of more than sqrt(n) are left out here for n
        above 40,000); unequal groups, Busing, Meijer and van der Leeden 1999, Statistics and
        Computing 9:3.
    """
    level = _checks.level(level)
    groups = _checks.count("groups", groups, minimum=2)
    resampler = Resampler(n, seed=seed, stream=stream, clusters=clusters, strata=strata)
    if resampler.units < 2:
        raise ValueError(f"n: expected at least two units to leave out, got {resampler.units}")
    count = min(groups, resampler.units)
    group_of = resampler.groups(count)
    without = deletions(statistics, group_of, count, max_cells)
    sizes = np.bincount(group_of, minlength=count)
    prefix = "stratified-" if resampler.stratified else ""
    method = f"{prefix}group-jackknife-{count}"
    if resampler.clustered:
        method = f"cluster-{method} ({resampler.units} clusters)"
    ones = np.ones((1, resampler.n))
    results = {}
    for name, statistic in statistics.items():
        estimate = float(evaluate(name, statistic, ones)[0])
        result = _without_interval(estimate, without[name], method)
        if result is None:
            error = math.sqrt(_variance(estimate, without[name], sizes))
            half = float(stdtrit(count - 1, (1.0 + level) / 2.0)) * error
            interval = Interval(estimate - half, estimate + half, level, method)
            result = BootstrapResult(estimate, interval, error, count, 0, method)
        results[name] = result
    return results


def deletions(
    statistics: Mapping[str, WeightedStatistic],
    group_of: NDArray[np.intp],
    count: int,
    max_cells: int = MAX_CELLS,
) -> dict[str, NDArray[np.float64]]:
    """Return the values without each group of samples, (count,) a statistic.

    Args:
        statistics: by name, each of n samples.
        group_of: (n,) each sample's group, from 0.
        count: how many groups there are.
        max_cells: bound on the cells of one block of weights.
    """
    values = {name: np.empty(count) for name in statistics}
    others: dict[str, WeightedStatistic] = {}
    for name, statistic in statistics.items():
        if (sums := sums_of(statistic)) is not None:
            # Added up without the group, not subtracted from the total: one huge loss would take
            # the digits of all others with it.
            others_sums = _sums_of_others(sums.by_group(group_of, count))
            values[name][:] = evaluate_sums(name, sums, others_sums)
        else:
            others[name] = statistic
    if others:
        done = 0
        for weights in delete_groups(group_of, count, max_cells):
            rows = slice(done, done + weights.shape[0])
            for name, statistic in others.items():
                values[name][rows] = evaluate(name, statistic, weights)
            done = rows.stop
    return values


def _sums_of_others(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each of (G, k) rows, the sum of all other rows, without subtracting."""
    before = np.zeros_like(sums)
    np.cumsum(sums[:-1], axis=0, out=before[1:])
    after = np.zeros_like(sums)
    after[:-1] = np.cumsum(sums[:0:-1], axis=0)[::-1]
    return before + after


def _without_interval(
    estimate: float, deletions: NDArray[np.float64], method: str
) -> BootstrapResult | None:
    """Return the result where there can be no interval, or None where there can."""
    count = deletions.size
    defined = int(np.count_nonzero(np.isfinite(deletions)))
    missing = count - defined
    if not math.isfinite(estimate):
        reason = f"the statistic is undefined on the sample itself ({estimate})"
        return BootstrapResult(estimate, None, math.nan, defined, missing, method, reason)
    if missing:
        reason = f"undefined without {missing} of {count} groups"
        return BootstrapResult(estimate, None, math.nan, defined, missing, method, reason)
    if without_spread(deletions):
        reason = (
            f"equal without each of {count} groups: the sample shows no spread, "
            "which is no proof of precision"
        )
        return BootstrapResult(estimate, None, 0.0, count, 0, method, reason, True)
    return None


def _variance(estimate: float, deletions: NDArray[np.float64], sizes: NDArray[np.intp]) -> float:
    """Delete-m_j variance; for equal groups (G - 1) / G * sum((value - mean) ** 2)."""
    inverse_share = sizes.sum() / sizes
    pseudo = inverse_share * estimate - (inverse_share - 1.0) * deletions
    centre = float(np.sum(estimate - (1.0 - 1.0 / inverse_share) * deletions))
    return float(np.mean((pseudo - centre) ** 2 / (inverse_share - 1.0)))
