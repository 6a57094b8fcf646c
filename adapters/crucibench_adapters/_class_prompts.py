"""How classes are asked for: read from a file that an address names."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from crucibench.contracts.adapter import Opening
from crucibench.contracts.asking import ClassPrompt
from crucibench.contracts.uri import URI, existing_file
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest
from crucibench.util.untrusted.yaml_text import read_yaml

OPTION = "prompt"
DEFAULT = "{text}\nLabel:"


class _PromptFile(BaseModel):
    """What a file may say."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    template: str = DEFAULT
    verbalisers: dict[str, str] | None = None
    unparsed: str | None = None


def prompt_files(uri: URI, base: Path) -> tuple[Path, ...]:
    """Returns the file that ``prompt=FILE`` names, if there is one."""
    name = uri.query.get(OPTION)
    return (existing_file(base, name, "prompt"),) if name else ()


def class_prompt(opening: Opening) -> ClassPrompt | None:
    """Returns how classes are asked for; None where the data's task is ``generation``.

    Raises:
        InputError: if the file, or the data, does not fit.
    """
    files = prompt_files(opening.uri, opening.base)
    if opening.data.task.kind == "generation":
        if files:
            raise InputError("option prompt: it is for texts in classes; a suite puts items")
        return None
    found = _PromptFile()
    for file in files:
        try:
            found = _PromptFile.model_validate(read_yaml(file) or {})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{file.name}: {where}: {first['msg']}") from error
    return ClassPrompt.of(opening, found.template, found.verbalisers, found.unparsed)


def prompt_digest(prompt: ClassPrompt | None) -> str:
    """Returns a digest of it: it is part of the model."""
    return data_digest([] if prompt is None else asdict(prompt))
