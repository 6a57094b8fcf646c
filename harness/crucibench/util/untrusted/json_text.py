"""JSON of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crucibench.util.text import shorten
from crucibench.util.untrusted.content import DOCUMENT_AT_MOST, RefusedError, read_content, text_of

_SHOWN = 40

# What JSON and YAML may hold: how deep, how many values, how large a number.

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


def read_json(
    path: Path, name: str, *, most: int = DOCUMENT_AT_MOST, values: int = VALUES_AT_MOST
) -> Any:
    """Returns what a JSON file holds.

    Args:
        path: the file.
        name: names it in an error.
        most: how many bytes there may be.
        values: how many values there may be.

    Raises:
        RefusedError: as `content.read_content` and `parse_json` do.
    """
    return parse_json(read_content(path, name, most), name, most=most, values=values)


def parse_json(
    content: bytes | str,
    name: str,
    *,
    most: int = DOCUMENT_AT_MOST,
    values: int = VALUES_AT_MOST,
) -> Any:
    """Returns what JSON text holds.

    Args:
        content: the text; bytes are UTF-8.
        name: names it in an error.
        most: how many bytes there may be.
        values: how many values there may be.

    Raises:
        RefusedError: if it is none, is nested deeper or holds more or larger values than
            `documents` says.
    """
    if len(content) > most:
        raise RefusedError(name, f"at most {most:,} bytes", f"{len(content):,}")
    text = text_of(content, name) if isinstance(content, bytes) else content
    # An upper bound that takes no memory: some may stand in strings.
    if sum(map(text.count, "[{,")) > values:
        raise RefusedError(name, f"at most {values:,} values", "more")
    try:
        found = json.loads(text, parse_int=whole_number)
    except json.JSONDecodeError as error:
        got = text[error.pos : error.pos + _SHOWN]
        raise RefusedError(
            name, f"JSON ({error.msg})", repr(got) if got else "its end", place=_place(error)
        ) from error
    except RecursionError as error:
        raise _deep(name) from error
    except ValueError as error:
        raise RefusedError(name, "JSON", shorten(str(error))) from error
    if text.count("[") + text.count("{") > DEPTH_AT_MOST and not is_shallow(found):
        raise _deep(name)
    return found


def _deep(name: str) -> RefusedError:
    return RefusedError(name, f"lists and objects at most {DEPTH_AT_MOST} deep", "deeper ones")


def _place(error: json.JSONDecodeError) -> str:
    return f"line {error.lineno}, column {error.colno}"
