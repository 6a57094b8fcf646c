"""The numbers and tables of the scenario ``groups``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.metric import metrics_named
from crucibench.contracts.statistic import (
    Form,
    Number,
    Ranking,
    RowMetric,
    TableMetric,
    TableStatistic,
    Units,
)
from crucibench.contracts.task import Task
from crucibench.metrics.calibration import calibration_error_id, calibration_error_statistic
from crucibench.metrics.catalogue import metric_info
from crucibench.metrics.catalogue_groups import GAPS, Gap
from crucibench.metrics.group_counts import generalized_entropy, theil_index
from crucibench.metrics.numbers import numbers_of
from crucibench.metrics.probabilistic import log_loss_statistic
from crucibench.metrics.scoring import cluster_codes
from crucibench.stats import holm
from crucibench.tasks.classification.view import ClassView
from crucibench_suites.bias.classes import class_tables, worst_class_numbers
from crucibench_suites.bias.gaps import GroupGap, find_gap, why_uncompared
from crucibench_suites.bias.groupings import Grouping, groupings
from crucibench_suites.bias.kinds import gaps_of_kind, measured, of_kind
from crucibench_suites.bias.measures import (
    Floats,
    Measure,
    SampleNumber,
    View,
    binary_measures,
    error_measures,
    right,
)
from crucibench_suites.bias.numbers import (
    contrast_numbers,
    gap_number,
    group_numbers,
    shown_groups,
    widest_number,
    worst_number,
)

MOST_ROWS = 2000
"""Of the table of groups."""

_COMPLEMENTS = ("fnr", "tnr", "npv")
"""One less another rate, which has a row already."""

_COST = 40
"""Of a replicate: groups of more than 2,500 samples have parts left out of them instead."""

_INEQUALITY = {"generalized-entropy-2": generalized_entropy, "theil-index": theil_index}

NUMBER_GAPS = tuple(
    Gap(f"{metric}-difference", (metric,), "difference")
    for metric in ("mae", "mean-error", "mean-prediction")
)
"""The gaps where targets are numbers."""


def read_groupings(evidence: Evidence, parameters: Mapping[str, Any]) -> tuple[Grouping, ...]:
    """Returns the groupings of the test samples."""
    groups = evidence.needs["test"].samples.groups
    return groupings(groups, parameters, evidence.options.min_group_size)


def measures_of(task: Task, view: Any) -> Sequence[Measure | SampleNumber]:
    """Returns what is measured of answers, as the task's kind reads them."""
    if task.one_number:
        return error_measures(view.predictions, view.targets)
    if not task.one_class:
        kind = task.definition
        return [
            Measure(info.id, values, among)
            if values.dtype == np.bool_
            else SampleNumber(info.id, values, among)
            for info, (values, among) in zip(measured(kind), kind.by_sample(view), strict=True)
        ]
    return binary_measures(view) or (right(view),)


def wanted_gaps(task: Task) -> Sequence[Gap]:
    """Returns the gaps that are made for a task."""
    if task.one_number:
        return NUMBER_GAPS
    if not task.one_class:
        return gaps_of_kind(task.definition)
    return [gap for gap in GAPS.values() if task.binary or set(gap.rates) <= {"top-1"}]


def gaps_of(
    evidence: Evidence, views: Sequence[View], stream: str, gaps: Sequence[Gap]
) -> list[GroupGap]:
    """Returns every gap of every grouping."""
    return [
        GroupGap(gap=gap, grouping=view.grouping, reason=why_uncompared(view.grouping))
        if view.grouping.too_many
        else find_gap(
            gap, view.grouping, view.measured, spans=view.spans, options=evidence.options,
            stream=f"{stream}/{view.grouping.title}/{gap.id}",
        )
        for view in views
        for gap in gaps
    ]  # fmt: skip


def views_and_gaps(
    evidence: Evidence, parameters: Mapping[str, Any], stream: str
) -> tuple[list[View], list[GroupGap]]:
    """Returns every grouping and its gaps, measured once for numbers, tables and audits."""

    def measure() -> tuple[list[View], list[GroupGap]]:
        cell, task = evidence.needs["test"], evidence.task
        measures = measures_of(task, task.definition.view(cell, task))
        clusters = cluster_codes(cell.samples.clusters)
        views = [
            View.of(grouping, () if grouping.too_many else measures, clusters)
            for grouping in read_groupings(evidence, parameters)
        ]
        return views, gaps_of(evidence, views, stream, wanted_gaps(task))

    return evidence.once(("views and gaps", stream, repr(parameters)), measure)


