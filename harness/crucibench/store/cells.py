"""What a cell's ``cell.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from crucibench.contracts.verdict import Finding, Severity, Status, Verdict
from crucibench.store.documents import first_mistake, read_document
from crucibench.store.layout import FORMAT_VERSION, is_cell_id
from crucibench.util.atomic import write_json
from crucibench.util.errors import UnreadableError
from crucibench.util.hashing import data_digest
from crucibench.util.text import shorten

M = TypeVar("M", bound=BaseModel)


def _cell_id(name: str) -> str:
    if not is_cell_id(name):
        raise ValueError(f"expected the id of a cell, got {shorten(name)!r}")
    return name


CellId = Annotated[str, AfterValidator(_cell_id)]
"""The name of a cell's folder: nothing that leads anywhere else."""


class Digest(BaseModel):
    """A digest and the fields it is made of, so that a difference can be named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Digest:
        """Makes the digest of `fields`."""
        return cls(digest=data_digest(dict(fields)), fields=dict(fields))


class StageFile(BaseModel):
    """One stage of a Mapped cell: what the plan fixed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    samples: int
    shards: int


class FindingFile(BaseModel):
    """One finding, as stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    severity: Severity
    message: str
    evidence: dict[str, Any] = Field(default_factory=dict)
    cell: str = ""

    def as_finding(self) -> Finding:
        """Returns the contract's form."""
        return Finding(**self.model_dump())


class CellFile(BaseModel):
    """One cell: what was asked, what became of it, how far it can be trusted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT_VERSION
    cell: CellId
    kind: Literal["mapped", "derived", "timed"]
    model: str
    data: str
    suite: str
    scenario: str
    version: int
    role: str
    points: list[str]
    parameters: dict[str, Any] = Field(default_factory=dict)
    draws: Literal["sample", "batch", "none"] = "none"
    needs: dict[str, CellId] = Field(default_factory=dict)
    """Alias to cell id."""
    limit: int | None = None
    outputs: list[str] = Field(default_factory=list)
    """What a pass was asked for, or the artefacts that another scenario keeps."""

    status: Status
    reason: str = ""
    detail: str = ""
    """The traceback of a failure."""
    verdict: Verdict | None = None
    findings: list[FindingFile] = Field(default_factory=list)

    n: int = 0
    """Samples (or queries) asked about."""
    ids_digest: str = ""
    stages: list[StageFile] = Field(default_factory=list)
    probes: list[str] = Field(default_factory=list)
    facts: dict[str, Any] = Field(default_factory=dict)
    identity: Digest | None = None
    numerics: Digest | None = None
    comparison: dict[str, Any] = Field(default_factory=dict)
    """The comparison key's fields, less the metric's own."""


def write_cell(path: Path, cell: CellFile) -> None:
    """Writes a cell file atomically."""
    write_json(path, cell.model_dump(mode="json"))


def read_cell(path: Path) -> CellFile:
    """Reads a cell file.

    Raises:
        UnreadableError: if it is missing, damaged or of another format.
    """
    return read_model(path, CellFile)


def read_model(path: Path, kind: type[M]) -> M:
    """Reads a JSON file of a given form.

    Raises:
        UnreadableError: if it is missing, damaged or of another form.
    """
    try:
        return kind.model_validate(read_document(path))
    except ValidationError as error:
        raise UnreadableError(f"{str(path)!r} can't be read: {first_mistake(error)}") from error
