"""What a model answered to clean and to shifted samples, in the same form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.task import Task
from crucibench.tasks.classification.view import ClassView


def clean_answers(cell: CellEvidence, ids: NDArray[np.object_], task: Task) -> ClassView:
    """Reads a plain pass over a role that holds the samples `ids`, in their order.

    By what records of shifted samples keep, so that both are decided alike, row by row, also where
    a model's scores are no probabilities for some samples.
    """
    samples, records = cell.samples.within(ids), cell.records.aligned(ids)
    answer = (
        Answer(scores=records.array("scores"))
        if "scores" in records
        else Answer(labels=records.array("prediction"))
    )
    kind = task.definition
    columns = kind.outcome_columns(answer, samples.targets, cell.model.score_kind)
    view: ClassView = kind.view_of_outcomes(columns, replace(cell, samples=samples), task)
    return view


def shifted_answers(cell: CellEvidence, task: Task) -> dict[str, ClassView]:
    """Reads a cell of shifted samples: point to answers, rows as the cell's samples."""
    found: dict[str, ClassView] = {}
    for point in cell.records.points:
        records = cell.records.at(point).aligned(cell.samples.ids)
        columns = {name: records.array(name) for name in ("prediction", "score", "loss")}
        found[point] = task.definition.view_of_outcomes(columns, cell, task)
    return found
