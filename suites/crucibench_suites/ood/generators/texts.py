"""Unfamiliar texts, made of familiar ones. Inputs are texts, or tuples of texts."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from crucibench_suites.ood.generator import Generator, Kind, Making
from crucibench_suites.ood.generators.other_domains import MOST_DRAWS, SHORTEST, text_of

_LETTERS = string.ascii_lowercase

Change = Callable[[str, Making, int, str], str]
"""From a text, its row in the batch and a step of the draws to a text."""


class ShuffledWords(Generator):
    """The same words in random order."""

    name: ClassVar[str] = "shuffled-words"
    kind: ClassVar[Kind] = "near"
    definition: ClassVar[str] = "The text's own words, split at blanks, in random order."

    def make(self, making: Making) -> Any:
        return _changed(making, _shuffled)


class RandomLetters(Generator):
    """Words that are none."""

    name: ClassVar[str] = "random-letters"
    kind: ClassVar[Kind] = "far"
    definition: ClassVar[str] = (
        "Every character but blanks becomes a random letter from a to z; lengths of words stay."
    )

    def make(self, making: Making) -> Any:
        return _changed(making, _random_letters)


class RepeatedWord(Generator):
    """One word over and over."""

    name: ClassVar[str] = "repeated-word"
    kind: ClassVar[Kind] = "far"
    definition: ClassVar[str] = "One random word of the text, as often as the text has words."

    def make(self, making: Making) -> Any:
        return _changed(making, _repeated)


class OtherDomain(Generator):
    """Sound sentences on something else."""

    name: ClassVar[str] = "other-domain"
    kind: ClassVar[Kind] = "far"
    definition: ClassVar[str] = (
        "As many words as the text has of sentences on weather, cooking, traffic or leases, made "
        "from templates."
    )

    def make(self, making: Making) -> Any:
        return _changed(making, _of_other_domain)


class ReversedText(Generator):
    """Characters in reverse order."""

    name: ClassVar[str] = "reversed-text"
    kind: ClassVar[Kind] = "validation"
    definition: ClassVar[str] = "The text's characters in reverse order."

    def make(self, making: Making) -> Any:
        return _changed(making, lambda text, making, row, step: text[::-1])


class SplicedTexts(Generator):
    """Half of one text and half of another."""

    name: ClassVar[str] = "spliced-texts"
    kind: ClassVar[Kind] = "validation"
    partners: ClassVar[bool] = True
    definition: ClassVar[str] = (
        "Every other word of the text and of one of another class, drawn from the test role."
    )

    def make(self, making: Making) -> Any:
        if making.partners is None:
            raise TypeError("spliced-texts: expected partners")
        others = making.partners.inputs

        def spliced(text: str, making: Making, row: int, step: str) -> str:
            other = others[row]
            if not isinstance(other, str):
                other = other[int(step)]
            return " ".join([*text.split()[::2], *other.split()[1::2]])

        return _changed(making, spliced)


GENERATORS: tuple[type[Generator], ...] = (
    ShuffledWords,
    RandomLetters,
    RepeatedWord,
    OtherDomain,
    ReversedText,
    SplicedTexts,
)


def _changed(making: Making, change: Change) -> list[Any]:
    """Changes each text; of several columns, each by draws of its own."""
    made: list[Any] = []
    for row, entry in enumerate(making.batch.inputs):
        if isinstance(entry, str):
            made.append(change(entry, making, row, "0"))
        else:
            parts = enumerate(entry)
            made.append(tuple(change(part, making, row, str(at)) for at, part in parts))
    return made


def _words(making: Making, row: int, step: str, count: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return making.draws.words([making.batch.ids[row]], step, max(count, 1))[0, :count]


def _shuffled(text: str, making: Making, row: int, step: str) -> str:
    words = text.split()
    order = np.argsort(_words(making, row, step, len(words)), kind="stable")
    return " ".join(words[place] for place in order)


def _random_letters(text: str, making: Making, row: int, step: str) -> str:
    drawn = _words(making, row, step, len(text)) % len(_LETTERS)
    return "".join(
        old if old.isspace() else _LETTERS[new] for old, new in zip(text, drawn, strict=True)
    )


def _of_other_domain(text: str, making: Making, row: int, step: str) -> str:
    words = max(1, len(text.split()))
    drawn = _words(making, row, step, 1 + MOST_DRAWS * (1 + words // SHORTEST))
    return text_of(words, iter(drawn.tolist()))


def _repeated(text: str, making: Making, row: int, step: str) -> str:
    words = text.split()
    if not words:
        return text
    chosen = words[int(_words(making, row, step, 1)[0]) % len(words)]
    return " ".join([chosen] * len(words))
