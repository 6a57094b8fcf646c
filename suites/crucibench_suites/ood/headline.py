"""The headline detector's numbers and curves, and all detectors side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.detector import Floats, Ints
from crucibench.contracts.evidence import Evidence, Scored, ScoringOptions
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Number
from crucibench.stats import bootstrap_many, linearised_error, normal
from crucibench_suites.ood import metrics
from crucibench_suites.ood.detection import in_rows
from crucibench_suites.ood.detectors import detector
from crucibench_suites.ood.scores import DetectorScores, Mean, numbers_of, scores_of
from crucibench_suites.ood.sets import OODSet, mark_perturbing, meanings, means_of

BINS = 50
_POINTS = 101
_TAIL = 0.005
_COVERAGE = 0.95
_STREAM = "ood/headline"


@dataclass(frozen=True, kw_only=True)
class Headline(Derived):
    """The numbers of the detector that was declared as headline: not found on these sets.

    Attributes:
        detector: its name.
        sets: the OOD sets.
    """

    suite: str = "ood"
    name: str = "headline"
    detector: str = "msp"
    sets: tuple[OODSet, ...] = ()

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = metrics.OF_HEADLINE
    audits: ClassVar[tuple[str, ...]] = ("easy-sets",)

    def __post_init__(self) -> None:
        mark_perturbing(self, self.sets)

    @classmethod
    def of(cls, sets: tuple[OODSet, ...], detector: str) -> Headline:
        """Returns the scenario."""
        needs = (
            Need(alias="test", cell="pass/test"),
            Need(alias="sets", cell="ood/sets"),
            Need(alias="detector", cell=f"ood/{detector}"),
        )
        return cls(
            detector=detector, sets=sets, needs=needs, points=means_of(sets),
            parameters={"detector": detector, "sets": meanings(sets)},
        )  # fmt: skip

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns AUROC and FPR, as the detector's own scenario does."""
        infos = (metrics.AUROC, metrics.FPR_OOD)
        return numbers_of(evidence, evidence.needs["detector"], self.points, infos)

    def score(self, evidence: Evidence) -> Scored:
        """Computes the accuracy where half of the inputs are OOD, the histogram and the curves."""
        samples = evidence.needs["test"].samples
        scores = scores_of(evidence.needs["detector"], samples)
        right = in_rows(evidence.needs["test"], scores.known_ids, "prediction")
        right = right == samples.targets[scores.known_rows]
        rows: list[Row] = []
        done: dict[tuple[str, ...], Row] = {}
        for point in self.points:
            # Of sets of one kind alone, the mean over all is that over the kind.
            sets = tuple(scores.members(point))
            if sets not in done:
                done[sets] = _mixed_row(scores, point, right, evidence.options)
            rows.append(replace(done[sets], point=point))
        if not len(scores.known):
            return Scored(rows)
        tables = {
            "histogram": _histogram(scores),
            "accuracy-coverage": _coverage(scores, right),
            "roc": roc_table(scores),
        }
        return Scored(rows, tables)


@dataclass(frozen=True, kw_only=True)
class Detectors(Derived):
    """All detectors side by side.

    Attributes:
        headline: the name of the one that all are compared with.
        detectors: the names of all.
        sets: the OOD sets.
    """

    suite: str = "ood"
    name: str = "detectors"
    headline: str = "msp"
    detectors: tuple[str, ...] = ()
    sets: tuple[OODSet, ...] = ()

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = metrics.OF_DETECTORS

    def __post_init__(self) -> None:
        mark_perturbing(self, self.sets)

    @classmethod
    def of(cls, sets: tuple[OODSet, ...], headline: str, detectors: tuple[str, ...]) -> Detectors:
        """Returns the scenario."""
        needs = [
            Need(alias="test", cell="pass/test"),
            *(Need(alias=name, cell=f"ood/{name}", optional=name != headline)
              for name in detectors),
        ]  # fmt: skip
        return cls(
            headline=headline, detectors=detectors, sets=sets, needs=tuple(needs),
            points=means_of(sets), parameters={"headline": headline, "sets": meanings(sets)},
        )  # fmt: skip

    def score(self, evidence: Evidence) -> Scored:
        """Computes the differences to the headline, and the table of the report."""
        samples = evidence.needs["test"].samples
        found = {
            name: scores_of(evidence.needs[name], samples)
            for name in self.detectors
            if name in evidence.needs
        }
        declared = found[self.headline]
        rows = [
            row
            for point in self.points
            for name, scores in found.items()
            if name != self.headline
            for row in _differences(name, scores, declared, point, evidence.options.level)
        ]
        level = evidence.options.level
        sets = tuple(dict.fromkeys(address for scores in found.values() for address in scores.sets))
        tables = {
            "detectors": _table(found, self.headline, self.points, level, means=True),
            "by-set": _table(found, self.headline, sets, level, means=False),
        }
        return Scored(rows, tables)


