"""Two models on the same samples: the difference of any statistic, its interval and p-value."""

from __future__ import annotations

import math
from collections.abc import Mapping

from numpy.typing import ArrayLike
from scipy.special import stdtr

from crucibench.stats.bootstrap import REPLICATES, summaries_of
from crucibench.stats.jackknife import GROUPS, block_jackknife_many
from crucibench.stats.replicates import IntervalKind, ReplicateSummary, inversion_p_value
from crucibench.stats.resampling import MAX_CELLS, Resampler
from crucibench.stats.results import BootstrapResult, PairedDifference
from crucibench.stats.weighted import WeightedStatistic, difference

StatisticPair = tuple[WeightedStatistic, WeightedStatistic]
"""The statistic of the first model and of the second, over the same samples in the same order."""


def paired_bootstrap_many(
    pairs: Mapping[str, StatisticPair],
    n: int,
    *,
    level: float = 0.95,
    replicates: int = REPLICATES,
    seed: int,
    stream: str,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    kind: IntervalKind = "auto",
    max_cells: int = MAX_CELLS,
) -> dict[str, PairedDifference]:
    """Return differences, first minus second, both under the same bootstrap weights.

    Args:
        pairs: Name to (statistic of the first, statistic of the second).
        n: Number of samples. Other arguments as for `bootstrap_many`.
        level: Confidence level, in (0, 1).
        replicates: Number of bootstrap samples.
        seed: Any integer.
        stream: Name of the draw.
        clusters: (n,) codes of samples that are drawn together.
        strata: (n,) codes within which is drawn.
        kind: Kind of interval.
        max_cells: Bound on the cells of one block of weights.

    Returns:
        Name to difference. The two-sided p-value inverts the interval, with one replicate added to
        each tail: it is at least 2 / (replicates + 1), and below 1 - level just when the interval
        leaves 0 out (but for that added replicate). Where all replicates are 0 there is no
        interval, and the p-value is 1.

    Raises:
        ValueError: An argument out of range, or a statistic that returns another shape than (B,).
    """
    summaries = summaries_of(
        {name: difference(*pair) for name, pair in pairs.items()},
        Resampler(n, seed=seed, stream=stream, clusters=clusters, strata=strata),
        level=level,
        replicates=replicates,
        kind=kind,
        max_cells=max_cells,
    )
    return {name: difference_from(summary) for name, summary in summaries.items()}


def paired_jackknife_many(
    pairs: Mapping[str, StatisticPair],
    n: int,
    *,
    level: float = 0.95,
    groups: int = GROUPS,
    seed: int,
    stream: str,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    max_cells: int = MAX_CELLS,
) -> dict[str, PairedDifference]:
    """Return differences, first minus second, by the delete-a-group jackknife.

    Args:
        pairs: Name to (statistic of the first, statistic of the second).
        n: Number of samples. Other arguments as for `block_jackknife_many`.
        level: Confidence level, in (0, 1).
        groups: Number of groups.
        seed: Any integer.
        stream: Name of the draw that deals samples out to groups.
        clusters: (n,) codes of samples that stay together.
        strata: (n,) codes whose shares every group keeps.
        max_cells: Bound on the cells of one block of weights.

    Returns:
        Name to difference; the p-value is Student's, with groups - 1 degrees of freedom.

    Raises:
        ValueError: As `block_jackknife_many`.
    """
    results = block_jackknife_many(
        {name: difference(*pair) for name, pair in pairs.items()},
        n,
        level=level,
        groups=groups,
        seed=seed,
        stream=stream,
        clusters=clusters,
        strata=strata,
        max_cells=max_cells,
    )
    return {name: _from_jackknife(result) for name, result in results.items()}


def difference_from(summary: ReplicateSummary) -> PairedDifference:
    """Return the difference that its replicates say, with the p-value that inverts its interval."""
    if summary.result.interval is None:
        return _without_interval(summary.result)
    return _with_p_value(summary.result, inversion_p_value(summary.finite, 0.0, summary.correction))


def _from_jackknife(result: BootstrapResult) -> PairedDifference:
    if result.interval is None:
        return _without_interval(result)
    t = abs(result.estimate) / result.standard_error
    return _with_p_value(result, 2.0 * float(stdtr(result.replicates_used - 1, -t)))


def _without_interval(result: BootstrapResult) -> PairedDifference:
    # Models that answer alike under every draw: nothing speaks against no difference. A constant
    # difference other than 0 has no spread to be held against, so it has no p-value either.
    alike = result.degenerate and result.estimate == 0.0
    return _with_p_value(result, 1.0 if alike else math.nan)


def _with_p_value(result: BootstrapResult, p_value: float) -> PairedDifference:
    return PairedDifference(
        result.estimate,
        result.interval,
        result.standard_error,
        p_value,
        result.method,
        result.reason,
        result.degenerate,
    )