def compared_numbers(
    task: Task, views: Sequence[View], gaps: Sequence[GroupGap], *, complements: bool = True
) -> list[Number]:
    """Returns what two models are compared by: worst group, differences, metrics by group.

    A smallest ratio may rest on a rate of 0, which stays 0 however samples are drawn again.

    Args:
        task: of the data.
        views: the groupings.
        gaps: of them, as `gaps_of` orders them.
        complements: whether to leave out of intersections rates that complement others.
    """
    metric, higher = "mae" if task.one_number else "top-1", task.one_class
    if not (task.one_class or task.one_number):
        first = measured(task.definition)[0]
        metric, higher = first.id, first.direction == "higher"
    found = [worst_number(metric, views, lower_is_worse=higher)]
    found += gap_numbers(views, gaps, "difference")
    for view in views:
        if not why_uncompared(view.grouping):
            metrics = _shown_metrics(view) if complements else list(view.measures)
            found += group_numbers(view, metrics, view.grouping.compared.tolist())
    return found


def gap_numbers(views: Sequence[View], gaps: Sequence[GroupGap], kind: str) -> list[Number]:
    """Returns the gaps of a kind: the widest of the single columns, then those of each grouping."""
    of = {view.grouping.columns: view for view in views}
    chosen = [(one, of[one.grouping.columns]) for one in gaps if one.gap.kind == kind]
    found = []
    for gap in {one.gap.id: one.gap for one, _ in chosen}.values():
        if gap.combine == "worst":
            single = [
                (one, view) for one, view in chosen
                if one.gap.id == gap.id and len(view.grouping.columns) == 1
            ]  # fmt: skip
            found.append(widest_number(gap, single))
    return [*found, *(gap_number(one, view) for one, view in chosen)]


def uncompared_group_numbers(views: Sequence[View]) -> list[Number]:
    """Returns the metrics of the groups that `compared_numbers` leaves out."""
    found: list[Number] = []
    for view in views:
        compared = [] if why_uncompared(view.grouping) else view.grouping.compared.tolist()
        places = [place for place in shown_groups(view) if place not in compared]
        found += group_numbers(view, _shown_metrics(view), places)
    return found


def _shown_metrics(view: View) -> list[str]:
    """Returns the metrics that have a row for each group: of intersections, those that differ.

    A false negative rate says what the true positive rate does; of many groups, once is enough.
    """
    single = len(view.grouping.columns) == 1
    return [metric for metric in view.measures if single or metric not in _COMPLEMENTS]


def other_numbers(evidence: Evidence, parameters: Mapping[str, Any], stream: str) -> list[Number]:
    """Returns the numbers that two models are not compared by."""
    views, gaps = views_and_gaps(evidence, parameters, stream)
    found = gap_numbers(views, gaps, "ratio")
    task = evidence.task
    answers = task.definition.view(evidence.needs["test"], task)
    if task.binary:
        found += _inequality(evidence, answers)
    elif hasattr(answers, "decided"):
        found += worst_class_numbers(answers, views, evidence.options, stream)
    found += uncompared_group_numbers(views)
    if task.one_class:
        for view in views:
            found += _score_numbers(evidence, answers, view.grouping)
    if not (task.one_class or task.one_number):
        for view in views:
            found += _headline_numbers(evidence, view)
    for view in views:
        found += contrast_numbers(view)
    return found


def _inequality(evidence: Evidence, answers: ClassView) -> list[Number]:
    """Inequality of the benefits of all samples, whatever their group."""
    targets = answers.positives.astype(np.int64)
    predictions = (answers.predictions == answers.positive).astype(np.int64)
    units = Units(evidence.needs["test"].samples, "inequality")

    def form(of_counts: Callable[[Floats], Floats]) -> Form:
        of_tables = TableStatistic(
            compute=lambda tables: of_counts(tables.reshape(-1, 4)),
            undefined=lambda _: "no sample has a benefit: all are false negatives",
        )
        return TableMetric(predictions, targets, 2, of_tables)

    return [
        Number(metric=metric, make=partial(form, of_counts), units=units)
        for metric, of_counts in _INEQUALITY.items()
    ]


