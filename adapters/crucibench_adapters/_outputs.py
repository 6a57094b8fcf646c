"""What a model gives: kinds of output, what each can answer, and one column of scores as two."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.task import Task

KINDS = ("probabilities", "logits", "labels", "values")


def capabilities_of(kind: str) -> frozenset[Capability]:
    """Returns what a model can answer, about any input, whose output is of one of `KINDS`."""
    if kind == "values":
        return frozenset({Capability.VALUES, Capability.ANY_INPUT})
    found = {Capability.LABELS, Capability.ANY_INPUT}
    if kind != "labels":
        found |= {Capability.SCORES}
    if kind == "logits":
        found |= {Capability.LOGITS}
    return frozenset(found)


def two_columns(scores: NDArray[Any], kind: str, task: Task) -> NDArray[Any]:
    """Returns the scores of a binary model's one column, (N,) or (N, 1), as (N, 2).

    The column speaks for the second class: a logit z becomes [0, z], a probability p [1 - p, p].
    Other scores are returned as they are.
    """
    if not task.binary or (scores.ndim != 1 and scores.shape[1:] != (1,)):
        return scores
    column = scores.ravel()
    other = np.zeros_like(column) if kind == "logits" else 1 - column
    return np.stack([other, column], axis=1)
