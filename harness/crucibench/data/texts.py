"""Texts as Arrow keeps them, lone surrogates included.

Arrow's strings are UTF-8, which has no form for half of a surrogate pair; JSON and Python have one.
Such a text is kept as the three bytes that UTF-8 would have for it (Python's ``surrogatepass``),
and comes back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crucibench.util.errors import InputError


def text_array(values: Sequence[str | None]) -> Any:
    """Returns texts as an Arrow array of large strings."""
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError:
        encoded = [None if value is None else text_bytes(value) for value in values]
        return pa.array(encoded, pa.large_binary()).view(pa.large_string())


def text_values(column: Any) -> list[Any]:
    """Returns the texts of an Arrow column of strings; None where one is missing."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        kind = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
        return [
            None if value is None else value.decode("utf-8", "surrogatepass")
            for value in pc.cast(column, kind).to_pylist()
        ]


def text_bytes(text: str) -> bytes:
    """Returns the bytes by which a text is kept and identified: its UTF-8 where it has one."""
    return text.encode("utf-8", "surrogatepass")


def reads_like_text(values: Sequence[str | None]) -> bool:
    """Whether strings are texts, not categories.

    They are where most differ, most hold a space, and they are 16 characters long on average.
    """
    texts = [value for value in values if value]
    if not texts:
        return False
    return (
        sum(map(len, texts)) >= 16 * len(texts)
        and 2 * len(set(texts)) > len(texts)
        and 2 * sum(" " in text.strip() for text in texts) > len(texts)
    )


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