def _mixture(scores: DetectorScores, point: str, right: NDArray[np.bool_]) -> Mixture:
    sets = [(scores.sets[address], scores.units(address)) for address in scores.members(point)]
    return Mixture(scores.known, right, scores.known_units, sets)


def _mixed_row(
    scores: DetectorScores, point: str, right: NDArray[np.bool_], options: ScoringOptions
) -> Row:
    area = scores.mean(metrics.AUROC.id, scores.members(point))
    if area is None:
        return _undefined(metrics.MIXED.id, point, scores)
    mixture = _mixture(scores, point, right)
    found = bootstrap_many(
        {"mixed": lambda weights: mixture.accuracy_at(_COVERAGE, weights)}, area.count,
        clusters=None if area.clusters is None else area.clusters[: area.count],
        level=options.level, replicates=options.replicates, seed=options.seed, stream=_STREAM,
        kind="percentile",
    )["mixed"]  # fmt: skip
    interval = found.interval
    return Row(
        metric=metrics.MIXED.id, point=point, value=found.estimate, n=area.n,
        lower=min(interval.lower, found.estimate) if interval else None,
        upper=max(interval.upper, found.estimate) if interval else None,
        level=options.level if interval else None, method=found.method,
        reason="" if interval else found.reason or "no interval",
    )  # fmt: skip


def _undefined(metric: str, point: str, scores: DetectorScores, group: str = "") -> Row:
    return Row(
        metric=metric, point=point, group=group, value=None, n=len(scores.known),
        reason=scores.undefined,
    )  # fmt: skip


def _differences(
    name: str, scores: DetectorScores, headline: DetectorScores, point: str, level: float
) -> list[Row]:
    rows = []
    for metric, apart in metrics.APART.items():
        own = scores.mean(metric, scores.members(point))
        other = headline.mean(metric, headline.members(point))
        if own is None or other is None:
            rows.append(_undefined(apart.id, point, scores if own is None else headline, name))
        else:
            row = difference(apart.id, point, (own, other), level)
            rows.append(replace(row, group=name))
    return rows


def difference(metric: str, point: str, pair: tuple[Mean, Mean], level: float) -> Row:
    own, other = pair
    delta = own.value - other.value
    # Both rank the same samples in the same order of rows: their units are the same.
    error = linearised_error(own.by_cluster(own.influence - other.influence))
    row = partial(Row, metric=metric, point=point, value=delta, n=own.n)
    if not error > 0:
        return row(reason="no sample tells the two apart, which is no proof of precision")
    low, high, _, _ = normal(delta, error, level, (-1.0, 1.0))
    return row(lower=low, upper=high, level=level, method="linearised-paired")


def _table(
    found: Mapping[str, DetectorScores],
    headline: str,
    points: Sequence[str],
    level: float,
    *,
    means: bool,
) -> pd.DataFrame:
    """Returns AUROC by detector at some points; at means with intervals and settings."""
    lines = []
    for name, scores in found.items():
        entry = detector(name)
        line: dict[str, object] = {
            "detector": f"{entry.title} (headline)" if name == headline else entry.title,
        }
        if means:
            setting = f"{entry.setting} {scores.chosen:g}" if entry.setting else ""
            line["setting"] = "can't be fitted" if scores.unfit else setting
        for point in points:
            mean = scores.mean(metrics.AUROC.id, scores.members(point))
            line[point] = np.nan if mean is None else mean.value
            if means and mean is not None and (bounds := mean.interval(level)) is not None:
                line[f"{point}_lower"] = min(bounds.lower, mean.value)
                line[f"{point}_upper"] = max(bounds.upper, mean.value)
        lines.append(line)
    return pd.DataFrame(lines)


