"""Numbers of fairlearn's own functions, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.rows import Row
from crucibench.metrics.scoring import cluster_codes
from crucibench.stats.resampling import generator
from crucibench.tasks.classification.view import ClassView, view_of_pass
from crucibench.tasks.regression.kind import read_values
from crucibench.util.optional import need
from crucibench_suites.bias.decisions import Floats, Ints
from crucibench_suites.bias.fairlearn_names import FAIRLEARN, PREFIX, Asked
from crucibench_suites.bias.found import why_uncompared
from crucibench_suites.bias.groupings import Grouping
from crucibench_suites.bias.scoring import read_groupings
from crucibench_suites.bias.tally import FEWEST_UNITS, spanning

REPLICATES = 200
"""At most: fairlearn takes milliseconds for a number."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """Targets and predictions as fairlearn gets them, shape (n,) each."""

    truth: Floats
    said: Floats


def score_named(evidence: Evidence, parameters: Mapping[str, Any], stream: str) -> Scored:
    """Scores every metric that is named, for each group column.

    Raises:
        InputError: if fairlearn is not installed.
    """
    need("fairlearn")
    metrics = need("fairlearn.metrics")
    if not len(evidence.needs["test"].samples):
        return Scored([])
    rows: list[Row] = []
    for name in parameters["metrics"]:
        asked = FAIRLEARN[name]
        answers = _answers(evidence, asked)
        for grouping in read_groupings(evidence, parameters):
            where = f"{stream}/{name}/{grouping.title}"
            rows += _Column(evidence, grouping, where).rows(
                name, asked, answers, getattr(metrics, name)
            )
    return Scored(rows)


def _answers(evidence: Evidence, asked: Asked) -> Said | str:
    """Returns what a metric is computed of, or why it can't be."""
    cell, task = evidence.needs["test"], evidence.task
    if task.one_number:
        if asked.of != "values":
            return f"it is of {asked.of}, the data asks for numbers"
        targets = cell.samples.targets.astype(np.float64)
        return Said(truth=targets, said=read_values(cell.records, cell.samples.ids))
    if asked.of == "values":
        return "it is of numbers, the data asks for classes"
    return _of_classes(view_of_pass(cell, task), asked)


def _of_classes(answers: ClassView, asked: Asked) -> Said | str:
    truth: NDArray[Any]
    said: NDArray[Any]
    if asked.of == "labels":
        truth, said = answers.targets, answers.predictions
    elif answers.positive is None:
        return f"it is of two classes, the data has {len(answers.classes)}"
    elif asked.of == "decisions":
        truth = answers.targets == answers.positive
        said = answers.predictions == answers.positive
    elif asked.of != "scores":
        raise ValueError(f"of: expected decisions, labels or scores, got {asked.of!r}")
    elif answers.probabilities is None:
        return answers.why_none
    else:
        truth = answers.targets == answers.positive
        said = answers.probabilities[:, answers.positive]
    return Said(truth=truth.astype(np.float64), said=said.astype(np.float64))


class _Column:
    """One group column: rows of one metric."""

    def __init__(self, evidence: Evidence, grouping: Grouping, stream: str) -> None:
        self.evidence = evidence
        self.grouping = grouping
        self.stream = stream
        self.clusters = cluster_codes(evidence.needs["test"].samples.clusters)

    def rows(
        self, name: str, asked: Asked, answers: Said | str, metric: Callable[..., Any]
    ) -> list[Row]:
        """Returns one row for all groups, or one a group, as the metric is."""
        grouping = self.grouping
        uncompared = why_uncompared(grouping) if asked.by_groups or grouping.too_many else ""
        if isinstance(answers, str) or uncompared:
            reason = answers if isinstance(answers, str) else uncompared
            return [Row(metric=PREFIX + name, value=None, n=0, reason=reason, group=grouping.title)]
        if not asked.by_groups:
            return [
                self._row(name, asked, answers, np.array([place]), metric)
                for place in grouping.compared
            ]

        def with_groups(truth: Floats, said: Floats, codes: Ints) -> float:
            return float(metric(truth, said, sensitive_features=codes))

        return [self._row(name, asked, answers, grouping.compared, with_groups)]

    def _row(
        self, name: str, asked: Asked, answers: Said, places: Ints, metric: Callable[..., Any]
    ) -> Row:
        grouping, options = self.grouping, self.evidence.options
        group = grouping.title if asked.by_groups else grouping.names[int(places[0])]
        rows = np.flatnonzero(np.isin(grouping.codes, places))
        codes = grouping.codes[rows]
        truth, said = answers.truth[rows], answers.said[rows]

        def compute(drawn: Ints) -> float:
            given = (truth[drawn], said[drawn])
            if len(np.unique(codes[drawn])) < len(places):
                return np.nan
            if _undefined(asked, *given, codes[drawn]) is not None:
                return np.nan
            return float(metric(*given, codes[drawn]) if asked.by_groups else metric(*given))

        found: dict[str, Any] = {"metric": PREFIX + name, "n": len(rows), "group": group}
        lacking = _undefined(asked, truth, said, codes)
        if lacking is not None:
            reason = f"{grouping.names[lacking[0]]!r} has no {lacking[1]} samples"
            return Row(value=None, reason=reason, **found)
        value = compute(np.arange(len(rows)))
        if not np.isfinite(value):
            return Row(value=None, reason="fairlearn gives no number", **found)
        clusters = None if self.clusters is None else self.clusters[rows]
        resample, how = _resampling(codes, clusters)
        if resample is None:
            return Row(value=value, reason=how, **found)
        rng = generator(options.seed, f"{self.stream}/{group}")
        count = min(REPLICATES, options.replicates)
        drawn = np.array([compute(resample(rng)) for _ in range(count)])
        finite = drawn[np.isfinite(drawn)]
        if len(finite) < 0.9 * count:
            reason = f"it is undefined in {count - len(finite)} of {count} replicates"
            return Row(value=value, reason=reason, **found)
        tail = (1 - options.level) / 2
        low, high = (float(end) for end in np.quantile(finite, [tail, 1 - tail]))
        # A largest difference grows with noise, so that its replicates may all lie above 0: the
        # basic bootstrap turns them about the value, and the wider of both ends is kept.
        low, high = min(low, 2 * value - high), max(high, 2 * value - low)
        low = max(low, 0.0) if value >= 0 and asked.of != "values" else low
        return Row(
            value=value, lower=min(low, value), upper=max(high, value), level=options.level,
            method=f"basic-and-percentile-bootstrap-{count}; {how}", **found,
        )  # fmt: skip


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


def _undefined(asked: Asked, truth: Floats, said: Floats, codes: Ints) -> tuple[int, str] | None:
    """Returns the first group without a denominator, and what it lacks; fairlearn says 0."""
    known = {"selected": said == 1, "positive": truth == 1, "negative": truth == 0}
    for what in asked.needs:
        there = known[what]
        for place in np.unique(codes):
            if not there[codes == place].any():
                return int(place), what
    return None
