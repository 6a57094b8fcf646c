"""Documents of a run, read as what others may have written."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from crucibench.util.errors import UnreadableError
from crucibench.util.text import shorten, visible
from crucibench.util.untrusted.content import RefusedError
from crucibench.util.untrusted.json_text import read_json


def read_document(path: Path) -> Any:
    """Returns what a JSON file of a run holds.

    Raises:
        UnreadableError: if it is missing, damaged, or out of the reader's bounds.
    """
    try:
        return read_json(path, repr(str(path)))
    except RefusedError as error:
        raise UnreadableError(f"{str(path)!r} can't be read: {error.sentence}") from error


def read_typed(path: Path, kind: Any) -> Any:
    """Returns what a JSON file of a run holds, once it is of the types of `kind`, throughout.

    Args:
        path: of the file.
        kind: a type whose fields are those of the document: a dataclass, a mapping, a list.

    Raises:
        UnreadableError: if it is of another form, or as `read_document` does.
    """
    document = read_document(path)
    try:
        _form(kind).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise UnreadableError(f"{str(path)!r} can't be read: {first_mistake(error)}") from error
    return document


def first_mistake(error: ValidationError) -> str:
    """Returns the first mistake in a document, with its place."""
    found = error.errors()[0]
    where = ".".join(shorten(visible(str(part))) for part in found["loc"])
    return ": ".join(filter(None, (where, found["msg"].removeprefix("Value error, "))))


@lru_cache(maxsize=8)
def _form(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
