"""Texts in memory as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crucibench.util.errors import InputError


def text_columns(X: Any) -> dict[str, list[str]]:
    """Returns texts by column; none if X holds no texts."""
    if isinstance(X, np.ndarray) and not (X.ndim == 1 and X.dtype.kind in "OUT"):
        return {}
    if not isinstance(X, np.ndarray | Sequence) or not len(X):
        return {}
    first = X[0]
    if isinstance(first, str):
        rows = [(text,) for text in X]
    elif isinstance(first, tuple) and all(isinstance(part, str) for part in first):
        rows = list(X)
    else:
        return {}
    width = len(rows[0])
    for number, row in enumerate(rows):
        if len(row) != width or not all(isinstance(part, str) for part in row):
            raise InputError(f"X: expected texts, got {X[number]!r} (row {number}, counted from 0)")
    names = ["text"] if width == 1 else [f"text{number}" for number in range(width)]
    columns = zip(*rows, strict=True)
    return {name: list(map(str, column)) for name, column in zip(names, columns, strict=True)}
