"""Bootstrap intervals of weighted statistics: percentile and BCa, clusters and strata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.contracts.statistic import plain_weights
from crucibench.stats import _checks
from crucibench.stats.replicates import (
    BCA_UNITS,
    IntervalKind,
    ReplicateSummary,
    summarise,
    wants_bca,
)
from crucibench.stats.resampling import MAX_CELLS, Resampler, delete_groups
from crucibench.stats.results import BootstrapResult
from crucibench.stats.weighted import (
    WeightedStatistic,
    evaluate,
    evaluate_sums,
    sums_of,
    weighted_sums,
)

REPLICATES = 2000
MIN_UNITS = 5
"""With fewer units (samples or clusters) there is no bootstrap interval: it would be far too short
(a percentile interval of the mean of 5 normal numbers covers about 0.8 at a nominal 0.95)."""

_ACCELERATION_GROUPS = 200


def bootstrap_many(
    statistics: Mapping[str, WeightedStatistic],
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
) -> dict[str, BootstrapResult]:
    """Return bootstrap intervals of several statistics of the same samples, under the same draws.

    Args:
        statistics: Name to statistic, from (B, n) weights to (B,) values.
        n: Number of samples, at least 1.
        level: Confidence level, in (0, 1).
        replicates: Number of bootstrap samples, at least 2; for a 95 % interval 1,000 or more.
        seed: Any integer.
        stream: Name of the draw; equal n, seed and stream give equal draws.
        clusters: (n,) integer or string codes of samples that are drawn together.
        strata: (n,) integer or string codes within which is drawn.
        kind: ``percentile``; ``bca``, bias-corrected and accelerated, its acceleration from leaving
            out each unit or, above 1,000 units, each of 200 groups; ``auto``, BCa up to 1,000 units
            (samples, or clusters where given) and percentile beyond.
        max_cells: Bound on the cells of one block of weights; it never changes a draw.

    Returns:
        Name to result. Methods read ``bca-bootstrap-2000`` or ``cluster-percentile-bootstrap-2000
        (37 clusters)``; undefined replicates are dropped and counted, and beyond 5 % of them, with
        fewer than 5 units, or without any spread there is no interval but a reason.

    Raises:
        ValueError: An argument out of range, or a statistic that returns another shape than (B,).

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 14; clusters
        and strata, Davison and Hinkley 1997, sections 3.2 and 3.8.
    """
    summaries = summaries_of(
        statistics,
        Resampler(n, seed=seed, stream=stream, clusters=clusters, strata=strata),
        level=level,
        replicates=replicates,
        kind=kind,
        max_cells=max_cells,
    )
    return {name: summary.result for name, summary in summaries.items()}


def replicates_of(
    statistics: Mapping[str, WeightedStatistic],
    n: int,
    *,
    replicates: int = REPLICATES,
    seed: int,
    stream: str,
    clusters: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    max_cells: int = MAX_CELLS,
) -> dict[str, NDArray[np.float64]]:
    """Return the raw bootstrap replicates of several statistics under the same draws.

    Args:
        statistics: As for `bootstrap_many`, as are all other arguments.
        n: Number of samples.
        replicates: Number of bootstrap samples.
        seed: Any integer.
        stream: Name of the draw.
        clusters: (n,) codes of samples that are drawn together.
        strata: (n,) codes within which is drawn.
        max_cells: Bound on the cells of one block of weights.

    Returns:
        Name to (replicates,) values, nan where undefined. Equal positions come from equal draws,
        so two statistics may be subtracted.
    """
    resampler = Resampler(n, seed=seed, stream=stream, clusters=clusters, strata=strata)
    return _replicates(statistics, resampler, replicates, max_cells)


def summaries_of(
    statistics: Mapping[str, WeightedStatistic],
    resampler: Resampler,
    *,
    level: float,
    replicates: int,
    kind: IntervalKind,
    max_cells: int,
) -> dict[str, ReplicateSummary]:
    """Return what `bootstrap_many` returns, with the replicates and the correction."""
    level = _checks.level(level)
    accelerated = wants_bca(kind, resampler.units)
    drawn = _replicates(statistics, resampler, replicates, max_cells)
    estimates = {
        name: float(evaluate(name, statistic, plain_weights(resampler.n))[0])
        for name, statistic in statistics.items()
    }
    influences: dict[str, NDArray[np.float64]] = {}
    if accelerated:
        influences = _influences(statistics, resampler, max_cells)
    template, notes = _method_template(resampler, replicates)
    summaries = {
        name: summarise(
            values,
            estimates[name],
            level=level,
            influences=influences.get(name),
            template=template,
            notes=notes,
        )
        for name, values in drawn.items()
    }
    if resampler.units < MIN_UNITS:
        return {name: _too_few(summary, resampler) for name, summary in summaries.items()}
    return summaries


def _method_template(resampler: Resampler, replicates: int) -> tuple[str, tuple[str, ...]]:
    """Return the name of the method with ``{kind}`` left open, and its notes."""
    prefix = "stratified-" if resampler.stratified else ""
    prefix = f"cluster-{prefix}" if resampler.clustered else prefix
    notes = (f"{resampler.units} clusters",) if resampler.clustered else ()
    if resampler.coarse is not resampler:
        notes = (*notes, f"in {resampler.coarse.units} groups")
    return f"{prefix}{{kind}}-bootstrap-{replicates}", notes


def _replicates(
    statistics: Mapping[str, WeightedStatistic],
    resampler: Resampler,
    replicates: int,
    max_cells: int,
) -> dict[str, NDArray[np.float64]]:
    replicates = _checks.count("replicates", replicates, minimum=2)
    drawn = {name: np.empty(replicates) for name in statistics}
    coarse = resampler.coarse
    summed, columns = {}, {}
    if coarse is not resampler:
        summed = {name: sums for name, one in statistics.items() if (sums := sums_of(one))}
        # Of each group its sums once, in place of its samples at each replicate.
        columns = {
            name: np.ascontiguousarray(sums.by_group(coarse.unit_of, coarse.units).T)
            for name, sums in summed.items()
        }
    weighed = {name: one for name, one in statistics.items() if name not in summed}
    done = 0
    # Drawing costs more than most statistics, so each block of weights serves them all.
    for units in coarse.draws(replicates, coarse.n if weighed else coarse.units, max_cells):
        rows = slice(done, done + units.shape[0])
        for name, sums in summed.items():
            drawn[name][rows] = evaluate_sums(name, sums, weighted_sums(units, columns[name]))
        if weighed:
            weights = coarse.over_samples(units)
            for name, statistic in weighed.items():
                drawn[name][rows] = evaluate(name, statistic, weights)
        done = rows.stop
    return drawn


def _influences(
    statistics: Mapping[str, WeightedStatistic], resampler: Resampler, max_cells: int
) -> dict[str, NDArray[np.float64]]:
    """Jackknife influences of each statistic, for BCa; nan where a deletion is undefined."""
    if resampler.units <= BCA_UNITS:
        blocks = resampler.leave_one_out(max_cells)
        sizes = [members.size for members in resampler.strata if members.size > 1]
    else:
        # The skewness of 200 group means falls with the size of a group as fast as the factor
        # 1 / sqrt(n) of the acceleration grows by their number: the same formula estimates it.
        groups = resampler.groups(_ACCELERATION_GROUPS)
        blocks = delete_groups(groups, _ACCELERATION_GROUPS, max_cells)
        sizes = [_ACCELERATION_GROUPS]
    deletions: dict[str, list[NDArray[np.float64]]] = {name: [] for name in statistics}
    for weights in blocks:
        for name, statistic in statistics.items():
            deletions[name].append(evaluate(name, statistic, weights))
    return {
        name: np.concatenate([_stratum_influences(part) for part in _split(parts, sizes)])
        if parts
        else np.empty(0)
        for name, parts in deletions.items()
    }


def _split(parts: list[NDArray[np.float64]], sizes: list[int]) -> list[NDArray[np.float64]]:
    return np.split(np.concatenate(parts), np.cumsum(sizes)[:-1])


def _stratum_influences(deletions: NDArray[np.float64]) -> NDArray[np.float64]:
    # The factor matters between strata of different size alone (Davison and Hinkley 1997,
    # section 5.3.2, the multi-sample form, as scipy.stats has it).
    m = deletions.size
    centred: NDArray[np.float64] = deletions.mean() - deletions
    return centred * ((m - 1) / m)


def _too_few(summary: ReplicateSummary, resampler: Resampler) -> ReplicateSummary:
    what = "clusters" if resampler.clustered else "samples"
    reason = (
        f"{resampler.units} {what}, fewer than the {MIN_UNITS} below which a bootstrap interval "
        "is far too short"
    )
    result = replace(summary.result, interval=None, standard_error=math.nan, reason=reason)
    return ReplicateSummary(result, summary.finite, None)