def _score_numbers(evidence: Evidence, answers: ClassView, grouping: Grouping) -> list[Number]:
    """What scores rank and promise in each group of a single column that is compared."""
    probabilities, ranking, confidence = answers.probabilities, answers.ranking, answers.confidence
    if len(grouping.columns) > 1 or grouping.too_many:
        return []
    if probabilities is None or ranking is None or confidence is None:
        return []
    positive = answers.positive
    error = calibration_error_id(
        "top-label" if positive is None else "positive-class", binning="equal-mass", norm="l2",
        debias=True,
    )  # fmt: skip
    promised = confidence if positive is None else probabilities[:, positive]
    came_true = answers.correct if positive is None else answers.positives
    found = []
    for place in grouping.compared:
        inside = np.flatnonzero(grouping.codes == place)
        name = grouping.names[place]
        units = Units(evidence.needs["test"].samples.take(inside), name)
        forms: dict[str, Form] = {}
        if positive is not None:
            forms["auroc"] = Ranking(ranking[inside, positive], answers.positives[inside])
        losses = log_loss_statistic(probabilities[inside], answers.targets[inside])
        forms["log-loss"] = RowMetric(losses, cost=_COST)
        errors = calibration_error_statistic(
            promised[inside], came_true[inside], binning="equal-mass", norm="l2", debias=True
        )
        forms[error] = RowMetric(errors, bias="corrected", cost=_COST)
        found += [
            Number(metric=metric, group=name, make=partial(_given, form), units=units)
            for metric, form in forms.items()
        ]
    return found


def _headline_numbers(evidence: Evidence, view: View) -> list[Number]:
    """Returns the headline of each group of a single column that is compared.

    Where it is no mean over samples, as average precision isn't, groups have it beside the means
    that are compared.
    """
    cell, task, grouping = evidence.needs["test"], evidence.task, view.grouping
    kind, found = task.definition, []
    if kind.headline in view.measures or len(grouping.columns) > 1 or grouping.too_many:
        return []
    for place in grouping.compared:
        inside = np.flatnonzero(grouping.codes == place)
        units = Units(cell.samples.take(inside), grouping.names[place])
        part = kind.view(cell, task, units.samples.ids)
        (number,) = numbers_of(metrics_named([kind.headline]), part, units=units)
        found.append(replace(number, group=grouping.names[place]))
    return found


def _given(form: Form) -> Form:
    return form


def group_tables(
    evidence: Evidence, parameters: Mapping[str, Any], stream: str
) -> dict[str, pd.DataFrame]:
    """Returns the tables: groups, gaps, and of more than two classes each against the rest."""
    views, gaps = views_and_gaps(evidence, parameters, stream)
    tables = {"groups": _sizes_table(views), "gaps": _gaps_table(gaps, evidence.task)}
    task = evidence.task
    answers = task.definition.view(evidence.needs["test"], task)
    if hasattr(answers, "decided") and not task.binary:
        tables |= class_tables(answers, views, evidence.options, stream)
    return tables


def _sizes_table(views: Sequence[View]) -> pd.DataFrame:
    """Returns how many samples each group has, and whether it is compared."""
    rows = []
    for view in views:
        grouping = view.grouping
        order = np.argsort(-grouping.sizes, kind="stable") if grouping.too_many else None
        places = range(len(grouping)) if order is None else order[:10]
        for place in places:
            why_not = grouping.why_not[place] or ("too many groups" if grouping.too_many else "")
            rows.append(
                {
                    "columns": grouping.title,
                    "group": grouping.shown(int(place)),
                    "samples": int(grouping.sizes[place]),
                    "percent": 100 * float(grouping.sizes[place] / len(grouping.codes)),
                    "compared": f"no: {why_not}" if why_not else "yes",
                }
            )
    return pd.DataFrame(rows[:MOST_ROWS])


def adjusted(gaps: Sequence[GroupGap]) -> dict[tuple[str, str], float]:
    """Returns Holm's p-values of all gaps that were tested, by columns and gap; one family."""
    tested = [one for one in gaps if not np.isnan(one.p_chance)]
    p_values = holm(np.array([one.p_chance for one in tested], dtype=np.float64))
    return {
        (one.grouping.title, one.gap.id): float(p) for one, p in zip(tested, p_values, strict=True)
    }


def _gaps_table(gaps: Sequence[GroupGap], task: Task) -> pd.DataFrame:
    """Returns the differences that were tested, with chance, noise and what could be shown."""
    other = not (task.one_class or task.one_number)
    names = {info.id: info.name for info in of_kind(task.definition)} if other else {}
    p_holm = adjusted(gaps)
    rows = []
    for one in gaps:
        if one.value is None or not one.tested:
            continue
        rows.append(
            {
                "columns": one.grouping.title,
                "gap": names.get(one.gap.id) or metric_info(one.gap.id).name,
                "value": one.value,
                "value_lower": one.lower,
                "value_upper": one.upper,
                "less_noise": round(one.less_noise, 4),
                "p_chance": round(one.p_chance, 4),
                "p_holm": round(p_holm.get((one.grouping.title, one.gap.id), np.nan), 4),
                "highest": one.highest,
                "lowest": one.lowest,
                "detectable": round(one.detectable, 3),
                "null": one.chance.method,
            }
        )
    return pd.DataFrame(rows)
