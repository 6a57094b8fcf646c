"""Numbers of fairlearn's own functions, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.statistic import Number, RowMetric
from crucibench.metrics.scoring import cluster_codes
from crucibench.stats import Interval
from crucibench.stats.resampling import generator
from crucibench.tasks.classification.view import ClassView
from crucibench.util.optional import need
from crucibench_suites.bias.fairlearn_metrics import FAIRLEARN, PREFIX, FairlearnMetric
from crucibench_suites.bias.gaps import why_uncompared
from crucibench_suites.bias.groupings import Grouping
from crucibench_suites.bias.measures import FEWEST_UNITS, Floats, Ints, spanning
from crucibench_suites.bias.scoring import read_groupings

REPLICATES = 200
"""At most: fairlearn takes milliseconds for a number."""


@dataclass(frozen=True, kw_only=True)
class GroupedAnswers:
    """Targets and predictions as fairlearn gets them, shape (n,) each."""

    targets: Floats
    predictions: Floats


def fairlearn_numbers(
    evidence: Evidence, parameters: Mapping[str, Any], stream: str
) -> list[Number]:
    """Returns every metric that is named, for each group column.

    Raises:
        InputError: if fairlearn is not installed.
    """
    need("fairlearn")
    functions = need("fairlearn.metrics")
    if not len(evidence.needs["test"].samples):
        return []
    found: list[Number] = []
    for name in parameters["metrics"]:
        answers = _answers(evidence, FAIRLEARN[name])
        for grouping in read_groupings(evidence, parameters):
            column = _Column(evidence, grouping, stream)
            found += _of_column(column, name, answers, getattr(functions, name))
    return found


def _answers(evidence: Evidence, metric: FairlearnMetric) -> GroupedAnswers | str:
    """Returns what a metric is computed of, or why it can't be."""
    task = evidence.task
    view = task.definition.view(evidence.needs["test"], task)
    if task.one_number:
        if metric.of != "values":
            return f"it is of {metric.of}, the data asks for numbers"
        return GroupedAnswers(targets=view.targets, predictions=view.predictions)
    if metric.of == "values":
        return "it is of numbers, the data asks for classes"
    return _of_classes(view, metric)


def _of_classes(answers: ClassView, metric: FairlearnMetric) -> GroupedAnswers | str:
    targets: NDArray[Any]
    predictions: NDArray[Any]
    if metric.of == "labels":
        targets, predictions = answers.targets, answers.predictions
    elif answers.positive is None:
        return f"it is of two classes, the data has {len(answers.classes)}"
    elif metric.of == "decisions":
        targets = answers.positives
        predictions = answers.predictions == answers.positive
    elif metric.of != "scores":
        raise ValueError(f"of: expected decisions, labels or scores, got {metric.of!r}")
    elif answers.probabilities is None:
        return answers.why_none
    else:
        targets = answers.positives
        predictions = answers.probabilities[:, answers.positive]
    return GroupedAnswers(
        targets=targets.astype(np.float64), predictions=predictions.astype(np.float64)
    )


class _Column(NamedTuple):
    """One group column of the data."""

    evidence: Evidence
    grouping: Grouping
    stream: str


def _of_column(
    column: _Column, name: str, answers: GroupedAnswers | str, function: Callable[..., Any]
) -> list[Number]:
    """Returns one number for all groups of a column, or one a group, as the metric is."""
    metric, grouping = FAIRLEARN[name], column.grouping
    uncompared = why_uncompared(grouping) if metric.by_groups or grouping.too_many else ""
    if isinstance(answers, str) or uncompared:
        reason = answers if isinstance(answers, str) else uncompared
        return [Number(metric=PREFIX + name, n=0, undefined=reason, group=grouping.title)]
    if not metric.by_groups:
        return [
            _number(column, name, answers, function, np.array([place]))
            for place in grouping.compared
        ]
    return [_number(column, name, answers, function, grouping.compared)]


