"""Documents of a run, read as what others may have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crucibench.util.errors import UnreadableError
from crucibench.util.untrusted.json_text import read_json
from crucibench.util.untrusted.refusal import RefusedError


def read_document(path: Path) -> Any:
    """Returns what a JSON file of a run holds.

    Raises:
        UnreadableError: if it is missing, damaged, or out of the reader's bounds.
    """
    try:
        return read_json(path, repr(str(path)))
    except RefusedError as error:
        raise UnreadableError(f"{str(path)!r} can't be read: {error.sentence}") from error
