"""Probes of a pass: the same samples again, in other company, under other normalisations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.task import Modality

PROBE_SAMPLES = 256
"""How many samples a probe batch holds, at most, of other than tables."""
_ROWS = 1024
MOST_OF_REMOTE = 10
"""Changes of its inputs, undone, of which a model over a network is asked."""

_FEWEST = 16
_PROBE_BYTES = 1 << 28
_REPEATED = 64
_ALONE = 16


def probe_samples(geometry: Mapping[str, Any]) -> int:
    """Returns how many samples of a canonical geometry a probe batch holds."""
    size = geometry.get("size")
    if not size:
        return _ROWS if geometry.get("modality") == Modality.TABLE else PROBE_SAMPLES
    pixels = size[0] * size[1] * (geometry.get("channels") or 3)
    return max(_FEWEST, min(PROBE_SAMPLES, _PROBE_BYTES // int(4 * pixels)))


def probe_pass(work: Work, context: MapContext) -> Mapping[str, Columns]:
    """Returns the probe records of a pass.

    ``repeat``: the same batch twice, and in batches of 1 and 7; how far the answers lie apart and
    whether the label flips. ``range``: the lowest and highest canonical input of each sample, for
    images.
    """
    probes: dict[str, Columns] = {"repeat": _repeat(work, context)}
    adapter = context.adapter
    if Capability.ANY_INPUT not in adapter.capabilities:
        return probes
    if adapter.task.modality is Modality.IMAGE and "values" not in context.outputs:
        probes["range"] = _range(work)
    return probes


def answers(batch: Batch, context: MapContext) -> NDArray[np.float64]:
    """Returns a model's answers, asked in pieces that memory holds; shape (N, columns)."""
    size = context.batch_size or len(batch)
    pieces = [range(at, min(at + size, len(batch))) for at in range(0, len(batch), size)]
    parts = [batch] if len(pieces) == 1 else (batch.take(piece) for piece in pieces)
    answers = (context.adapter.predict(part, context.outputs) for part in parts)
    kind = context.adapter.task.definition
    return np.concatenate([kind.numbers(answer) for answer in answers])


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