def _number(
    column: _Column, name: str, answers: GroupedAnswers, function: Callable[..., Any], places: Ints
) -> Number:
    """Returns a number of the samples of some groups."""
    (evidence, grouping, stream), metric = column, FAIRLEARN[name]
    options = evidence.options
    group = grouping.title if metric.by_groups else grouping.names[int(places[0])]
    rows = np.flatnonzero(np.isin(grouping.codes, places))
    codes = grouping.codes[rows]
    targets, predictions = answers.targets[rows], answers.predictions[rows]

    def of_drawn(drawn: Ints) -> float:
        given, own = (targets[drawn], predictions[drawn]), codes[drawn]
        if len(np.unique(own)) < len(places) or _undefined(metric, *given, own) is not None:
            return np.nan
        if metric.by_groups:
            return float(function(*given, sensitive_features=own))
        return float(function(*given))

    def of_rows(weights: NDArray[Any]) -> Floats:
        counts = np.asarray(weights)[:, rows].astype(np.int64)
        return np.array([of_drawn(np.repeat(np.arange(len(rows)), row)) for row in counts])

    def closed(level: float) -> Interval | str:
        clusters = cluster_codes(evidence.needs["test"].samples.clusters)
        resample, how = _resampling(codes, None if clusters is None else clusters[rows])
        if resample is None:
            return how
        rng = generator(options.seed, f"{stream}/{name}/{grouping.title}/{group}")
        count = min(REPLICATES, options.replicates)
        drawn = np.array([of_drawn(resample(rng)) for _ in range(count)])
        finite = drawn[np.isfinite(drawn)]
        if len(finite) < 0.9 * count:
            return f"it is undefined in {count - len(finite)} of {count} replicates"
        tail = (1 - level) / 2
        low, high = (float(end) for end in np.quantile(finite, [tail, 1 - tail]))
        # A largest difference grows with noise, so that its replicates may all lie above 0: the
        # basic bootstrap turns them about the value, and the wider of both ends is kept.
        value = of_drawn(np.arange(len(rows)))
        low, high = min(low, 2 * value - high), max(high, 2 * value - low)
        low = max(low, 0.0) if value >= 0 and metric.of != "values" else low
        # The value is within both ends but for noise.
        low, high = min(low, value), max(high, value)
        return Interval(low, high, level, f"basic-and-percentile-bootstrap-{count}; {how}")

    undefined = "fairlearn gives no number"
    lacking = _undefined(metric, targets, predictions, codes)
    if lacking is not None:
        undefined = f"{grouping.names[lacking[0]]!r} has no {lacking[1]} samples"
    form = RowMetric(of_rows, closed=closed, closed_by_cluster=True)
    return Number(
        metric=PREFIX + name, group=group, make=lambda: form, undefined=undefined, n=len(rows)
    )


def _resampling(
    codes: Ints, clusters: Ints | None
) -> tuple[Callable[[np.random.Generator], Ints] | None, str]:
    """Returns what draws positions of samples again, and what it draws; or None, and why.

    Groups keep their sizes in samples, or in clusters; where a cluster lies in several groups, all
    clusters are drawn alike.
    """
    if clusters is None:
        inside = [np.flatnonzero(codes == place) for place in np.unique(codes)]
        return lambda rng: np.concatenate([own[rng.integers(0, len(own), len(own))]
                                           for own in inside]), "rows within groups"  # fmt: skip
    order = np.argsort(clusters, kind="stable")
    units = np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1)
    first = codes[[unit[0] for unit in units]]
    spans = spanning(codes, clusters)
    strata = [np.arange(len(units))] if spans else [
        np.flatnonzero(first == place) for place in np.unique(codes)
    ]  # fmt: skip
    if min(len(own) for own in strata) < FEWEST_UNITS:
        return None, f"fewer than {FEWEST_UNITS} clusters show too little spread"

    def draw(rng: np.random.Generator) -> Ints:
        chosen = [own[rng.integers(0, len(own), len(own))] for own in strata]
        return np.concatenate([units[place] for part in chosen for place in part])

    return draw, "clusters" if spans else "clusters within groups"


def _undefined(
    metric: FairlearnMetric, targets: Floats, predictions: Floats, codes: Ints
) -> tuple[int, str] | None:
    """Returns the first group without a denominator, and what it lacks; fairlearn says 0."""
    known = {"selected": predictions == 1, "positive": targets == 1, "negative": targets == 0}
    for what in metric.needs:
        there = known[what]
        for place in np.unique(codes):
            if not there[codes == place].any():
                return int(place), what
    return None
