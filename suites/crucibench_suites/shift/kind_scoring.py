"""Numbers and tables where targets are neither classes nor numbers: by the kind's own metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import CellEvidence, Evidence, OutcomeView
from crucibench.contracts.lists import from_arrow
from crucibench.contracts.metric import Metric, MetricInfo, metrics_named
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.statistic import Number, RowMetric, Share, Units
from crucibench.metrics.forms import as_rows
from crucibench.metrics.numbers import numbers_of
from crucibench.metrics.scoring import rows_of
from crucibench.metrics.statistic import SharedParts
from crucibench.tasks.classification.view import Floats
from crucibench_suites.shift import metrics
from crucibench_suites.shift.names import severity_of
from crucibench_suites.shift.numbers import lost, mean_of, number, without

OfWeights = Callable[[Floats], Floats]
"""From weights of samples (b, n) to values (b,)."""


def kind_views(cell: CellEvidence, evidence: Evidence) -> dict[str, Any]:
    """Reads a cell of shifted samples: point to the view of the task's kind."""
    found = {}
    for point in cell.records.points:
        table = cell.records.at(point).aligned(cell.samples.ids).table
        columns = {name: from_arrow(table.column(name)) for name in table.column_names}
        found[point] = evidence.task.definition.view_of_outcomes(columns, cell, evidence.task)
    return found


def kind_numbers(evidence: Evidence) -> list[Number]:
    """Returns the kind's numbers at every severity, what is lost, and the mean of the headline."""
    kind, clean, metric = evidence.task.definition, _clean(evidence), _headline(evidence)
    views, infos = kind_views(evidence.own, evidence), metrics.of_headline(kind)
    chosen = metrics_named(kind.perturbed_metrics or (kind.headline,))
    every = list(views.values())
    found = [_number(infos["mean"], metric, every, _mean(metric, every))]
    for point, view in views.items():
        found += [*numbers_of(chosen, view, point=point), _lost(metric, clean, view, point, infos)]
        changed = kind.changed(clean, view)
        if changed is not None:
            found.append(number(metrics.CHANGED, Share(changed), point))
    return found


def kind_curve(evidence: Evidence, scenario: Scenario, rows: Sequence[Row]) -> pd.DataFrame:
    """Returns the headline's value by severity, 0 being the clean samples."""
    metric, units = _headline(evidence), Units(evidence.own.samples, "clean")
    first = rows_of(numbers_of([metric], _clean(evidence), units=units), scenario, evidence)
    shifted = [row for row in rows if row.metric == metric.info.id]
    return pd.DataFrame(
        [
            {"severity": severity_of(row.point) if row.point else 0, "value": row.value,
             "lower": row.lower, "upper": row.upper}
            for row in (*first, *shifted)
        ]
    )  # fmt: skip


def kind_outcomes(evidence: Evidence) -> OutcomeView:
    """Returns an outcome per point and sample, points in order, samples in canonical order."""
    kind, views = evidence.task.definition, kind_views(evidence.own, evidence)
    parts = [kind.outcomes(view) for view in views.values()]
    return OutcomeView(
        np.concatenate([one.ids for one in parts]),
        np.repeat(np.array(list(views), dtype=object), len(evidence.own.samples)),
        *(np.concatenate([getattr(one, name) for one in parts])
          for name in ("prediction", "score", "correct")),
    )  # fmt: skip


