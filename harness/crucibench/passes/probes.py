"""Probes of a pass: the same samples again, in other company, under other normalisations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer, Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.lists import Lists
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.task import Modality, Task
from crucibench.util.memory import is_out_of_memory

PROBE_SAMPLES = 256
"""How many samples a probe batch holds, at most."""

_FEWEST = 16
_PROBE_BYTES = 1 << 28
_REPEATED = 64
_ALONE = 16
_IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def probe_samples(geometry: Mapping[str, Any]) -> int:
    """Returns how many samples of a canonical geometry a probe batch holds."""
    size = geometry.get("size")
    if not size:
        return PROBE_SAMPLES
    pixels = size[0] * size[1] * (geometry.get("channels") or 3)
    return max(_FEWEST, min(PROBE_SAMPLES, _PROBE_BYTES // int(4 * pixels)))


def probe_pass(work: Work, context: MapContext) -> Mapping[str, Columns]:
    """Returns the probe records of a pass.

    ``repeat``: the same batch twice, and in batches of 1 and 7; how far the answers lie apart and
    whether the label flips. ``normalisation``: predictions under other plausible normalisations.
    ``range``: the lowest and highest canonical input of each sample, for images.
    """
    probes: dict[str, Columns] = {"repeat": _repeat(work, context)}
    adapter = context.adapter
    if Capability.ANY_INPUT not in adapter.capabilities or "values" in context.outputs:
        return probes
    if adapter.task.modality is Modality.IMAGE:
        probes["range"] = _range(work)
        if not adapter.input_spec.own_sizes:  # standardising needs pixels of one shape
            probes["normalisation"] = _alternatives(work, context, _image_alternatives)
    elif adapter.task.modality is Modality.TABLE:
        alternatives = _alternatives(work, context, _table_alternatives)
        if len(alternatives["id"]):
            probes["normalisation"] = alternatives
    return probes


def answers(batch: Batch, context: MapContext) -> NDArray[np.float64]:
    """Returns a model's answers, asked in pieces that memory holds; shape (N, columns)."""
    size = context.batch_size or len(batch)
    pieces = [range(at, min(at + size, len(batch))) for at in range(0, len(batch), size)]
    parts = [batch] if len(pieces) == 1 else (batch.take(piece) for piece in pieces)
    answers = (context.adapter.predict(part, context.outputs) for part in parts)
    return np.concatenate([_numbers(context.adapter.task, answer) for answer in answers])


def _numbers(task: Task, answer: Answer) -> NDArray[np.float64]:
    """Returns the first field that an answer holds as numbers, a row a sample."""
    names = [field.name for field in task.definition.fields if field.name in answer.names]
    if isinstance(lists := answer.column(names[0]), Lists):
        return lists.summary()
    array = answer[names[0]]
    return array.reshape(len(array), -1).astype(np.float64)


def _repeat(work: Work, context: MapContext) -> Columns:
    batch = work.batch.take(range(min(_REPEATED, len(work.batch))))

    first = answers(batch, context)
    few = batch.take(range(min(_ALONE, len(batch))))
    anew = {
        "again": answers(batch, context),
        "batch=1": answers(few, replace(context, batch_size=1)),
        "batch=7": answers(batch, replace(context, batch_size=min(7, context.batch_size or 7))),
    }
    regression = "values" in context.outputs
    columns: dict[str, list[NDArray[Any]]] = {"id": [], "point": [], "apart": [], "flip": []}
    for point, again in anew.items():
        reference = first[: len(again)]
        columns["id"].append(np.array(batch.ids[: len(again)], dtype=object))
        columns["point"].append(np.full(len(again), point, dtype=object))
        columns["apart"].append(np.abs(again - reference).max(axis=1))
        flips = (
            np.zeros(len(again), dtype=bool)
            if regression
            else answer_labels(again) != answer_labels(reference)
        )
        columns["flip"].append(flips)
    scale = np.abs(first).max(axis=1)
    joined: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items()}
    joined["scale"] = np.concatenate([scale[: len(part)] for part in columns["apart"]])
    return joined


def answer_labels(answers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the labels of what `answers` returned: the first of the highest scores."""
    return answers.argmax(axis=1) if answers.shape[1] > 1 else answers[:, 0].astype(np.int64)


def _range(work: Work) -> Columns:
    images = work.batch.inputs
    return {
        "id": list(work.batch.ids),
        "point": "",
        "lowest": np.array([float(image.min()) for image in images]),
        "highest": np.array([float(image.max()) for image in images]),
    }


def _alternatives(
    work: Work,
    context: MapContext,
    make: Callable[[Any, Normalisation | None], Iterator[tuple[str, Any]]],
) -> dict[str, Any]:
    ids: list[str] = []
    points: list[str] = []
    predictions: list[NDArray[np.int64]] = []
    # One after the other: each is as large as the batch.
    others = make(work.batch.inputs, context.adapter.normalisation)
    for point, changed in chain([("declared", work.batch.inputs)], others):
        try:
            found = answers(work.batch.with_inputs(changed), context)
        except Exception as error:
            if point == "declared" or is_out_of_memory(error):
                raise
            continue  # a model may refuse what it was never meant to see
        ids += work.batch.ids
        points += [point] * len(work.batch)
        predictions.append(answer_labels(found))
    if points and points[-1] == "declared":
        return {"id": [], "point": [], "prediction": np.zeros(0, dtype=np.int64)}
    return {"id": ids, "point": points, "prediction": np.concatenate(predictions)}


def _image_alternatives(images: Any, declared: Normalisation | None) -> Iterator[tuple[str, Any]]:
    mean = images.mean(dim=(0, 2, 3), keepdim=True)
    spread = images.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    yield "pixels in [0, 255]", images * 255.0
    yield "pixels in [-1, 1]", images * 2.0 - 1.0
    yield "standardised by the data", (images - mean) / spread
    yield "inverted", 1.0 - images
    if images.shape[1] == 3:
        yield "ImageNet mean and std", normalised(images, _IMAGENET)
        yield "channels in reverse order", images.flip(1)
    if declared is not None and declared != Normalisation():
        yield "not normalised", undone(images, declared)
        yield "normalised twice", normalised(images, declared)


def _table_alternatives(frame: Any, declared: Normalisation | None) -> Iterator[tuple[str, Any]]:
    numeric = frame.select_dtypes("number")
    if not len(numeric.columns):
        return
    spread = numeric.std().replace(0.0, 1.0).fillna(1.0)
    scaled = frame.copy()
    scaled[list(numeric.columns)] = ((numeric - numeric.mean()) / spread).astype(np.float64)
    yield "columns standardised", scaled


def normalised(images: Any, normalisation: Normalisation) -> Any:
    """Returns images (N, C, H, W) as a normalisation makes them."""
    mean, std = (_channels(part, images) for part in (normalisation.mean, normalisation.std))
    return (images * normalisation.scale - mean) / std


def undone(images: Any, normalisation: Normalisation) -> Any:
    """Returns images (N, C, H, W) that a normalisation turns into the given ones."""
    # The adapter applies its normalisation to whatever it gets: its inverse leaves none in effect.
    mean, std = (_channels(part, images) for part in (normalisation.mean, normalisation.std))
    return (images * std + mean) / normalisation.scale


def _channels(values: tuple[float, ...], images: Any) -> Any:
    import torch

    return torch.tensor(values, dtype=images.dtype).reshape(1, -1, 1, 1)
