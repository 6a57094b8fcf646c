"""Words that name groups, exchanged for those of another group, in English texts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any

_NOT_POSSESSED = frozenset(
    word
    for words in (
        "a about after again all and are as at because before but by for from had has have he i",
        "if in into is it me my now of off on or out over she so than that the their then they",
        "this to too up us was we were what when where which while who will with would",
        "yesterday you your",
    )
    for word in words.split()
)
"""Words after which a "her" before them is "him", not "his"."""


@dataclass(frozen=True, kw_only=True)
class Category:
    """Words of one kind of group.

    Attributes:
        name: e.g. ``religion``.
        groups: what its groups are called, at least two.
        terms: rows of one word a group, in lower case.
        never_sought: words that are put in and not looked for.
        pronouns: whether English pronouns go along; the groups are then female and male.
    """

    name: str
    groups: tuple[str, ...]
    terms: tuple[tuple[str, ...], ...]
    never_sought: tuple[str, ...] = field(default=())
    pronouns: bool = False

    def swap(self, text: str, shift: int) -> tuple[str, int]:
        """Exchanges each group's words for those of the group `shift` places on.

        Groups that a text tells apart stay apart. Capitals are kept, and "a" or "an" before a word
        follows the new one's first letter.

        Returns:
            The text, and how many words were exchanged.
        """
        count = 0

        def exchanged(match: re.Match[str]) -> str:
            nonlocal count
            article, word = match["article"], match["word"]
            new = self._pronoun(word.lower(), text[match.end() :]) if self.pronouns else ""
            if not new:
                row, place = self._places[word.lower()]
                new = self.terms[row][(place + shift) % len(self.groups)]
            count += 1
            new = _like(word, new)
            if not article:
                return new
            other = "an" if new[0].lower() in "aeiou" else "a"
            return _like(article, other) + match["space"] + new

        return self._pattern.sub(exchanged, text), count

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for row, words in enumerate(self.terms):
            for place, word in enumerate(words):
                if word not in self.never_sought:
                    found.setdefault(word, (row, place))
        return found

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = [*self._places, *(("her", "hers", "him", "his") if self.pronouns else ())]
        listed = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        return re.compile(
            rf"(?<![\w-])(?:(?P<article>an?)(?P<space>\s+))?(?P<word>{listed})(?![\w-])",
            re.IGNORECASE,
        )

    def _pronoun(self, word: str, rest: str) -> str:
        """Returns the counterpart of a pronoun whose form depends on what follows; else ""."""
        follows = re.match(r"\s+([^\W\d_]+)", rest)
        possessed = follows is not None and follows[1].lower() not in _NOT_POSSESSED
        return {
            "her": "his" if possessed else "him",
            "hers": "his",
            "him": "her",
            "his": "her" if follows is not None else "hers",
        }.get(word, "")


def bundled() -> tuple[Category, ...]:
    """Returns the project's own lists."""
    text = files("crucibench_suites.bias").joinpath("identity_terms.json").read_text("utf-8")
    return categories(json.loads(text)["categories"])


def categories(data: Mapping[str, Mapping[str, Any]]) -> tuple[Category, ...]:
    """Returns categories from plain data, as it is stored in a scenario's parameters."""
    return tuple(
        Category(
            name=name,
            groups=tuple(entry["groups"]),
            terms=tuple(tuple(word.lower() for word in row) for row in entry["terms"]),
            never_sought=tuple(entry.get("never_sought", ())),
            pronouns=bool(entry.get("pronouns", False)),
        )
        for name, entry in data.items()
    )


def plain(found: Sequence[Category]) -> dict[str, Any]:
    """The inverse of `categories`."""
    return {
        one.name: {
            "groups": list(one.groups),
            "terms": [list(row) for row in one.terms],
            "never_sought": list(one.never_sought),
            "pronouns": one.pronouns,
        }
        for one in found
    }


def _like(old: str, new: str) -> str:
    """Returns `new` with the capitals of `old`."""
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new[0].upper() + new[1:] if old[0].isupper() else new