def kind_summary_numbers(evidence: Evidence, cells: Mapping[str, CellEvidence]) -> list[Number]:
    """Returns the mean over corruptions, what is lost, and the worst corruption."""
    kind, clean, metric = evidence.task.definition, _clean(evidence), _headline(evidence)
    infos = metrics.of_headline(kind)
    views = [list(kind_views(cell, evidence).values()) for cell in cells.values()]
    every = [clean, *(view for of_one in views for view in of_one)]
    of_clean, parts = as_rows(metric.form(clean)), [_mean(metric, of_one) for of_one in views]
    means = SharedParts(lambda weights: np.stack([part(weights) for part in parts]))
    at = means(np.ones((1, len(evidence.own.samples))))[:, 0]
    high = metric.info.direction == "lower"
    worst = list(cells)[int(np.argmax(at) if high else np.argmin(at))]
    pick = np.max if high else np.min

    def average(weights: Floats) -> Floats:
        return np.asarray(means(weights).mean(axis=0))

    numbers = [
        _number(infos["corrupted"], metric, every, average),
        _number(infos["lost"], metric, every, _less(metric, of_clean, average)),
        _number(
            infos["worst"], metric, every, lambda weights: np.asarray(pick(means(weights), axis=0)),
            note=f"it is {worst}",
        ),
    ]  # fmt: skip
    changes = [kind.changed(clean, view) for view in every[1:]]
    known = [one for one in changes if one is not None]
    return (
        [*numbers, number(metrics.CHANGED, mean_of(np.mean(known, axis=0)))] if known else numbers
    )


def kind_summary_table(
    evidence: Evidence, cells: Mapping[str, CellEvidence], scenario: Scenario
) -> pd.DataFrame:
    """Returns a line a corruption: the headline's mean over severities."""
    metric, units = _headline(evidence), Units(evidence.own.samples, "by-corruption")
    info = metrics.of_headline(evidence.task.definition)["mean"]
    numbers = []
    for name, cell in cells.items():
        views = list(kind_views(cell, evidence).values())
        numbers.append(_number(info, metric, views, _mean(metric, views), name, units=units))
    rows = rows_of(numbers, scenario, evidence)
    return pd.DataFrame(
        [
            {"corruption": row.point, "family": scenario.parameters["corruptions"][row.point],
             "value": row.value, "lower": row.lower, "upper": row.upper}
            for row in rows
        ]
    )  # fmt: skip


def _clean(evidence: Evidence) -> Any:
    ids = evidence.own.samples.ids
    return evidence.task.definition.view(evidence.needs["clean"], evidence.task, ids)


def _headline(evidence: Evidence) -> Metric:
    return metrics_named([evidence.task.definition.headline])[0]


def _mean(metric: Metric, views: Iterable[Any]) -> OfWeights:
    """Returns the mean of a metric over views of the same samples."""
    parts = [as_rows(metric.form(view)) for view in views]
    return lambda weights: np.asarray(np.mean([part(weights) for part in parts], axis=0))


def _less(metric: Metric, clean: OfWeights, shifted: OfWeights) -> OfWeights:
    """Returns by how much a metric is worse."""
    sign = -1.0 if metric.info.direction == "lower" else 1.0
    return lambda weights: sign * (clean(weights) - shifted(weights))


def _lost(
    metric: Metric, clean: Any, view: Any, point: str, infos: Mapping[str, MetricInfo]
) -> Number:
    before, after = metric.form(clean), metric.form(view)
    if isinstance(before, Share) and isinstance(after, Share) and before.among is after.among:
        return number(infos["lost"], lost(before.hits, after.hits), point)
    worse = _less(metric, as_rows(before), as_rows(after))
    return _number(infos["lost"], metric, [clean, view], worse, point)


def _number(
    info: MetricInfo, metric: Metric, views: Sequence[Any], of_rows: OfWeights, point: str = "",
    *, note: str = "", units: Units | None = None,
) -> Number:  # fmt: skip
    """Returns a number made of a metric of several views, or why one of them has none."""
    if reason := next(filter(None, map(metric.applies, views)), ""):
        return without(info, reason, point, units)
    form = metric.form(views[0])
    bias, cost = (form.bias, form.cost) if isinstance(form, RowMetric) else ("none", 1)
    made = RowMetric(of_rows, bias=bias, cost=cost * len(views))
    return number(info, made, point, note=note, units=units)