def _histogram(scores: DetectorScores) -> pd.DataFrame:
    """Returns the headline detector's scores by kind of input, as shares of each kind in bins."""
    kinds = {"in-distribution": scores.known} | {
        kind: np.concatenate([scores.sets[address] for address in scores.members(kind)])
        for kind in ("near", "far")
        if scores.members(kind)
    }
    every = np.concatenate(list(kinds.values()))
    low, high = np.quantile(every, [_TAIL, 1 - _TAIL])
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    frames = []
    for kind, values in kinds.items():
        counts, _ = np.histogram(np.clip(values, low, high), bins=edges)
        frames.append(
            pd.DataFrame(
                {
                    "score": 0.5 * (edges[1:] + edges[:-1]),
                    "share": counts / max(1, len(values)),
                    "inputs": kind,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def roc_table(scores: DetectorScores) -> pd.DataFrame:
    """Returns points of the ROC of near and far sets, with the false positive rate rising.

    At each threshold the true positive rate is the mean over sets, so that the area under a whole
    curve is the mean of the sets' areas.
    """
    cuts = np.quantile(scores.known, np.linspace(1, 0, _POINTS), method="inverted_cdf")
    # Beyond the largest score of all nothing is flagged, and from the smallest on everything is.
    cuts = np.concatenate([[np.inf], np.unique(cuts)[::-1], [-np.inf]])
    frames = []
    for kind in ("near", "far"):
        sets = [scores.sets[address] for address in scores.members(kind)]
        if sets and all(map(len, sets)):
            flagged = [(values[:, None] >= cuts).mean(axis=0) for values in (scores.known, *sets)]
            frames.append(
                pd.DataFrame(
                    {
                        "false_positive_rate": flagged[0],
                        "true_positive_rate": np.mean(flagged[1:], axis=0),
                        "inputs": kind,
                    }
                )
            )
    empty = pd.DataFrame({"false_positive_rate": [], "true_positive_rate": [], "inputs": []})
    return pd.concat(frames, ignore_index=True) if frames else empty


def _coverage(scores: DetectorScores, right: NDArray[np.bool_]) -> pd.DataFrame:
    frames = []
    for kind in ("near", "far"):
        if scores.members(kind) and len(scores.known):
            coverage, accuracy = _mixture(scores, kind, right).curve(_POINTS)
            frames.append(
                pd.DataFrame({"coverage": coverage, "accuracy": accuracy, "inputs": kind})
            )
    empty = pd.DataFrame({"coverage": [], "accuracy": [], "inputs": []})
    return pd.concat(frames, ignore_index=True) if frames else empty


@dataclass(frozen=True)
class Sorted:
    """Scores in rising order, with the units that they are of."""

    scores: Floats
    units: Ints

    @classmethod
    def of(cls, scores: Floats, units: Ints) -> Sorted:
        """Sorts scores."""
        order = np.argsort(scores, kind="stable")
        return cls(scores[order], units[order])

    def share_upto(self, thresholds: Floats, weights: Floats) -> Floats:
        """Returns the share of weights at scores up to one threshold a row, shape (B,)."""
        upto = np.cumsum(weights[:, self.units], axis=1)
        places = np.searchsorted(self.scores, thresholds, side="right")
        row = np.arange(len(weights))
        found = np.where(places > 0, upto[row, np.maximum(places, 1) - 1], 0.0)
        return np.asarray(found / upto[:, -1])


class Mixture:
    """Familiar samples and OOD sets, each half of all inputs, the sets alike."""

    def __init__(
        self,
        known: Floats,
        right: NDArray[np.bool_],
        units: Ints,
        sets: Sequence[tuple[Floats, Ints]],
    ) -> None:
        """Takes scores, higher meaning less familiar.

        Args:
            known: of familiar samples, shape (n,).
            right: whether their predictions are, shape (n,).
            units: their units, shape (n,).
            sets: scores and units of each OOD set.
        """
        order = np.argsort(known, kind="stable")
        self._right = right[order].astype(np.float64)
        self._known = Sorted(known[order], units[order])
        self._sets = [Sorted.of(*entry) for entry in sets]
        ends = np.flatnonzero(np.append(self._known.scores[1:] != self._known.scores[:-1], True))
        self._ends = ends

    def accuracy_at(self, coverage: float, weights: Floats) -> Floats:
        """Returns the accuracy of what is taken for familiar, shape (B,).

        The threshold is the lowest at which at least `coverage` of the familiar samples are; tied
        samples go together.

        Args:
            coverage: in (0, 1].
            weights: how often each unit counts, shape (B, units).
        """
        own = weights[:, self._known.units]
        upto = np.cumsum(own, axis=1)[:, self._ends]
        hits = np.cumsum(own * self._right, axis=1)
        total = upto[:, -1]
        at = (upto >= coverage * total[:, None] * (1 - 1e-12)).argmax(axis=1)
        row = np.arange(len(weights))
        thresholds = self._known.scores[self._ends[at]]
        let_in = np.mean([one.share_upto(thresholds, weights) for one in self._sets], axis=0)
        return np.asarray(hits[row, self._ends[at]] / total / (upto[row, at] / total + let_in))

    def curve(self, points: int) -> tuple[Floats, Floats]:
        """Returns coverage of all inputs and accuracy, at some shares of the familiar samples."""
        count = 1 + max(int(entry.units.max(initial=0)) for entry in (self._known, *self._sets))
        ones = np.ones((1, count))
        shares = np.linspace(1.0 / points, 1.0, points)
        accuracy = np.array([self.accuracy_at(share, ones)[0] for share in shares])
        kept = self._ends[np.searchsorted(self._ends + 1, shares * len(self._right) - 1e-9)]
        thresholds = self._known.scores[kept]
        let_in = np.mean(
            [np.searchsorted(one.scores, thresholds, side="right") / len(one.scores)
             for one in self._sets], axis=0,
        )  # fmt: skip
        return np.asarray(0.5 * ((kept + 1) / len(self._right) + let_in)), accuracy
