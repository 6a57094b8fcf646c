"""Unfamiliar texts, made of familiar ones. Inputs are texts, or tuples of texts."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice
from string import Formatter
from types import MappingProxyType
from typing import Any

import numpy as np

from crucibench_suites.ood.generators import Generator, Making

_LETTERS = string.ascii_lowercase

Change = Callable[[str, Making, int, str], str]
"""From a text, its row in the batch and a step of the draws to a text."""


class ShuffledWords(Generator):
    """The same words in random order."""

    name = "shuffled-words"
    kind = "near"
    definition = "The text's own words, split at blanks, in random order."

    def make(self, making: Making) -> Any:
        return _changed(making, _shuffled)


class RandomLetters(Generator):
    """Words that are none."""

    name = "random-letters"
    kind = "far"
    definition = (
        "Every character but blanks becomes a random letter from a to z; lengths of words stay."
    )

    def make(self, making: Making) -> Any:
        return _changed(making, _random_letters)


class RepeatedWord(Generator):
    """One word over and over."""

    name = "repeated-word"
    kind = "far"
    definition = "One random word of the text, as often as the text has words."

    def make(self, making: Making) -> Any:
        return _changed(making, _repeated)


class OtherDomain(Generator):
    """Sound sentences on something else."""

    name = "other-domain"
    kind = "far"
    definition = (
        "As many words as the text has of sentences on weather, cooking, traffic or leases, made "
        "from templates."
    )

    def make(self, making: Making) -> Any:
        return _changed(making, _of_other_domain)


class ReversedText(Generator):
    """Characters in reverse order."""

    name = "reversed-text"
    kind = "validation"
    definition = "The text's characters in reverse order."

    def make(self, making: Making) -> Any:
        return _changed(making, lambda text, making, row, step: text[::-1])


class SplicedTexts(Generator):
    """Half of one text and half of another."""

    name = "spliced-texts"
    kind = "validation"
    partners = True
    definition = (
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
    drawn = _words(making, row, step, 1 + _MOST_DRAWS * (1 + words // _SHORTEST))
    return _text_of(words, iter(drawn.tolist()))


def _repeated(text: str, making: Making, row: int, step: str) -> str:
    words = text.split()
    if not words:
        return text
    chosen = words[int(_words(making, row, step, 1)[0]) % len(words)]
    return " ".join([chosen] * len(words))


_WEATHER = (
    "Expect {sky} over the {region} by {time}, with winds from the {wind}.",
    "A front from the {wind} brings {sky} to the {region} until {time}.",
    "Temperatures in the {region} fall to {number} degrees by {time}.",
    "The {region} stays under {sky} while pressure rises from the {wind}.",
)
_COOKING = (
    "Stir the {food} into the {vessel} and simmer for {number} minutes.",
    "Chop the {food}, add the {other} and cover the {vessel}.",
    "Preheat the oven, then layer {food} and {other} in the {vessel}.",
    "Season the {food} to taste and leave the {vessel} to rest for {number} minutes.",
)
_TRAFFIC = (
    "Turn at the {place}, follow the {road} for {number} miles and keep to the right.",
    "The {road} is closed between the {place} and the {mark} until {time}.",
    "Trains to the {place} leave from platform {number} every hour until {time}.",
    "From the {mark} take the {road}; the {place} is on the left.",
)
_LEASE = (
    "The tenant shall return the {item} to the {party} within {number} days.",
    "Neither {party} may assign this lease without the written consent of the {other_party}.",
    "Any notice about the {item} is to be served on the {party} by {time}.",
    "The {party} bears the cost of the {item} for a term of {number} months.",
)
DOMAINS = (_WEATHER, _COOKING, _TRAFFIC, _LEASE)

_SLOTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sky": ("light rain", "low cloud", "scattered showers", "thick fog", "clear skies"),
        "region": ("coast", "valley", "northern plain", "islands", "highlands"),
        "time": ("noon", "midnight", "Tuesday", "early evening", "the end of the month"),
        "wind": ("north", "south", "east", "west"),
        "number": ("four", "seven", "twelve", "twenty", "thirty"),
        "food": ("onions", "lentils", "carrots", "flour", "chickpeas", "spinach"),
        "other": ("butter", "garlic", "stock", "lemon juice", "parsley"),
        "vessel": ("pan", "pot", "dish", "bowl"),
        "place": ("station", "harbour", "town hall", "airport", "old mill"),
        "road": ("ring road", "river lane", "motorway", "coastal road"),
        "mark": ("second bridge", "fire station", "roundabout", "quarry"),
        "item": ("deposit", "boiler", "inventory", "garden fence", "spare keys"),
        "party": ("landlord", "tenant", "agent"),
        "other_party": ("guarantor", "owner", "managing agent"),
    }
)

_PARTS = tuple(
    tuple(tuple(Formatter().parse(template)) for template in templates) for templates in DOMAINS
)
_MOST_DRAWS = 1 + max(sum(bool(part[1]) for part in parts) for domain in _PARTS for parts in domain)
"""Most draws that a sentence takes."""
_SHORTEST = min(len(template.split()) for templates in DOMAINS for template in templates)
"""Fewest words of a sentence."""


def _text_of(words: int, drawn: Iterator[int]) -> str:
    """Returns the first so many words of sentences of one domain.

    Args:
        words: how many, at least 1.
        drawn: draws: one for the domain, and at most `_MOST_DRAWS` for each sentence, which has
            `_SHORTEST` words at least.
    """
    domain = _PARTS[next(drawn) % len(_PARTS)]
    return " ".join(islice(_sentences(domain, drawn), words))


def _sentences(
    domain: tuple[tuple[tuple[str, str | None, str | None, str | None], ...], ...],
    drawn: Iterator[int],
) -> Iterator[str]:
    for _ in count():
        sentence = ""
        for literal, slot, _, _ in domain[next(drawn) % len(domain)]:
            sentence += literal
            if slot:
                choices = _SLOTS[slot]
                sentence += choices[next(drawn) % len(choices)]
        yield from sentence.split()


def statistics(texts: Any) -> Mapping[str, Any]:
    """Returns what inputs look like without any model: numbers by name, each of shape (N,)."""
    joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
    words = [text.split() for text in joined]
    return {
        "characters": [len(text) for text in joined],
        "words": [len(entry) for entry in words],
        "distinct-words": [len(set(entry)) / max(1, len(entry)) for entry in words],
    }
