"""A detector's scores as they were recorded, and every number of them as a statistic of units.

A generated sample and the one that it was made of are one unit, drawn together: their scores are no
independent evidence. Sets of their own bring units of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.data import Samples
from crucibench.contracts.detector import Floats, Ints
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Records
from crucibench.contracts.statistic import Interval, Number, RowMetric, Statistic, Units
from crucibench.metrics.ranking import (
    auroc_statistic,
    average_precision_statistic,
    fpr_at_tpr_statistic,
)
from crucibench.stats import hoeffding_interval, linearised_interval, share_interval
from crucibench_suites.ood import metrics
from crucibench_suites.ood.sets import KNOWN, UNFIT, members

_TPR = 0.95

_COST = 1000
"""So that comparisons of more than 100 samples use the influence function, which is DeLong's: a
bootstrap that sorts every set 2,000 times for every detector says no more."""


class SetNumber:
    """A statistic of the rows of one set, whose value and influences are computed but once."""

    def __init__(self, statistic: Statistic) -> None:
        self.statistic = statistic

    @cached_property
    def value(self) -> float:
        """The number itself; NaN where it is undefined."""
        found = self.statistic.value().value
        return np.nan if found is None else found

    @cached_property
    def influence(self) -> Floats:
        """Its derivative by each row's weight, shape (rows,)."""
        if self.statistic.influence is None:
            raise TypeError("expected a number with an influence function")
        return self.statistic.influence()


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredSet:
    """One OOD set against the familiar samples: rows of these first, then those of the set.

    Attributes:
        scores: shape (n + m,).
        strange: which rows are of the set, shape (n + m,), bool.
        units: codes of rows that are of one sample, shape (n + m,).
    """

    scores: Floats
    strange: NDArray[np.bool_]
    units: Ints

    @property
    def whole(self) -> bool:
        """Whether there are samples on both sides."""
        return bool(self.strange.any() and not self.strange.all())

    def number(self, metric: str) -> SetNumber:
        """Returns a number of the set, by the id of its metric; computed but once."""
        if metric not in self._numbers:
            self._numbers[metric] = SetNumber(STATISTICS[metric](self))
        return self._numbers[metric]

    @cached_property
    def _numbers(self) -> dict[str, SetNumber]:
        return {}


STATISTICS: Mapping[str, Callable[[ScoredSet], Statistic]] = {
    metrics.AUROC.id: lambda one: auroc_statistic(one.scores, one.strange),
    metrics.AUPR_OUT.id: lambda one: average_precision_statistic(one.scores, one.strange),
    metrics.AUPR_IN.id: lambda one: average_precision_statistic(-one.scores, ~one.strange),
    metrics.FPR_OOD.id: lambda one: fpr_at_tpr_statistic(one.scores, one.strange, tpr=_TPR),
    metrics.FPR_ID.id: lambda one: fpr_at_tpr_statistic(-one.scores, ~one.strange, tpr=_TPR),
}
"""Metric id to the statistic of the rows of one set."""


