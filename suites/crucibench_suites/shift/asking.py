"""Asks a model about corrupted samples: what every cell of the suite does with a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.columns import KnownColumns
from crucibench.contracts.corruption import Changed, Corruption, CorruptionContext
from crucibench.contracts.examples import Showing
from crucibench.contracts.lists import Lists
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work

_PIECE = 1 << 22
"""Values of images that are corrupted at a time on a CPU: some 28 images of 224 pixels."""

_DEVICE_PIECE = 1 << 26


def ask_corrupted(
    corruption: Corruption, severities: Sequence[int], work: Work, context: MapContext, *,
    parameter_set: str = "", columns: KnownColumns | None = None,
) -> Columns:  # fmt: skip
    """Returns the records of one batch: a row a sample and severity, by severity.

    Beside the answers they hold what `Changed` says of each sample. Large batches of images are
    corrupted and asked about in pieces, so that memory holds few of them at a time.
    """
    # A list has no one answer to stand below a picture.
    listed = isinstance(work.samples.targets, Lists)
    showing = Showing(work, replace(context, showing=0.0) if listed else context)
    kind = context.adapter.task.definition
    places = any(field.pixels for field in kind.fields)
    parts: dict[str, list[dict[str, Any]]] = {}
    own_sizes = isinstance(work.batch.inputs, list) and hasattr(work.batch.inputs[0], "numel")
    with _inference(work.batch.inputs):
        for rows, batch in _pieces(work.batch, context.adapter):
            known = CorruptionContext(
                ids=batch.ids, draws=context.draws, columns=columns,
                load=_loader(context),
            )  # fmt: skip
            sides = tuple(batch.inputs.shape[-2:]) if places else None
            made = corruption.apply(batch.inputs, severities, known, parameter_set)
            for rank, (severity, variant) in enumerate(zip(severities, made, strict=True), start=1):
                changed = Changed.of(batch.inputs, variant)
                inputs = list(changed.inputs) if own_sizes else changed.inputs
                targets = work.samples.targets[np.array(rows)]
                if sides is not None:
                    maps = corruption.moves(sides, severity, known, parameter_set)
                    if maps is not None:
                        targets = kind.moved(targets, maps, sides, batch.stored)
                answered = _answered(context.adapter, batch.with_inputs(inputs), targets)
                point = corruption.point(severity)
                showing.add(point, changed.inputs, answered, rows=rows, rank=rank)
                parts.setdefault(point, []).append({
                    **answered, **changed.columns,
                    "id": np.array(batch.ids, dtype=object),
                    "point": np.full(len(batch), point, dtype=object),
                })  # fmt: skip
    showing.keep()
    pieces = [piece for of_point in parts.values() for piece in of_point]
    return {name: _joined([piece[name] for piece in pieces]) for name in pieces[0]}


def _joined(parts: list[Any]) -> Any:
    if not isinstance(parts[0], Lists):
        return np.concatenate(parts)
    lengths = np.concatenate([part.lengths for part in parts])
    return Lists.of(lengths, np.concatenate([part.values for part in parts]))


def _answered(adapter: Adapter, batch: Batch, targets: Any) -> dict[str, Any]:
    kind = adapter.task.definition
    answer = adapter.predict(batch, frozenset({kind.best_answer(adapter.capabilities)}))
    return dict(kind.outcome_columns(answer, targets, adapter.score_kind))


def _loader(context: MapContext) -> Callable[[Sequence[int]], Any] | None:
    load = context.load
    return None if load is None else lambda rows: load(rows).inputs


def _inference(inputs: Any) -> Any:
    """Returns torch's inference mode for tensors; other inputs need no torch."""
    if not hasattr(inputs[0] if isinstance(inputs, list) else inputs, "numel"):
        return nullcontext()
    import torch

    return torch.inference_mode()


def _pieces(batch: Batch, adapter: Adapter) -> Iterator[tuple[range, Batch]]:
    """Yields parts of a batch; images on the model's device, where they are corrupted, too.

    Images in their own sizes come one at a time, as tensors (1, C, H, W).
    """
    count = len(batch)
    if isinstance(batch.inputs, list) and hasattr(batch.inputs[0], "numel"):
        for row in range(count):
            yield range(row, row + 1), batch.take([row]).with_inputs(batch.inputs[row][None])
        return
    if not hasattr(batch.inputs, "numel"):
        yield range(count), batch
        return
    device: Any = "cpu"
    if Capability.GRADIENTS in adapter.capabilities:
        device = adapter.encode(batch.take([0])).device
    most = _PIECE if str(device) == "cpu" else _DEVICE_PIECE
    size = max(1, most // max(1, batch.inputs[0].numel()))
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        piece = batch if len(rows) == count else batch.take(rows)
        yield rows, piece.with_inputs(piece.inputs.to(device))
