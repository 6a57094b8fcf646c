"""What a user may set for attacks on texts, under ``suites: {adversarial: ...}``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict, StrictStr, field_validator

from crucibench.contracts.suite import SuiteConfig
from crucibench.util.numbers import Number
from crucibench_suites.adversarial.listed import listed

TextAttackName = Literal["characters", "substitutions"]

SUFFIXES = (".json", ".csv")


class TextConfig(SuiteConfig):
    """Settings of attacks on texts."""

    texts: Annotated[
        tuple[TextAttackName, ...],
        BeforeValidator(listed),
        Field(min_length=1, strict=False),
    ] = ("characters", "substitutions")
    """Attacks on texts: edits of ``characters``, and ``substitutions`` of words for words."""

    words: Annotated[
        tuple[Annotated[Number, Field(ge=0, le=1)], ...],
        BeforeValidator(listed),
        Field(min_length=1, max_length=64, strict=False),
    ] = (0.1, 0.2, 0.3)
    """The shares of a text's words that may be changed."""

    label_only: bool = False
    """Whether models with scores are also attacked by what they name alone; models without scores
    are so in any case."""

    stop_words: (
        Literal["english", "none"]
        | Annotated[tuple[StrictStr, ...], BeforeValidator(listed), Strict(False)]
    ) = "english"
    """Words that attacks leave alone: those of ``english``, ``none``, or a list of your own."""

    protect: Annotated[tuple[StrictStr, ...], BeforeValidator(listed), Strict(False)] = ()
    """Text columns that attacks leave alone."""

    substitutions: StrictStr | None = None
    """A file of words and what may replace them (``.json``: an object from words to lists of words;
    ``.csv``: a word a line, and others after it); left out, the model's own embeddings tell, where
    it has some."""

    @field_validator("texts", "words")
    @classmethod
    def _once(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"expected each once, got {list(value)}")
        return value

    @field_validator("substitutions")
    @classmethod
    def _form(cls, value: str | None) -> str | None:
        if value is not None and PurePath(value).suffix not in SUFFIXES:
            raise ValueError(f"expected a .json or .csv file, got {value!r}")
        return value

    def files(self) -> Mapping[str, str]:
        """Returns the list of substitutions, if there is one."""
        return {} if self.substitutions is None else {"substitutions": self.substitutions}
