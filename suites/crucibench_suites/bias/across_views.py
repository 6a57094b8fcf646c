"""The outcome view of another suite's scenario, measured by group at each of its points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, OutcomeView
from crucibench.contracts.outcomes import read_outcomes
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.task import Task
from crucibench.metrics.catalogue_across import RISES
from crucibench.metrics.catalogue_groups import Gap
from crucibench.metrics.scoring import cluster_codes
from crucibench.tasks.classification.view import ClassView, view_of_pass
from crucibench.tasks.regression.kind import read_values
from crucibench_suites.bias.comparing import comparables_of_views
from crucibench_suites.bias.config import CLEAN
from crucibench_suites.bias.decisions import (
    Ints,
    Measure,
    Number,
    binary_measures,
    errors_of,
    right,
)
from crucibench_suites.bias.groupings import groupings
from crucibench_suites.bias.scoring import REGRESSION_GAPS, wanted_gaps
from crucibench_suites.bias.views import View

_MEASURED = ("top-1", "selection-rate", "tpr", "fpr", "ppv", "mae", "mean-error", "mean-prediction")

Views = dict[str, list[View]]
"""Point to the groupings of what was answered there; `CLEAN` comes first."""


def gaps_across(task: Task) -> Sequence[Gap]:
    """Returns the gaps that are made at each point."""
    if task.one_number:
        return REGRESSION_GAPS
    return [gap for gap in wanted_gaps(task) if gap.id in RISES]


def read_across(evidence: Evidence, source: Scenario, parameters: Mapping[str, Any]) -> Views:
    """Reads the answers to the samples as they are and at each point of the source.

    Raises:
        ValueError: if the source has not one outcome of each sample at a point.
    """
    samples, clean = evidence.own.samples, evidence.needs[CLEAN]
    measured: dict[str, Sequence[Measure | Number]] = {}
    view = read_outcomes(source, evidence)
    if evidence.task.one_number:
        measured[CLEAN] = errors_of(read_values(clean.records, samples.ids), samples.targets)
        for point, rows in _rows(view, samples.ids).items():
            values = view.prediction[rows].astype(np.float64)
            measured[point] = errors_of(values, samples.targets)
    else:
        own = view_of_pass(replace(clean, samples=samples), evidence.task)
        measured[CLEAN] = binary_measures(own) or (right(own),)
        for point, rows in _rows(view, samples.ids).items():
            measured[point] = _measures(own, view, rows)
    groups = groupings(samples.groups, parameters, evidence.options.min_group_size)
    clusters = cluster_codes(samples.clusters)
    return {
        point: [
            View.of(
                grouping,
                () if grouping.too_many else [one for one in found if one.id in _MEASURED],
                clusters,
            )
            for grouping in groups
        ]
        for point, found in measured.items()
    }


def _measures(own: ClassView, view: OutcomeView, rows: Ints) -> Sequence[Measure | Number]:
    """Returns the measures of one point; what is right is as the source says."""
    there = ClassView(
        ids=own.ids, targets=own.targets, predictions=view.prediction[rows].astype(np.int64),
        classes=own.classes, positive=own.positive,
    )  # fmt: skip
    correct = Measure("top-1", np.asarray(view.correct[rows] == 1.0))
    return (correct, *(one for one in binary_measures(there) if one.id != correct.id))


def _rows(view: OutcomeView, ids: NDArray[np.object_]) -> dict[str, Ints]:
    """Returns the rows of each point, in the order of the samples."""
    found = {}
    for point in dict.fromkeys(view.point.tolist()):
        here = np.flatnonzero(view.point == point)
        index = pd.Index(view.ids[here])
        places = index.get_indexer(pd.Index(ids)) if index.is_unique else np.array([-1])
        if (places < 0).any():
            raise ValueError(f"point {point!r}: expected one outcome of each of {len(ids)} samples")
        found[str(point)] = here[places]
    return found


def comparables_across(
    evidence: Evidence, source: Scenario, parameters: Mapping[str, Any]
) -> list[Comparable]:
    """Returns rates by group, gaps and worst groups at each point, as statistics of samples."""
    if not len(evidence.own.samples):
        return []
    gaps = gaps_across(evidence.task)
    return [
        replace(one, point=point)
        for point, views in read_across(evidence, source, parameters).items()
        for one in comparables_of_views(evidence, views, gaps)
    ]
