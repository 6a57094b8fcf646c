"""A few made-up samples of a data set's form, to see what a model can answer."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality

_ROWS = 4


def made_up(card: DataCard, spec: InputSpec) -> Batch | None:
    """Returns a batch in the form of `card` and `spec`, or None where the form is not known."""
    inputs: Any = None
    if card.task.modality is Modality.IMAGE:
        inputs = _images(card, spec)
    elif card.task.modality is Modality.TABLE:
        inputs = _table(card)
    elif spec.columns == 1:
        inputs = ["some words", "other words, and more of them", "1", "?"]
    if inputs is None:
        return None
    return Batch(tuple(f"probe-{row}" for row in range(_ROWS)), inputs)


def _images(card: DataCard, spec: InputSpec) -> Any:
    import torch

    numbers = [int(part) for part in re.findall(r"\d+", card.features.get("image", ""))]
    channels, *size = numbers[-3:] if len(numbers) >= 3 else (None, None, None)
    channels = spec.channels or channels
    height, width = spec.size or size
    if not (channels and height and width):
        return None
    generator = torch.Generator().manual_seed(0)
    return torch.rand((_ROWS, channels, height, width), generator=generator)


def _table(card: DataCard) -> Any:
    import pandas as pd

    draws = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for name, kind in card.features.items():
        if kind.startswith("bool"):
            columns[name] = draws.random(_ROWS) < 0.5
        elif kind.startswith(("int", "uint")):
            columns[name] = np.arange(_ROWS, dtype=kind)
        elif kind.startswith(("float", "double")):
            columns[name] = draws.random(_ROWS)
        else:
            return None  # which strings or dates a model knows can't be guessed
    return pd.DataFrame(columns) if columns else None
