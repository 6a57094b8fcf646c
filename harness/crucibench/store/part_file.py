"""The account of a part of a run: what ``environment/part.json`` holds."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crucibench.store.cells import CellFile
from crucibench.store.layout import Layout
from crucibench.util.errors import UnreadableError


class PartCell(BaseModel):
    """What a part holds of one cell.

    Attributes:
        file: the cell as it was planned, with what became of it here; not scored.
        whole: whether all of it was collected here.
        files: name to digest.
        cost: as ``timing.json`` holds it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: CellFile
    whole: bool
    files: dict[str, str] = Field(default_factory=dict)
    cost: dict[str, Any] = Field(default_factory=dict)


class PartFile(BaseModel):
    """One part of a run.

    Attributes:
        part: counted from 1.
        of: how many there are.
        run: the id of the run that all parts make up.
        cells: by id.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: int
    of: int
    run: str
    cells: dict[str, PartCell]


def read_part(layout: Layout) -> PartFile:
    """Reads the account of a part.

    Raises:
        UnreadableError: if it is missing or damaged.
    """
    try:
        return PartFile.model_validate(json.loads(layout.part.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise UnreadableError(f"{str(layout.part)!r} can't be read: {first}") from error
