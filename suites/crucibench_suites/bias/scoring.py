"""Puts the scenario's rows and tables together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence, Scored, ScoringOptions
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import value_of
from crucibench.contracts.task import Task
from crucibench.metrics.calibration import calibration_error_id, calibration_error_statistic
from crucibench.metrics.catalogue_groups import GAPS, Gap
from crucibench.metrics.group_counts import count_cells, generalized_entropy, theil_index
from crucibench.metrics.probabilistic import log_loss_statistic
from crucibench.metrics.scoring import cluster_codes
from crucibench.stats import WeightedStatistic, count_table_many, intervals_for
from crucibench.tasks.classification.view import ClassView, view_of_pass
from crucibench_suites.bias.classes import class_tables, worst_class
from crucibench_suites.bias.decisions import (
    Floats,
    Measure,
    Number,
    binary_measures,
    errors,
    right,
)
from crucibench_suites.bias.found import Found, Measured, find_gap, why_uncompared
from crucibench_suites.bias.groupings import Grouping, groupings
from crucibench_suites.bias.row_making import Number as RowNumber
from crucibench_suites.bias.row_making import undefined, with_result
from crucibench_suites.bias.rows import (
    contrast_row,
    gap_row,
    group_rows,
    renamed,
    widest_row,
    worst_row,
)
from crucibench_suites.bias.sheet import Sheet
from crucibench_suites.bias.tables import gap_table, group_table
from crucibench_suites.bias.views import View, by_codes

CONTRASTED = ("top-1", "selection-rate", "tpr", "fpr", "ppv", "mae", "mean-error")
"""Metrics whose groups are held against the rest or a reference."""

_SAID_TWICE = ("fnr", "tnr", "npv")

_COST = 40
"""Of a replicate: groups of more than 2,500 samples have parts left out of them instead."""

REGRESSION_GAPS = tuple(
    Gap(f"{metric}-difference", (metric,), "difference")
    for metric in ("mae", "mean-error", "mean-prediction")
)


def read_groupings(evidence: Evidence, parameters: Mapping[str, Any]) -> tuple[Grouping, ...]:
    """Returns the groupings of the test samples."""
    groups = evidence.needs["test"].samples.groups
    return groupings(groups, parameters, evidence.options.min_group_size)


def read_views(evidence: Evidence, parameters: Mapping[str, Any]) -> list[View]:
    """Returns every grouping, measured."""
    cell = evidence.needs["test"]
    clusters = cluster_codes(cell.samples.clusters)
    measures: Sequence[Measure | Number]
    if evidence.task.one_number:
        measures = errors(cell)
    else:
        answers = view_of_pass(cell, evidence.task)
        measures = binary_measures(answers) or (right(answers),)
    return [
        View.of(grouping, () if grouping.too_many else measures, clusters)
        for grouping in read_groupings(evidence, parameters)
    ]


def wanted_gaps(task: Task) -> Sequence[Gap]:
    """Returns the gaps that are made for a task."""
    if task.one_number:
        return REGRESSION_GAPS
    return [gap for gap in GAPS.values() if task.binary or set(gap.rates) <= {"top-1"}]


def gaps_of(
    evidence: Evidence, views: Sequence[View], stream: str, gaps: Sequence[Gap] | None = None
) -> list[Found]:
    """Returns every gap of every grouping, or some of them."""
    found = []
    for view in views:
        for gap in wanted_gaps(evidence.task) if gaps is None else gaps:
            found.append(
                Found(gap=gap, grouping=view.grouping, reason=why_uncompared(view.grouping))
                if view.grouping.too_many
                else find_gap(
                    gap, view.grouping, view.measured, spans=view.spans, options=evidence.options,
                    stream=f"{stream}/{view.grouping.title}/{gap.id}",
                )
            )  # fmt: skip
    return found


def views_and_gaps(
    evidence: Evidence, parameters: Mapping[str, Any], stream: str
) -> tuple[list[View], list[Found]]:
    """Returns every grouping and its gaps, measured once for scores and audits."""

    def measure() -> tuple[list[View], list[Found]]:
        views = read_views(evidence, parameters)
        return views, gaps_of(evidence, views, stream)

    return evidence.once(("views and gaps", stream, repr(parameters)), measure)


def shown_metrics(view: View) -> list[str]:
    """Returns the metrics that have a row for each group: of intersections, those that differ.

    A false negative rate says what the true positive rate does; of many groups, once is enough.
    """
    single = len(view.grouping.columns) == 1
    return [metric for metric in view.measures if single or metric not in _SAID_TWICE]


def score_groups(evidence: Evidence, parameters: Mapping[str, Any], stream: str) -> Scored:
    """Scores what a pass over the test role says of groups."""
    cell = evidence.needs["test"]
    if not len(cell.samples):
        return Scored([])
    options = evidence.options
    views, found = views_and_gaps(evidence, parameters, stream)
    rows = worst_rows(evidence, views)
    rows += widest_rows(views, found, options.level)
    tables: dict[str, pd.DataFrame] = {}
    if evidence.task.one_class:
        answers = view_of_pass(cell, evidence.task)
        if evidence.task.binary:
            rows += _inequality(answers, options, stream)
        else:
            rows += worst_class(answers, views, options, stream)
            tables = class_tables(answers, views, options, stream)
    rows += [gap_row(one) for one in found]
    for view in views:
        shown = [view.measured[metric] for metric in shown_metrics(view)]
        rows += group_rows(view.grouping, shown, options.level)
        rows += _score_rows(evidence, view, stream)
    for view in views:
        rows += _contrasts(view, options.level)
    return Scored(rows, {"groups": group_table(views), "gaps": gap_table(found), **tables})


def worst_rows(evidence: Evidence, views: Sequence[View]) -> list[Row]:
    """Returns the worst group's accuracy, or error, of all groups of all groupings."""
    regression = evidence.task.one_number
    metric = "mae" if regression else "top-1"
    chosen = [
        (view.grouping, view.measured[metric]) for view in views if not view.grouping.too_many
    ]
    made = worst_row(
        f"worst-group-{metric}", chosen, lower_is_worse=not regression, level=evidence.options.level
    )
    return [made]


