"""The notes file: what became of rows of a leaderboard since they were measured."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crucibench.spec.check import Mistakes, add_validation_errors
from crucibench.util.errors import InputError
from crucibench.util.untrusted.yaml_text import read_yaml


class _NotesPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class RowNote(_NotesPart):
    """One row that no longer counts. It stays on the board, with the reason."""

    model: str
    """Its name."""
    run: str = ""
    """The start of a run's id; "" for all runs."""
    data: str = ""
    """A data set; "" for all."""
    withdrawn: str | None = Field(default=None, min_length=1)
    """Why the row is wrong."""
    superseded: str | None = Field(default=None, min_length=1)
    """Why another row stands for it."""
    by: str = ""
    """The model that stands for a superseded row."""

    @model_validator(mode="after")
    def _one_reason(self) -> RowNote:
        if (self.withdrawn is None) == (self.superseded is None):
            raise ValueError("expected one of withdrawn and superseded, with the reason")
        if self.by and self.superseded is None:
            raise ValueError("'by' goes with superseded")
        return self

    def fits(self, model: str, data: str, runs: tuple[str, ...]) -> bool:
        """Whether the note is of a row of this model, data set and these runs."""
        return (
            self.model == model
            and self.data in {"", data}
            and any(run.startswith(self.run) for run in runs)
        )


class Notes(_NotesPart):
    """A notes file."""

    schema_version: Literal[1] = 1
    rows: list[RowNote] = Field(default_factory=list)


def read_notes(path: Path) -> Notes:
    """Reads a notes file.

    Raises:
        InputError: all its mistakes at once, with their paths.
    """
    document = read_yaml(path)
    mistakes = Mistakes(str(path))
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a mapping with rows")
    try:
        return Notes.model_validate(document)
    except ValidationError as error:
        add_validation_errors(mistakes, error, "", [*RowNote.model_fields, *Notes.model_fields])
        mistakes.report()
        raise AssertionError from error  # unreachable: a ValidationError holds an error
