"""Measures by group: counts or means, with what clusters take from their precision."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from crucibench.metrics.gap_clusters import ClusterTotals
from crucibench.metrics.gaps import Estimates, effective_sizes, of_means, of_rates
from crucibench_suites.bias.decisions import Bools, Floats, Ints, Measure, Number

FEWEST_UNITS = 5
"""Fewer samples or clusters than this show no spread to speak of."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """A proportion of each group.

    Attributes:
        hits: shape (G,), successes.
        trials: shape (G,), the denominators.
        size: shape (G,), how many independent samples say as much as the trials: the trials
            themselves where samples are independent, nan where clusters are too few to tell.
        clusters: what each cluster adds, or None where samples are independent.
    """

    hits: Ints
    trials: Ints
    size: Floats
    clusters: ClusterTotals | None = None

    @property
    def clustered(self) -> bool:
        """Whether samples come in clusters."""
        return self.clusters is not None

    @property
    def values(self) -> Floats:
        """The proportions, nan where there are no trials, shape (G,)."""
        with np.errstate(invalid="ignore"):
            return self.hits / self.trials

    @property
    def method(self) -> str:
        """What the interval of one proportion is called."""
        return "wilson-of-effective-size" if self.clustered else "wilson"

    def estimates(self, places: Ints) -> Estimates:
        """Returns the proportions of some groups with their bounds."""
        size = self.size[places]
        found = of_rates(self.values[places] * size, size)
        return _correlated(found, self.clusters, places)

    def why_none(self, place: int, undefined: str) -> tuple[str, str]:
        """Returns why a group has no value, and why it has no interval; "" where it has."""
        if self.trials[place] == 0:
            return undefined, undefined
        if not np.isfinite(self.size[place]):
            return "", f"fewer than {FEWEST_UNITS} clusters show too little spread"
        return "", ""


def tally(measure: Measure, codes: Ints, k: int, clusters: Ints | None) -> Tally:
    """Counts a proportion by group.

    Args:
        measure: what to count.
        codes: (n,) the groups, 0 to k - 1; -1 for samples of none.
        k: how many groups there are.
        clusters: (n,) codes of samples drawn together, or None.
    """
    among = codes >= 0 if measure.among is None else measure.among & (codes >= 0)
    rows = np.flatnonzero(among)
    own, hit = codes[rows], measure.hits[rows]
    trials = np.bincount(own, minlength=k)
    hits = np.bincount(own[hit], minlength=k)
    if clusters is None:
        return Tally(hits=hits, trials=trials, size=trials.astype(np.float64))
    size = np.full(k, np.nan)
    found = ClusterTotals.of(clusters[rows], own, hit.astype(np.float64))
    for place in range(k):
        inside = found.groups == place
        count = int(inside.sum())
        if count >= FEWEST_UNITS:
            totals = found.trials[inside].astype(np.float64)
            size[place] = effective_sizes(found.totals[inside], totals, count)[1]
    return Tally(hits=hits, trials=trials, size=size, clusters=found)


@dataclass(frozen=True, kw_only=True)
class Means:
    """A mean of each group.

    Attributes:
        values: shape (G,), nan where there are no samples.
        n: shape (G,), samples.
        errors: shape (G,), standard errors; nan where there are too few samples or clusters.
        freedoms: shape (G,), degrees of freedom.
        clusters: what each cluster adds, or None where samples are independent.
    """

    values: Floats
    n: Ints
    errors: Floats
    freedoms: Ints
    clusters: ClusterTotals | None = None

    def estimates(self, places: Ints) -> Estimates:
        """Returns the means of some groups with their bounds."""
        found = of_means(self.values[places], self.errors[places], self.freedoms[places])
        return _correlated(found, self.clusters, places)


def means(number: Number, codes: Ints, k: int, clusters: Ints | None) -> Means:
    """Takes a mean by group; arguments as of `tally`."""
    values, errors = np.full(k, np.nan), np.full(k, np.nan)
    n, freedoms = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64)
    for place in range(k):
        inside: Bools = codes == place
        own = number.values[inside]
        n[place] = len(own)
        if not len(own):
            continue
        values[place] = own.mean()
        residuals = own - own.mean()
        if clusters is not None:
            # The mean is a ratio of cluster totals: the residuals of a cluster go together.
            units = np.unique(clusters[inside], return_inverse=True)[1]
            residuals = np.bincount(units, weights=residuals)
        count = len(residuals)
        freedoms[place] = max(1, count - 1)
        if count >= FEWEST_UNITS:
            scale = count / (count - 1)
            errors[place] = np.sqrt(scale * np.sum(residuals**2)) / len(own)
    errors[errors == 0.0] = np.nan
    totals = None
    if clusters is not None:
        known = codes >= 0
        totals = ClusterTotals.of(clusters[known], codes[known], number.values[known])
    return Means(values=values, n=n, errors=errors, freedoms=freedoms, clusters=totals)


def _correlated(found: Estimates, clusters: ClusterTotals | None, places: Ints) -> Estimates:
    if clusters is None or len(places) < 2:
        return found
    return replace(found, correlation=clusters.take(places).correlation(len(places)))


def spanning(codes: Ints, clusters: Ints | None) -> bool:
    """Whether a cluster has samples in several groups, which are then not independent."""
    if clusters is None:
        return False
    known = codes >= 0
    if not known.any():
        return False
    pairs = np.unique(np.stack([clusters[known], codes[known]]), axis=1)
    return bool(pairs.shape[1] > len(np.unique(clusters[known])))
