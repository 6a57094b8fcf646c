"""All detectors side by side: the OOD table, differences to the headline, and its histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence, Scored, ScoringOptions
from crucibench.contracts.rows import Row
from crucibench.stats import bootstrap_many, linearised_error, normal
from crucibench_suites.ood import numbers
from crucibench_suites.ood.detecting import in_rows
from crucibench_suites.ood.detectors import detector
from crucibench_suites.ood.intervals import Mean, row_of
from crucibench_suites.ood.mixed import Mixture
from crucibench_suites.ood.scores import Scores
from crucibench_suites.ood.scoring import undefined

BINS = 50
_POINTS = 101
_TAIL = 0.005
_COVERAGE = 0.95
_STREAM = "ood/headline"


def score_headline(evidence: Evidence, points: Sequence[str]) -> Scored:
    """Returns the rows of the headline detector at points, its histogram and its curves."""
    samples = evidence.needs["test"].samples
    scores = Scores(evidence.needs["detector"], samples)
    right = in_rows(evidence.needs["test"], scores.known_ids, "prediction")
    right = right == samples.targets[scores.known_rows]
    rows: list[Row] = []
    done: dict[tuple[str, ...], list[Row]] = {}
    for point in points:
        # Of sets of one kind alone, the mean over all is that over the kind.
        sets = tuple(scores.members(point))
        if sets not in done:
            done[sets] = _headline_rows(scores, point, right, evidence.options)
        rows += [replace(row, point=point) for row in done[sets]]
    if not len(scores.known):
        return Scored(rows)
    tables = {
        "histogram": _histogram(scores),
        "accuracy-coverage": _coverage(scores, right),
        "roc": roc_table(scores),
    }
    return Scored(rows, tables)


def score_detectors(
    evidence: Evidence, headline: str, detectors: Sequence[str], points: Sequence[str]
) -> Scored:
    """Returns what each detector is ahead of the headline's, and all side by side.

    Args:
        evidence: the detectors' cells.
        headline: the name of the one that all are compared with.
        detectors: the names of all.
        points: the means over sets.
    """
    samples = evidence.needs["test"].samples
    found = {
        name: Scores(evidence.needs[name], samples) for name in detectors if name in evidence.needs
    }
    declared = found[headline]
    rows = [
        row
        for point in points
        for name, scores in found.items()
        if name != headline
        for row in _differences(name, scores, declared, point, evidence.options)
    ]
    level = evidence.options.level
    sets = tuple(dict.fromkeys(address for scores in found.values() for address in scores.sets))
    tables = {
        "detectors": _table(found, headline, points, level, means=True),
        "by-set": _table(found, headline, sets, level, means=False),
    }
    return Scored(rows, tables)


def _headline_rows(
    scores: Scores, point: str, right: NDArray[np.bool_], options: ScoringOptions
) -> list[Row]:
    parts = scores.parts(point)
    if parts is None:
        return [undefined(metric.id, point, scores) for metric in numbers.OF_HEADLINE]
    area, flagged = (Mean.of(metric.id, parts) for metric in (numbers.AUROC, numbers.FPR_OOD))
    return [
        row_of(numbers.AUROC.id, point, area, options),
        row_of(numbers.FPR_OOD.id, point, flagged, options),
        _mixed_row(point, _mixture(scores, point, right), area, options),
    ]


def _mixture(scores: Scores, point: str, right: NDArray[np.bool_]) -> Mixture:
    sets = [(scores.sets[address], scores.units(address)) for address in scores.members(point)]
    return Mixture(scores.known, right, scores.known_units, sets)


def _mixed_row(point: str, mixture: Mixture, area: Mean, options: ScoringOptions) -> Row:
    found = bootstrap_many(
        {"mixed": lambda weights: mixture.accuracy_at(_COVERAGE, weights)}, area.count,
        level=options.level, replicates=options.replicates, seed=options.seed, stream=_STREAM,
        kind="percentile",
    )["mixed"]  # fmt: skip
    interval = found.interval
    return Row(
        metric=numbers.MIXED.id, point=point, value=found.estimate, n=area.n,
        lower=min(interval.lower, found.estimate) if interval else None,
        upper=max(interval.upper, found.estimate) if interval else None,
        level=options.level if interval else None, method=found.method,
        reason="" if interval else found.reason or "no interval",
    )  # fmt: skip


def _differences(
    name: str, scores: Scores, headline: Scores, point: str, options: ScoringOptions
) -> list[Row]:
    sides = [one.parts(point) for one in (scores, headline)]
    rows = []
    for metric, apart in numbers.APART.items():
        if sides[0] is None or sides[1] is None:
            lacking = scores if sides[0] is None else headline
            rows.append(undefined(apart.id, point, lacking, name))
        else:
            pair = Mean.of(metric, sides[0]), Mean.of(metric, sides[1])
            row = difference(apart.id, point, pair, options.level)
            rows.append(replace(row, group=name))
    return rows


def difference(metric: str, point: str, pair: tuple[Mean, Mean], level: float) -> Row:
    own, other = pair
    delta = own.value() - other.value()
    # Both rank the same samples in the same order of rows: their units are the same.
    error = linearised_error(own.influence() - other.influence())
    row = partial(Row, metric=metric, point=point, value=delta, n=own.n)
    if not error > 0:
        return row(reason="no sample tells the two apart, which is no proof of precision")
    low, high, _, _ = normal(delta, error, level, (-1.0, 1.0))
    return row(lower=low, upper=high, level=level, method="linearised-paired")


def _table(
    found: Mapping[str, Scores],
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
            parts = scores.parts(point)
            if parts is None:
                line[point] = np.nan
                continue
            row = row_of(
                numbers.AUROC.id,
                point,
                Mean.of(numbers.AUROC.id, parts),
                ScoringOptions(level=level),
            )
            line[point] = row.value
            if means:
                line |= {f"{point}_lower": row.lower, f"{point}_upper": row.upper}
        lines.append(line)
    return pd.DataFrame(lines)


def _histogram(scores: Scores) -> pd.DataFrame:
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


def roc_table(scores: Scores) -> pd.DataFrame:
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


def _coverage(scores: Scores, right: NDArray[np.bool_]) -> pd.DataFrame:
    frames = []
    for kind in ("near", "far"):
        if scores.members(kind) and len(scores.known):
            coverage, accuracy = _mixture(scores, kind, right).curve(_POINTS)
            frames.append(
                pd.DataFrame({"coverage": coverage, "accuracy": accuracy, "inputs": kind})
            )
    empty = pd.DataFrame({"coverage": [], "accuracy": [], "inputs": []})
    return pd.concat(frames, ignore_index=True) if frames else empty
