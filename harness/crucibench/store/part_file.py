"""The account of a part of a run: what ``environment/part.json`` holds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from crucibench.store.cells import CellFile, read_model
from crucibench.store.layout import Layout, is_inside, is_run_id
from crucibench.util.text import shorten


def _inside(name: str) -> str:
    if not is_inside(name):
        raise ValueError(f"expected the name of a file of the cell, got {shorten(name)!r}")
    return name


def _run_id(run: str) -> str:
    if not is_run_id(run):
        raise ValueError(f"expected the id of a run, a plain name, got {shorten(run)!r}")
    return run


class PartCell(BaseModel):
    """What a part holds of one cell.

    Attributes:
        file: the cell as it was planned, with what became of it here; not scored.
        whole: whether all of it was collected here.
        files: name to digest.
        cost: as ``timing.json`` holds it.
        probe: what the cell's model answered to the fixed probe here; empty where it was not asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: CellFile
    whole: bool
    files: dict[Annotated[str, AfterValidator(_inside)], str] = Field(default_factory=dict)
    cost: dict[str, Any] = Field(default_factory=dict)
    probe: dict[str, Any] = Field(default_factory=dict)


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
    run: Annotated[str, AfterValidator(_run_id)]
    cells: dict[str, PartCell]


def read_part(layout: Layout) -> PartFile:
    """Reads the account of a part.

    Raises:
        UnreadableError: if it is missing or damaged.
    """
    return read_model(layout.part, PartFile)