@dataclass(frozen=True)
class Mean:
    """The mean of one number over sets, as a statistic of weighted units.

    Attributes:
        metric: its id.
        sets: what it is the mean over, at least one.
        clusters: codes of units that are drawn together, shape (units,); None where all are drawn
            alone.
    """

    metric: str
    sets: Sequence[ScoredSet]
    clusters: Ints | None = None

    @cached_property
    def count(self) -> int:
        """How many units there are."""
        return 1 + max(int(one.units.max()) for one in self.sets)

    def __call__(self, weights: Floats) -> Floats:
        """Returns the number under weights (B, units), shape (B,)."""
        values = [one.number(self.metric).statistic(weights[:, one.units]) for one in self.sets]
        return np.asarray(np.mean(values, axis=0))

    @cached_property
    def value(self) -> float:
        """The number itself; NaN where it is undefined."""
        return float(np.mean([one.number(self.metric).value for one in self.sets]))

    @cached_property
    def influence(self) -> Floats:
        """Its derivative by each unit's weight, shape (units,)."""
        total = np.zeros(self.count)
        for one in self.sets:
            rows = one.number(self.metric).influence
            total += np.bincount(one.units, weights=rows, minlength=self.count)
        return total / len(self.sets)

    @cached_property
    def drawn(self) -> Floats:
        """The derivative by each cluster's weight, or by each unit's where there are none."""
        return self.by_cluster(self.influence)

    def by_cluster(self, influence: Floats) -> Floats:
        """Returns sums over the units of each cluster of what is given by unit."""
        if self.clusters is None:
            return influence
        return np.asarray(
            np.bincount(self.clusters[: self.count], weights=influence), dtype=np.float64
        )

    @property
    def n(self) -> int:
        """How many samples stand behind it: familiar ones, and those of all its sets."""
        known = int((~self.sets[0].strange).sum())
        return known + sum(int(one.strange.sum()) for one in self.sets)

    def interval(self, level: float) -> Interval | None:
        """Returns its interval; None if there is no spread to go by.

        Normally it is that of the influence functions, by units. Where these show no spread, an
        AUROC has Hoeffding's bound, a false positive rate of 0 or 1 Wilson's interval at its
        threshold, and an average precision none.
        """
        found = linearised_interval(self.value, self.drawn, level=level)
        if found is not None:
            return found
        if self.metric == metrics.AUROC.id:
            return hoeffding_interval(self.value, self.independent_pairs(), level)
        rate = self.metric in {metrics.FPR_OOD.id, metrics.FPR_ID.id}
        if not rate or self.value not in {0.0, 1.0}:
            return None
        of_known = self.metric == metrics.FPR_OOD.id
        trials = min(
            len(self._drawn_units(one, ~one.strange if of_known else one.strange))
            for one in self.sets
        )
        held = share_interval(round(self.value * trials), trials, level)
        return held._replace(method=f"{held.method}; the threshold held fixed")

    def independent_pairs(self) -> int:
        """Returns how many pairs of a familiar sample and one of a set share no unit.

        Where a set is made of the familiar samples, it is half of them.
        """
        pairs = []
        for one in self.sets:
            known, strange = (self._drawn_units(one, rows) for rows in (~one.strange, one.strange))
            most = min(len(known), len(strange))
            pairs.append(most // 2 if len(np.intersect1d(known, strange)) else most)
        return max(1, min(pairs))

    def _drawn_units(self, one: ScoredSet, rows: NDArray[np.bool_]) -> Ints:
        units = one.units[rows]
        return np.unique(units if self.clusters is None else self.clusters[units])


class DetectorScores:
    """All scores of one detector.

    Attributes:
        known_ids: of the familiar samples, shape (n,).
        known: their scores.
        sets: scores of each OOD set by address.
        chosen: the value of the detector's setting; NaN where it has none.
        unfit: why the detector could not be fitted, so that there is no score; else "".
        samples: the sample table of the test role.
    """

    def __init__(self, cell: CellEvidence, samples: Samples) -> None:
        """Takes a detector's cell and the sample table of the test role."""
        records = cell.records
        ids, points = records.ids, records.array("point")
        scores = records.array("score")
        rows = {point: np.flatnonzero(points == point) for point in pd.unique(points)}
        self.unfit = str(records.array("reason")[0]) if rows.pop(UNFIT, None) is not None else ""
        known = rows.pop(KNOWN, np.array([], dtype=np.int64))
        self.known_ids, self.known = ids[known], scores[known]
        self.sets: Mapping[str, Floats] = {point: scores[at] for point, at in rows.items()}
        chosen = records.array("value")
        self.chosen = float(chosen[0]) if len(chosen) else np.nan
        self._ids = {point: ids[at] for point, at in rows.items()}
        self.samples = samples
        self._scored: dict[str, ScoredSet] = {}

    @cached_property
    def known_rows(self) -> Ints:
        """The rows of the familiar samples in the sample table, shape (n,)."""
        return _places(self.samples.ids, self.known_ids)

    @cached_property
    def known_units(self) -> Ints:
        """Codes of the familiar samples, shape (n,), from 0 on."""
        codes, _ = pd.factorize(self.known_ids, sort=True)
        return np.asarray(codes, dtype=np.int64)

    @cached_property
    def _rows(self) -> dict[str, Ints]:
        """The row among the familiar samples of each of a set's, -1 for one that is none."""
        return {name: _places(self.known_ids, ids) for name, ids in self._ids.items()}

    def units(self, address: str) -> Ints:
        """Returns codes of the rows of a set: those of the samples that they were made of.

        Samples of a set of its own are units of their own, counted on from set to set.
        """
        rows = self._rows[address]
        before = list(self.sets)[: list(self.sets).index(address)]
        first = len(self.known) + sum(int((self._rows[other] < 0).sum()) for other in before)
        fresh = first + np.cumsum(rows < 0) - 1
        return np.asarray(np.where(rows >= 0, self.known_units[rows], fresh), dtype=np.int64)

    @cached_property
    def unit_samples(self) -> Samples:
        """What the units are, a row a unit."""
        order = np.argsort(self.known_units)
        names = [self.known_ids[order]]
        for name, rows in self._rows.items():
            own = [f"{name}/{one}" for one in self._ids[name][rows < 0]]
            names.append(np.array(own, dtype=object))
        ids = np.concatenate(names)
        clusters = self.samples.clusters
        if clusters is not None:
            clusters = np.concatenate([clusters[self.known_rows[order]], *names[1:]])
        nothing = pd.DataFrame(index=range(len(ids)))
        return Samples(ids, np.zeros(len(ids), dtype=np.int64), nothing, clusters)

    @cached_property
    def clusters(self) -> Ints | None:
        """Codes of the units that are drawn together, shape (units,); None where none are."""
        names = self.unit_samples.clusters
        return None if names is None else np.asarray(pd.factorize(names, sort=True)[0])

    def scored(self, address: str) -> ScoredSet:
        """Returns a set against the familiar samples."""
        if address not in self._scored:
            strange = self.sets[address]
            self._scored[address] = ScoredSet(
                scores=np.concatenate([self.known, strange]),
                strange=np.arange(len(self.known) + len(strange)) >= len(self.known),
                units=np.concatenate([self.known_units, self.units(address)]),
            )
        return self._scored[address]

    def members(self, point: str) -> list[str]:
        """Returns the sets that a point is the mean of, or the one that it is."""
        return [point] if point in self.sets else members(point, self.sets)

    def mean(self, metric: str, addresses: Iterable[str]) -> Mean | None:
        """Returns a number's mean over sets; None if there is none, or a side has no sample."""
        sets = [self.scored(address) for address in addresses]
        if not sets or not all(one.whole for one in sets):
            return None
        return Mean(metric, sets, self.clusters)

    @property
    def undefined(self) -> str:
        """Why a number has no value where there is no mean."""
        return self.unfit or "a set has no sample"


_READ: WeakKeyDictionary[Records, DetectorScores] = WeakKeyDictionary()


def scores_of(cell: CellEvidence, samples: Samples) -> DetectorScores:
    """Returns a detector's scores; numbers, audits and comparisons share what they make of them.

    Args:
        cell: the detector's.
        samples: the sample table of the test role.
    """
    found = _READ.get(cell.records)
    if found is None or found.samples is not samples:
        found = _READ[cell.records] = DetectorScores(cell, samples)
    return found


def numbers_of(
    evidence: Evidence, cell: CellEvidence, points: Sequence[str], infos: Sequence[MetricInfo]
) -> list[Number]:
    """Returns the numbers of a detector at some points.

    Args:
        evidence: whose needs hold the pass over the test role.
        cell: the detector's.
        points: where it is read.
        infos: the metrics wanted, of those in `STATISTICS`.
    """
    samples = evidence.needs["test"].samples
    scores = scores_of(cell, samples)
    # Where all units are test samples, numbers go by the rows of these; else by a table of units.
    own = len(scores.unit_samples) > len(scores.known)
    units = Units(scores.unit_samples, "units") if own else None
    places = np.empty(len(scores.known), dtype=np.int64)
    places[scores.known_units] = scores.known_rows
    n = len(scores.unit_samples) if own else len(samples)
    found = []
    for point in points:
        for info in infos:
            mean = scores.mean(info.id, scores.members(point))
            if mean is None:
                found.append(
                    Number(
                        metric=info.id, point=point, undefined=scores.undefined,
                        n=len(scores.known),
                    )
                )  # fmt: skip
                continue
            form = _form(mean, np.arange(n) if own else places, n)
            lacking = (
                "" if form.closed else "no sample is ranked otherwise: there is no spread to go by"
            )
            found.append(
                Number(
                    metric=info.id, point=point, make=partial(_same, form), n=mean.n,
                    undefined="a side has no sample", exact=lacking, units=units,
                )
            )  # fmt: skip
    return found


def _same(form: RowMetric) -> RowMetric:
    return form


def _form(mean: Mean, places: Ints, n: int) -> RowMetric:
    """Returns a mean as a function of weights of n samples, its units' being at some places."""
    at = places[: mean.count]

    def influence() -> Floats:
        whole = np.zeros(n)
        whole[at] = mean.influence
        return whole

    def closed(level: float) -> Interval:
        found = mean.interval(level)
        if found is None:
            raise ValueError(f"{mean.metric}: expected a spread, got none")
        return found

    # Whether there is a spread does not depend on the level.
    spread = not np.isnan(mean.value) and mean.interval(0.95) is not None
    return RowMetric(
        lambda weights: mean(np.ascontiguousarray(weights[:, at])), influence,
        cost=_COST * len(mean.sets), closed=closed if spread else None, closed_by_cluster=True,
    )  # fmt: skip


def _places(index: NDArray[np.object_], ids: NDArray[np.object_]) -> Ints:
    places = pd.Index(index, dtype=object).get_indexer(pd.Index(ids, dtype=object))
    return np.asarray(places, dtype=np.int64)
