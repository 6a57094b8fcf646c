"""The outcome view: what bias, compare and gate read of shifted samples."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Evidence, OutcomeView
from crucibench_suites.shift.answers import shifted_answers


def view(evidence: Evidence) -> OutcomeView:
    """Returns an outcome per point and sample, points in order, samples in canonical order."""
    found = shifted_answers(evidence.own, evidence.task)
    ids = evidence.own.samples.ids
    answers = list(found.values())
    if not answers:
        empty = np.zeros(0)
        none = np.zeros(0, dtype=object)
        return OutcomeView(none, none.copy(), empty.astype(np.int64), empty, empty.copy())
    return OutcomeView(
        ids=np.tile(ids, len(found)),
        point=np.repeat(np.array(list(found), dtype=object), len(ids)),
        prediction=np.concatenate([entry.predictions for entry in answers]),
        score=np.concatenate([entry.score for entry in answers]),
        correct=np.concatenate([entry.correct for entry in answers]).astype(np.float64),
    )
