"""A corruption of images in one file: fewer levels of grey."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from crucibench.contracts.corruption import Corruption, CorruptionContext, KnownAnswer, Level, each


def _posterised(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    """Rounds values to a few steps; a level is their number."""
    for (steps,) in levels:
        yield (images * steps).round() / steps


def _ramp() -> Any:
    import torch

    return torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)


posterise = Corruption(
    name="posterise", family="sample", modality="image", function=_posterised,
    levels=each(8, 6, 4, 3, 2),
    known_answer=KnownAnswer(
        inputs=_ramp, measure=lambda before, after: after.unique().tolist(),
        expected=[0.0, 0.5, 1.0],
    ),
)  # fmt: skip
