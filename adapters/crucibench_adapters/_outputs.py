"""What a model gives: kinds of output, what each can answer, and one column of scores as two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.lists import Lists
from crucibench.contracts.task import AnswerField, OutputError, Task
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

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


# Answers of any length a sample: what a model returns as `Lists`, in pixels of the sample.

Scale = tuple[float, float]
"""Pixels of what the model saw for each pixel of the sample, along x and along y."""


def scales_of(batch: Batch, spec: InputSpec) -> list[Scale] | None:
    """Returns how the harness resized each sample of a batch; None where it resized none.

    Raises:
        OutputError: if it cut something off: places could not be taken back.
    """
    if spec.own_sizes or spec.size is None or not batch.stored:
        return None
    height, width = spec.size
    cut = spec.crop != 1.0 or (
        spec.fit != "stretch" and any(width * one[0] != height * one[1] for one in batch.stored)
    )
    if cut:
        raise OutputError(
            "boxes can't be taken back into images that are cropped: declare fit: stretch, or "
            "sizes: own"
        )
    return [(width / wide, height / high) for high, wide in batch.stored]


def list_fields(task: Task) -> tuple[AnswerField, ...]:
    """Returns the fields of an answer that are lists; none for most tasks."""
    return tuple(field for field in task.definition.fields if field.lists)


def list_capabilities(task: Task) -> frozenset[Capability]:
    """Returns what a model of such a task can answer, about any input."""
    return frozenset({Capability.ANY_INPUT, *(Capability(one.name) for one in list_fields(task))})


def label_places(names: Any, task: Task, what: str) -> NDArray[np.int64] | None:
    """Returns the data's class of each of a model's, -1 where the data has none of its name.

    None where the model names none: its labels are then the data's indices.

    Raises:
        InputError: if a class of the data is none of the model's.
    """
    if names is None:
        return None
    own = [str(name) for name in names]
    for name in task.classes:
        if name not in own:
            raise InputError(f"{what}: {unknown('class', name, own)}")
    places = {name: at for at, name in enumerate(task.classes)}
    return np.array([places.get(name, -1) for name in own], dtype=np.int64)


def list_answer(
    found: Any, task: Task, scales: Sequence[Scale] | None, rows: int,
    places: NDArray[np.int64] | None = None,
) -> Answer:  # fmt: skip
    """Returns an answer of lists.

    Args:
        found: one dict a sample, as torchvision's detectors return them: an array (m,) or (m, k)
            for each field.
        task: whose fields are wanted.
        scales: how the adapter resized each sample; None where it resized none.
        rows: how many samples there are.
        places: as `label_places` returns them; items of classes that the data has not are left out.

    Raises:
        OutputError: if it has another form.
    """
    fields = list_fields(task)
    names = ", ".join(field.name for field in fields)
    whole = isinstance(found, Sequence) and len(found) == rows
    if not whole or not all(isinstance(one, Mapping) for one in found):
        raise OutputError(f"expected a list of {rows} dicts (one a sample) of {names}")
    missing = [field.name for field in fields if any(field.name not in one for one in found)]
    if missing:
        raise OutputError(f"expected dicts of {names}, got one without {missing[0]}")
    columns = {field.name: _column([one[field.name] for one in found], field, scales)
               for field in fields}  # fmt: skip
    return Answer(**(columns if places is None else _placed(columns, places)))


def _placed(columns: dict[str, Lists], places: NDArray[np.int64]) -> dict[str, Lists]:
    labels = columns["labels"].values.astype(np.int64)
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(places)):
        raise OutputError(f"labels: expected class indices from 0 to {len(places) - 1}")
    mine = places[labels]
    columns["labels"] = Lists(columns["labels"].offsets, mine)
    kept = mine >= 0
    return {
        name: Lists.of(np.bincount(one.rows[kept], minlength=len(one)), one.values[kept])
        for name, one in columns.items()
    }


def _column(found: list[Any], field: AnswerField, scales: Sequence[Scale] | None) -> Lists:
    arrays = [_array(one) for one in found]
    full = [array for array in arrays if array.size or array.ndim == field.dimensions]
    if len({(array.ndim, *array.shape[1:]) for array in full}) != 1:
        raise OutputError(f"{field.name}: expected {field.dimensions}-D arrays of one width")
    shape = full[0].shape[1:]  # of one without items, [] says nothing
    arrays = [array if array.size else array.reshape(0, *shape) for array in arrays]
    lists = Lists.of([len(array) for array in arrays], np.concatenate(arrays))
    if not field.pixels or scales is None:
        return lists
    factors = np.tile(np.asarray(scales, dtype=np.float64)[lists.rows], shape[0] // 2)
    return Lists(lists.offsets, (lists.values / factors).astype(lists.values.dtype))


def _array(found: Any) -> NDArray[Any]:
    if hasattr(found, "detach"):
        found = found.detach().cpu()
        return np.asarray((found.float() if found.is_floating_point() else found).numpy())
    return np.asarray(found)
