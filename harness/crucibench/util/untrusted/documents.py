"""What JSON and YAML may hold: how deep, how many values, how large a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crucibench.util.text import shorten

DEPTH_AT_MOST = 64
"""Lists and mappings in one another."""

VALUES_AT_MOST = 1_000_000
"""Values of one document, those in lists and mappings counted each time they are named."""

_DIGITS_AT_MOST = 70
"""Of a whole number as it stands there: 64 bits in binary, with a sign and ``0b``."""

_WHOLE_AT_MOST = 1 << 64


def whole_number(digits: str, read: Callable[[str], int] = int) -> int:
    """Returns a whole number of at most 64 bits, as every library takes it.

    Args:
        digits: as they stand in a document.
        read: makes a number of them.

    Raises:
        ValueError: if it is larger, or none.
    """
    if len(digits) > _DIGITS_AT_MOST or abs(value := read(digits)) >= _WHOLE_AT_MOST:
        raise ValueError(f"{shorten(digits, 20)}, a whole number of more than 64 bits")
    return value


def is_shallow(document: Any) -> bool:
    """Says whether lists and mappings are nested at most `DEPTH_AT_MOST` deep."""
    level = [document]
    for _ in range(DEPTH_AT_MOST + 1):
        level = [
            value
            for one in level
            if isinstance(one, list | dict)
            for value in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return True
    return False
