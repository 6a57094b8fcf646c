"""The form of a data set's samples, and a few made-up ones, to see what a model can answer."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality

_ROWS = 4
_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)")
_NUMBERS = re.compile(r"bool|boolean|[uU]?[iI]nt\d+|[fF]loat\d+")
_TEXTS = ["some words", "other words, and more of them", "1", "?"]


def stored_form(card: DataCard) -> InputSpec:
    """Returns the form in which the data set holds its samples."""
    texts = len(card.features) if card.task.modality is Modality.TEXT else 1
    return InputSpec(modality=card.task.modality, columns=max(1, texts))


def made_up(card: DataCard, spec: InputSpec) -> Batch | None:
    """Returns a batch in the form of `card` and `spec`, or None where the form is not known."""
    match card.task.modality:
        case Modality.IMAGE:
            inputs = _images(card, spec)
        case Modality.TABLE:
            inputs = _table(card)
        case Modality.TEXT:
            inputs = _TEXTS if spec.columns == 1 else [(text,) * spec.columns for text in _TEXTS]
        case _:
            inputs = None
    if inputs is None:
        return None
    return Batch(tuple(f"made-up-{row}" for row in range(_ROWS)), inputs)


def _images(card: DataCard, spec: InputSpec) -> Any:
    import torch

    # Images of several sizes are written "1x8x8 to 1x16x16": the model must say which it takes.
    shapes = [tuple(map(int, found)) for found in _SHAPE.findall(card.features.get("image", ""))]
    channels = spec.channels or (shapes[0][0] if shapes else None)
    size = spec.size or (shapes[0][1:] if len(shapes) == 1 else None)
    if channels is None or size is None:
        return None
    generator = torch.Generator().manual_seed(0)
    return torch.rand((_ROWS, channels, *size), generator=generator)


def _table(card: DataCard) -> Any:
    import pandas as pd

    draws = np.random.default_rng(0)
    kinds = {name: kind.partition(",")[0] for name, kind in card.features.items()}
    if not all(_NUMBERS.fullmatch(kind) for kind in kinds.values()):
        return None  # which words or dates a model knows can't be guessed
    # Whole numbers fit every kind of number; "float64, some missing" loses what follows.
    columns = {name: draws.integers(0, 2, _ROWS) for name in kinds}
    return pd.DataFrame(columns).astype(kinds) if kinds else None
