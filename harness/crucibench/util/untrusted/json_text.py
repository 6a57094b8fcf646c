"""JSON of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crucibench.util.text import shorten
from crucibench.util.untrusted.content import DOCUMENT_AT_MOST, read_content, text_of
from crucibench.util.untrusted.documents import (
    DEPTH_AT_MOST,
    VALUES_AT_MOST,
    is_shallow,
    whole_number,
)
from crucibench.util.untrusted.refusal import RefusedError

_SHOWN = 40


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
