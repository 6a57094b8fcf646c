"""Letters: which ones look alike, and which stay apart."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from crucibench.util.graphemes import graphemes

LOOK_ALIKES: Mapping[str, str] = dict(
    zip(
        "aceijopsxyABCEHIJKMOPSTX" + "ανορΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",  # noqa: RUF001 - the point of it
        "асеіјорѕхуАВСЕНІЈКМОРЅТХ" + "avopABEZHIKMNOPTYX",  # noqa: RUF001
        strict=True,
    )
)
"""Letters to those of another script that look the same: Latin to Cyrillic, Greek to Latin."""

CYRILLIC: Mapping[str, str] = {
    other: own for own, other in LOOK_ALIKES.items() if "CYRILLIC" in unicodedata.name(other)
}
"""The Cyrillic ones of these to the Latin letters they look like."""


@lru_cache(maxsize=1 << 14)
def is_letter(character: str) -> bool:
    """Whether a character is a letter, and not a whole word as Han characters are."""
    first = character[0]
    return first.isalpha() and not unicodedata.name(first, "").startswith("CJK")


def holds_apart(before: str, after: str) -> bool:
    """Whether two adjacent characters stay two; parts of Hangul syllables might join."""
    return before.isascii() or len(graphemes(before + after)) == 2