def widest_rows(views: Sequence[View], found: Sequence[Found], level: float) -> list[Row]:
    """Returns the widest gap of the single columns, for each gap that was found."""
    rows = []
    for gap in {one.gap.id: one.gap for one in found}.values():
        single = [one for one in found if one.gap.id == gap.id and len(one.grouping.columns) == 1]
        if gap.combine == "worst":
            rows.append(widest_row(gap, single, level=level))
    return rows


def _inequality(answers: ClassView, options: ScoringOptions, stream: str) -> list[Row]:
    """Inequality of the benefits of all samples, whatever their group."""
    truth, said = answers.targets == answers.positive, answers.predictions == answers.positive
    counts = count_cells(np.zeros(len(truth), dtype=np.int64), truth, said, 1)[0]
    statistics = {"generalized-entropy-2": generalized_entropy, "theil-index": theil_index}
    stream, level = f"{stream}/inequality", options.level
    rows = []
    if answers.clusters is None:
        results = count_table_many(
            counts, statistics, level=level, replicates=options.replicates, seed=options.seed,
            stream=stream,
        )  # fmt: skip
    else:
        cells = np.eye(len(counts))[2 * truth + said]
        results = intervals_for(
            {name: _of_weights(one, cells) for name, one in statistics.items()}, len(truth),
            level=level, replicates=options.replicates, seed=options.seed, stream=stream,
            clusters=answers.clusters, bounds=dict.fromkeys(statistics, (0.0, np.inf)),
        )  # fmt: skip
    for metric, result in results.items():
        found = value_of(
            float(statistics[metric](counts)), len(truth),
            reason="no sample has a benefit: all are false negatives",
        )  # fmt: skip
        number = RowNumber(metric=metric, value=found)
        rows.append(undefined(number) if found.value is None else with_result(number, result))
    return rows


def _of_weights(statistic: Callable[[Floats], Floats], cells: Floats) -> WeightedStatistic:
    """Returns a statistic of counts (B, 4) as one of weights (B, n); cells (n, 4) of 0 and 1."""
    return lambda weights: statistic(weights @ cells)


def _score_rows(evidence: Evidence, view: View, stream: str) -> list[Row]:
    """What scores rank and promise in each group of a single column that is compared."""
    cell, grouping = evidence.needs["test"], view.grouping
    if evidence.task.one_number or len(grouping.columns) > 1 or grouping.too_many:
        return []
    answers = view_of_pass(cell, evidence.task)
    if answers.probabilities is None or answers.ranking is None or answers.confidence is None:
        return []
    binary = answers.positive is not None
    error = calibration_error_id(
        "positive-class" if binary else "top-label", binning="equal-mass", norm="l2", debias=True
    )
    rows: list[Row] = []
    for place in grouping.compared:
        inside = np.flatnonzero(grouping.codes == place)
        sheet = Sheet(
            len(inside),
            options=evidence.options,
            stream=f"{stream}/{grouping.names[place]}",
            clusters=None if view.clusters is None else view.clusters[inside],
        )
        if binary:
            sheet.ranking("auroc", answers.ranking[inside, answers.positive],
                          answers.positives[inside])  # fmt: skip
        sheet.resampled(
            "log-loss", partial(log_loss_statistic, answers.probabilities[inside],
                                answers.targets[inside]), cost=_COST,
        )  # fmt: skip
        confidence = answers.probabilities[:, answers.positive] if binary else answers.confidence
        came_true = answers.positives if binary else answers.correct
        sheet.resampled(
            error,
            partial(calibration_error_statistic, confidence[inside], came_true[inside],
                    binning="equal-mass", norm="l2", debias=True),
            bias="corrected", cost=_COST,
        )  # fmt: skip
        rows += renamed(sheet.rows(), grouping.names[place])
    return rows


def _contrasts(view: View, level: float) -> list[Row]:
    """Each compared group against the reference, or against all other samples."""
    grouping = view.grouping
    if grouping.too_many or len(grouping.compared) < 2:
        return []
    reference = None
    if grouping.reference:
        if grouping.reference not in grouping.names:
            return []
        reference = grouping.names.index(grouping.reference)
    rows = []
    for place in grouping.compared:
        if place == reference:
            continue
        for metric in CONTRASTED:
            if metric not in view.measured:
                continue
            one, own, other = view.measured[metric], int(place), reference or 0
            if reference is None:
                one, own, other = _and_rest(view, metric, own), 0, 1
            which = "rest" if reference is None else "reference"
            name = f"{metric}-minus-{which}"
            rows.append(contrast_row(name, grouping.names[place], one, own, other, level=level))
    return rows


def _and_rest(view: View, metric: str, place: int) -> Measured:
    """Returns a group, and all other samples whose group is known."""
    codes = np.where(view.grouping.known(), (view.grouping.codes != place).astype(np.int64), -1)
    return by_codes(view.measures[metric], codes, 2, view.clusters)
