"""One entry for intervals of weighted statistics: the bootstrap, or the jackknife at large n."""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from crucibench.stats.bootstrap import REPLICATES, bootstrap_many
from crucibench.stats.jackknife import block_jackknife_many
from crucibench.stats.replicates import IntervalKind
from crucibench.stats.results import BootstrapResult
from crucibench.stats.weighted import WeightedStatistic

BOOTSTRAP_UP_TO = 100_000
"""Largest n that is bootstrapped. Beyond it the sampling law of a smooth statistic is normal for
all practical purposes, and 2,000 passes over the samples would only cost time."""


def intervals_for(
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
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, BootstrapResult]:
    """Return intervals of several statistics of the same samples by the method that fits n.

    Args:
        statistics: Name to statistic, from (B, n) weights to (B,) values.
        n: Number of samples: up to 100,000 `bootstrap_many`, beyond `block_jackknife_many`.
        level: Confidence level, in (0, 1).
        replicates: Number of bootstrap samples.
        seed: Any integer.
        stream: Name of the draw.
        clusters: (n,) codes of samples that are drawn together.
        strata: (n,) codes within which is drawn.
        kind: Kind of bootstrap interval.
        bounds: Name to smallest and largest possible value. Only the jackknife's intervals need
            them: those of the bootstrap stay within what the statistic can be.

    Returns:
        Name to result; the method says which it was.

    Raises:
        ValueError: An argument out of range, or a statistic that returns another shape than (B,).
    """
    if n <= BOOTSTRAP_UP_TO:
        return bootstrap_many(
            statistics,
            n,
            level=level,
            replicates=replicates,
            seed=seed,
            stream=stream,
            clusters=clusters,
            strata=strata,
            kind=kind,
        )
    return block_jackknife_many(
        statistics,
        n,
        level=level,
        seed=seed,
        stream=stream,
        clusters=clusters,
        strata=strata,
        bounds=bounds,
    )
