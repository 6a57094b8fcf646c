"""What was answered, sample by sample, and measured by the groups of one grouping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crucibench.metrics.gap_clusters import ClusterTotals
from crucibench.metrics.gaps import Estimates, effective_sizes, of_means, of_rates
from crucibench.metrics.group_counts import RATES
from crucibench.tasks.classification.view import ClassView
from crucibench_suites.bias.groupings import Grouping

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_UNITS = 5
"""Fewer samples or clusters than this show no spread to speak of."""


@dataclass(frozen=True)
class Measure:
    """A proportion, sample by sample.

    Attributes:
        id: the metric.
        hits: (n,) successes; never outside of `among`.
        among: (n,) the denominator; None for all samples.
        undefined: why there is no proportion of no samples.
    """

    id: str
    hits: Bools
    among: Bools | None = None
    undefined: str = "no samples"


@dataclass(frozen=True)
class SampleNumber:
    """A number of each sample whose mean is taken.

    Attributes:
        id: the metric.
        values: (n,).
        among: (n,) the samples that have one; None for all.
        undefined: why there is no mean of no samples.
    """

    id: str
    values: Floats
    among: Bools | None = None
    undefined: str = "no samples"


def right(answers: ClassView) -> Measure:
    """Returns accuracy."""
    return Measure("top-1", answers.correct)


def binary_measures(answers: ClassView) -> tuple[Measure, ...]:
    """Returns every rate of two-class decisions; none for more classes."""
    if answers.positive is None:
        return ()
    truth = answers.targets == answers.positive
    predicted = answers.predictions == answers.positive
    cells = 2 * truth.astype(np.int64) + predicted
    found = []
    for rate in RATES.values():
        hits, among = np.array(rate.hits, dtype=bool), np.array(rate.among, dtype=bool)
        mask = None if among.all() else among[cells]
        found.append(Measure(rate.id, hits[cells], mask, rate.undefined))
    return tuple(found)


class Decisions(Protocol):
    """Answers of which each class, or label, is a decision of its own."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names."""

    def decided(self, index: int) -> tuple[Bools, Bools]:
        """Returns whether it is so of each sample, and whether it is predicted, (n,) each."""


def of_class(answers: Decisions, index: int) -> dict[str, Measure]:
    """Returns the rates of a class against the rest: selection, TPR, FPR and PPV."""
    truth, predicted = answers.decided(index)
    name = answers.classes[index]
    return {
        "selection-rate": Measure("selection-rate", np.asarray(predicted)),
        "tpr": Measure(
            "tpr", np.asarray(truth & predicted), np.asarray(truth), f"no sample of {name}"
        ),
        "fpr": Measure(
            "fpr", np.asarray(~truth & predicted), np.asarray(~truth), f"samples of {name} alone"
        ),
        "ppv": Measure(
            "ppv", np.asarray(truth & predicted), np.asarray(predicted), f"no answer {name}"
        ),
    }


def error_measures(predictions: Floats, targets: NDArray[Any]) -> tuple[SampleNumber, ...]:
    """Returns the absolute error, the signed error and the prediction of each sample, (n,)."""
    off = predictions - targets
    return (
        SampleNumber("mae", np.abs(off)), SampleNumber("mean-error", off),
        SampleNumber("mean-prediction", predictions),
    )  # fmt: skip


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


def tally(measure: Measure, codes: Ints, k: int, clusters: Ints | None) -> Tally:
    """Counts a proportion by group.

    Args:
        measure: what to count.
        codes: (n,) the groups, 0 to k - 1; -1 for samples of none.
        k: how many groups there are.
        clusters: (n,) codes of samples drawn together, or None.
    """
    among = np.ones(len(codes), dtype=np.bool_) if measure.among is None else measure.among
    # Counting all four kinds of samples of a group is far faster than picking out those of one.
    kinds = np.bincount(4 * (codes + 1) + 2 * among + measure.hits, minlength=4 * (k + 1))
    misses, hits = kinds.reshape(-1, 4)[1:, 2:].T
    trials = misses + hits
    if clusters is None:
        return Tally(hits=hits, trials=trials, size=trials.astype(np.float64))
    size = np.full(k, np.nan)
    among = among & (codes >= 0)
    hit = measure.hits[among].astype(np.float64)
    found = ClusterTotals.of(clusters[among], codes[among], hit)
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


