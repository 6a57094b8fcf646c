"""What a user may set of a prompted task: how it is asked, and how answers are judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from crucibench.contracts.asking import Sampling
from crucibench.util.errors import InputError
from crucibench.util.templates import fields_of

NAMED_EXTRACTORS: Mapping[str, str] = {
    "whole": r"(?s)\A\s*(.*?)\s*\Z",
    "first-line": r"\A\s*([^\n]*?)\s*(?:\n|\Z)",
    "last-number": r"(?s).*?(-?\d[\d,]*(?:\.\d+)?)(?!.*\d)",
    "after-hashes": r"#### (-?[0-9.,]+)",
    "letter": r"\(?\b([A-Z])\b(?![a-z'])",
}
"""Regular expressions whose first group is the answer; of several matches the first counts."""

_POINT = re.compile(r"[\w.+-]+")


class AskSettings(BaseModel):
    """How items are asked about: all that decides what a model is sent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["choice", "text", "likelihood", "pair"]
    """``choice``: one of several; ``text``: written; ``likelihood``: of the reference itself;
    ``pair``: of two texts that differ in the group that they speak of, as CrowS-Pairs has them."""
    by: Literal["loglikelihood", "text"] = "loglikelihood"
    """Of a choice: whether the most probable one counts, or what the model writes."""
    template: str
    """The prompt, with ``{FIELD}`` places; ``{choices}`` is the choices in lines with letters."""
    choices: str | list[str] = ""
    """The field that holds the choices, or one field for each."""
    gold: Literal["index", "letter", "text"] = "index"
    """How the reference names the right choice: from 0, from A, or as it is written."""
    style: Literal["cloze", "letter"] = "cloze"
    """Whether a choice is continued by its text, or by its letter."""
    delimiter: str = " "
    """What stands between the prompt and what continues it."""
    order: Literal["given", "reversed"] = "given"
    """In which order choices are shown and get their letters."""
    shots: list[dict[str, Any]] = Field(default_factory=list)
    """Examples before the item: its fields, and ``answer``."""
    shots_as: Literal["text", "turns"] = "text"
    """Whether examples stand in the prompt, or are turns of a chat."""
    shot_order: Literal["given", "reversed"] = "given"
    """In which order examples come."""
    shot_delimiter: str = "\n\n"
    """What stands after each example."""
    system: str = ""
    """A chat's first message."""
    turns: str = ""
    """The field that holds a chat's messages before the prompt: a list of role and content."""
    max_tokens: int = Field(default=64, ge=1)
    """Tokens of an answer at most."""
    temperature: float = Field(default=0.0, ge=0.0)
    """0 for the most probable token each time."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """The share of the probability that is drawn from."""
    stop: list[str] = Field(default_factory=list)
    """Texts before which an answer ends."""
    samples: int = Field(default=1, ge=1, le=1000)
    """Answers to each item."""
    seed: int | None = None
    """Sent to servers that take one."""

    @field_validator("template")
    @classmethod
    def _readable(cls, template: str) -> str:
        try:
            fields_of(template)
        except InputError as error:
            raise ValueError(str(error)) from error
        return template

    @model_validator(mode="after")
    def _whole(self) -> AskSettings:
        if (self.kind in {"choice", "pair"}) != bool(self.choices):
            raise ValueError("choices: expected for kinds choice and pair, and for no other")
        if self.kind == "pair" and isinstance(self.choices, list) and len(self.choices) != 2:
            raise ValueError("choices: expected two fields, of which the first is the stereotype")
        if self.samples > 1 and not (self.kind == "text" and self.temperature > 0):
            raise ValueError("samples: several answers need kind text and a temperature above 0")
        if any("answer" not in shot for shot in self.shots):
            raise ValueError("shots: expected an answer in each")
        return self

    @property
    def writes(self) -> bool:
        """Whether the model writes text."""
        return self.kind == "text" or (self.kind == "choice" and self.by == "text")

    @cached_property
    def sampling(self) -> Sampling:
        """How text is generated."""
        return Sampling(
            max_tokens=self.max_tokens, temperature=self.temperature, top_p=self.top_p,
            stop=tuple(self.stop), n=self.samples, seed=self.seed,
        )  # fmt: skip


_ASKING = frozenset(AskSettings.model_fields)


class PromptedTask(AskSettings):
    """One task: a scenario that asks, and one that judges."""

    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Other prompts of the same task by name: each sets some of the fields above anew."""
    extract: dict[str, str] = Field(default_factory=dict)
    """Name to regular expression, whose first group (or whole match) is the answer, or to one of
    the built-in ones: whole, first-line, last-number, after-hashes, letter."""
    normalise: Literal["none", "squad"] = "none"
    """``squad``: case, punctuation, articles and spaces don't count."""
    pass_at: list[int] = Field(default_factory=list)
    """The k of pass@k, at most `samples`."""
    bbq: bool = False
    """Whether items are BBQ's, with their fields: adds accuracy and bias score by context."""

    @model_validator(mode="after")
    def _scored(self) -> PromptedTask:
        for name, pattern in self.extract.items():
            try:
                re.compile(NAMED_EXTRACTORS.get(pattern, pattern))
            except re.error as error:
                raise ValueError(f"extract.{name}: no regular expression: {error}") from error
        if bad := [k for k in self.pass_at if not 1 <= k <= self.samples]:
            raise ValueError(f"pass_at: expected 1 to samples ({self.samples}), got {bad[0]}")
        if self.bbq and self.kind != "choice":
            raise ValueError("bbq: expected kind choice")
        self.prompts  # noqa: B018 - what is wrong with a variant shows
        return self

    @cached_property
    def prompts(self) -> dict[str, AskSettings]:
        """How to ask at each point; ``prompt=given`` is the task's own where it has variants."""
        own = self.model_dump(include=set(_ASKING))
        if not self.variants:
            return {"": AskSettings(**own)}
        found = {"prompt=given": AskSettings(**own)}
        for name, changes in self.variants.items():
            if not _POINT.fullmatch(name) or name == "given":
                raise ValueError(
                    f"variants: {name!r}: expected another name, of letters and digits"
                )
            if odd := sorted(
                set(changes) - (_ASKING - {"kind", "by", "choices", "gold", "samples"})
            ):
                raise ValueError(
                    f"variants.{name}: {odd[0]!r} is no field that a prompt may change"
                )
            found[f"prompt={name}"] = AskSettings(**{**own, **changes})
        return found
