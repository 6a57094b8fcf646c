"""Asks a model about shifted images: what `Corrupted` and `GridWorst` do with a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.examples import Showing
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.tensor_draws import TensorDraws
from crucibench_suites.shift.answers import answer_columns, ask
from crucibench_suites.shift.corruptions import Kernel, corrupt
from crucibench_suites.shift.points import point_of

_PIECE = 1 << 22
"""Values that are shifted at a time on a CPU: some 28 images of 224 pixels."""

_DEVICE_PIECE = 1 << 26

Variants = Callable[[torch.Tensor, TensorDraws], Iterator[tuple[str, torch.Tensor]]]
"""From images and draws to (point, shifted images), one after the other."""


def ask_corrupted(
    kernel: Kernel, severities: Sequence[int], parameter_set: str, work: Work, context: MapContext
) -> Columns:
    """Returns the records of one batch under a kernel."""

    def variants(images: torch.Tensor, draws: TensorDraws) -> Iterator[tuple[str, torch.Tensor]]:
        shifted = corrupt(kernel, images, severities, parameter_set, draws)
        for severity, changed in zip(severities, shifted, strict=True):
            yield point_of(severity), changed

    return ask_variants(variants, work, context)


def ask_variants(variants: Variants, work: Work, context: MapContext) -> Columns:
    """Returns the records of one batch: a row a sample and variant, by variant.

    Large batches are shifted and asked in pieces, so that memory holds few variants at a time.
    ``distance`` is the mean absolute distance from the clean image, ``distance_l2`` the Euclidean
    one, both of values in [0, 1].
    """
    device = _device(context.adapter, work.batch)
    count = len(work.batch)
    values = max(1, work.batch.inputs[0].numel())
    most = _PIECE if device.type == "cpu" else _DEVICE_PIECE
    size = max(1, most // values)
    showing = Showing(work, context)
    parts: dict[str, list[dict[str, Any]]] = {}
    with torch.inference_mode():
        for start in range(0, count, size):
            rows = range(start, min(start + size, count))
            batch = work.batch if len(rows) == count else work.batch.take(rows)
            images = batch.inputs.to(device)
            draws = TensorDraws(context.draws, batch.ids, device)
            for rank, (point, changed) in enumerate(variants(images, draws), start=1):
                outputs = ask(context.adapter, batch.with_inputs(changed))
                targets = work.samples.targets[rows.start : rows.stop]
                columns = answer_columns(outputs, context.adapter.score_kind, targets)
                showing.add(point, changed, columns, rows=rows, rank=rank)
                columns |= _distances(images, changed)
                columns |= {"id": list(batch.ids), "point": [point] * len(batch)}
                parts.setdefault(point, []).append(columns)
    showing.keep()
    names = next(iter(parts.values()))[0]
    return {name: _joined([part[name] for of in parts.values() for part in of]) for name in names}


def _device(adapter: Adapter, batch: Batch) -> torch.device:
    """Returns where the model wants its images; what shifts them works there too."""
    if Capability.GRADIENTS not in adapter.capabilities:
        return torch.device("cpu")
    return adapter.encode(batch.take([0])).device


def _distances(images: torch.Tensor, changed: torch.Tensor) -> dict[str, Any]:
    gap = (changed - images).flatten(1)
    mean = gap.abs().mean(dim=1, dtype=torch.float32)
    euclidean = torch.linalg.vector_norm(gap, dim=1)
    return {
        "distance": mean.cpu().numpy().astype(np.float32),
        "distance_l2": euclidean.cpu().numpy().astype(np.float32),
    }


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], list):
        return [entry for part in parts for entry in part]
    return np.concatenate(parts)