def means(number: SampleNumber, codes: Ints, k: int, clusters: Ints | None) -> Means:
    """Takes a mean by group; arguments as of `tally`."""
    among = codes >= 0 if number.among is None else number.among & (codes >= 0)
    values, errors = np.full(k, np.nan), np.full(k, np.nan)
    n, freedoms = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64)
    for place in range(k):
        inside: Bools = among & (codes == place)
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
        totals = ClusterTotals.of(clusters[among], codes[among], number.values[among])
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


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One metric over the groups of a grouping.

    Attributes:
        id: the metric.
        by_group: the numbers.
        undefined: why a group has none.
    """

    id: str
    by_group: Tally | Means
    undefined: str = "no samples"

    def defined(self, places: Ints) -> Ints:
        """Returns those of `places` that have a value."""
        return places[np.isfinite(self.by_group.values[places])]

    def n(self, places: Ints) -> int:
        """Returns the samples behind some groups' values."""
        counts = self.by_group.trials if isinstance(self.by_group, Tally) else self.by_group.n
        return int(counts[places].sum())

    def precise(self, places: Ints) -> bool:
        """Whether the values of `places` have intervals."""
        spread = self.by_group.size if isinstance(self.by_group, Tally) else self.by_group.errors
        return bool(np.isfinite(spread[places]).all())


@dataclass(frozen=True, kw_only=True)
class View:
    """One grouping of what was answered.

    Attributes:
        grouping: the groups.
        clusters: (n,) codes, or None.
        spans: whether a cluster lies in several groups.
        measures: what is measured, sample by sample.
        measured: the same by group.
    """

    grouping: Grouping
    clusters: Ints | None
    spans: bool
    measures: Mapping[str, Measure | SampleNumber]
    measured: Mapping[str, Measured]

    @classmethod
    def of(
        cls, grouping: Grouping, measures: Sequence[Measure | SampleNumber], clusters: Ints | None
    ) -> View:
        """Measures by group."""
        codes = np.where(grouping.known(), grouping.codes, -1)
        return cls(
            grouping=grouping,
            clusters=clusters,
            spans=spanning(codes, clusters),
            measures={one.id: one for one in measures},
            measured={
                one.id: by_codes(one, grouping.codes, len(grouping), clusters) for one in measures
            },
        )

    def merged(self, metric: str, sides: Ints) -> Measured:
        """Returns a measure of two sides, 0 and 1, that each group is on, or on none, -1."""
        one = self.measured[metric]
        whole = one.by_group
        if self.clusters is not None or not isinstance(whole, Tally):
            return by_codes(self.measures[metric], sides[self.grouping.codes], 2, self.clusters)
        hits, trials = (
            np.array([counts[sides == side].sum() for side in range(2)])
            for counts in (whole.hits, whole.trials)
        )
        return replace(one, by_group=Tally(hits=hits, trials=trials, size=trials.astype(float)))

    def measure(self, one: Measure | SampleNumber) -> Measured:
        """Returns another measure by group."""
        return by_codes(one, self.grouping.codes, len(self.grouping), self.clusters)


def by_codes(one: Measure | SampleNumber, codes: Ints, k: int, clusters: Ints | None) -> Measured:
    """Returns a measure by group codes."""
    if isinstance(one, Measure):
        return Measured(id=one.id, by_group=tally(one, codes, k, clusters), undefined=one.undefined)
    return Measured(
        id=one.id, by_group=means(one, codes, k, clusters), undefined=one.undefined
    )  # fmt: skip
