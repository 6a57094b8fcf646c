"""Texts as Arrow keeps them, lone surrogates included.

Arrow's strings are UTF-8, which has no form for half of a surrogate pair; JSON and Python have one.
Such a text is kept as the three bytes that UTF-8 would have for it (Python's ``surrogatepass``),
and comes back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


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
