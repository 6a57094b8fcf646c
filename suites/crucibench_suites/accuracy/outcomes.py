"""The outcome view: what bias, compare and gate read of a clean pass."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import CellEvidence, OutcomeView
from crucibench.contracts.task import Task
from crucibench_suites.accuracy.answers import read_answers, read_values


def view(cell: CellEvidence, task: Task) -> OutcomeView:
    """Returns one outcome per sample, in canonical order."""
    ids = cell.samples.ids
    point = np.full(len(ids), "", dtype=object)
    if task.kind == "regression":
        values = read_values(cell.records, ids)
        return OutcomeView(ids, point, values, values, np.full(len(ids), np.nan))
    answers = read_answers(cell, task)
    score = answers.confidence
    if score is not None and answers.probabilities is not None and answers.positive is not None:
        score = answers.probabilities[:, answers.positive]
    if score is None:
        score = np.full(len(ids), np.nan)
    return OutcomeView(ids, point, answers.predictions, score, answers.correct.astype(np.float64))
