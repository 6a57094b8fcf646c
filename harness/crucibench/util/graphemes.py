"""Cuts a text into what a reader takes for its characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache

_JOINER = "\u200d"
_VIRAMA = 9
"""The combining class of signs that take a consonant's vowel away."""

_MARKS = ("Mn", "Me", "Mc")
_PREPENDED = frozenset(
    (
        *range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x0D4E, 0x110BD, 0x110CD,
        0x111C2, 0x111C3, 0x113D1, 0x1193F, 0x11941, 0x11A3A, *range(0x11A84, 0x11A8A), 0x11D46,
        0x11F02,
    )
)  # fmt: skip
"""Signs that stand before what they belong to, such as an Arabic number sign."""


def graphemes(text: str) -> list[str]:
    """Returns the grapheme clusters of a text; joined they are the text.

    By Unicode Standard Annex 29, coarsely: whatever is not to be torn apart stays together
    (combining marks, conjuncts, emoji sequences, flags, Hangul syllables, CR LF); a few sequences
    that the annex would cut stay together, too (any character after a zero-width joiner, any
    letter after a virama).
    """
    if text.isascii() and "\r" not in text:
        return list(text)
    found: list[str] = []
    flags = 0
    last = ""
    linked = False
    for char in text:
        # Devanagari and its kin: a consonant after a virama is part of the same conjunct.
        conjunct = linked and unicodedata.category(char) == "Lo"
        joined = bool(last) and (conjunct or _joined(last, char, flags))
        if joined:
            found[-1] += char
        else:
            found.append(char)
        linked = unicodedata.combining(char) == _VIRAMA or (linked and joined)
        flags = flags + 1 if _is_flag(char) else 0
        last = char
    return found


def _joined(last: str, char: str, flags: int) -> bool:
    if ord(last) in _PREPENDED:
        return not _is_control(char)
    if char < "\u0300":
        return last == "\r" and char == "\n"
    if _is_control(last):
        return False
    if last == _JOINER or unicodedata.category(char) in _MARKS or _extends(char):
        return True
    if _is_flag(char):
        return flags % 2 == 1
    return _same_syllable(last, char)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Zl", "Zp")


def _extends(char: str) -> bool:
    """Whether it belongs to the one before: joiners, emoji modifiers and tags."""
    code = ord(char)
    return (
        char in "\u200c\u200d\uff9e\uff9f"
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xE0020 <= code <= 0xE007F
        # Vowels that are letters by category, and marks by the annex.
        or code in (0x0E33, 0x0EB3)
    )


def _is_flag(char: str) -> bool:
    return 0x1F1E6 <= ord(char) <= 0x1F1FF


def _same_syllable(last: str, char: str) -> bool:
    before, after = _jamo(last), _jamo(char)
    return (
        (before == "L" and after in ("L", "V", "LV", "LVT"))
        or (before in ("LV", "V") and after in ("V", "T"))
        or (before in ("LVT", "T") and after == "T")
    )


def _jamo(char: str) -> str:
    code = ord(char)
    if 0x1100 <= code <= 0x115F or 0xA960 <= code <= 0xA97C:
        return "L"
    if 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6:
        return "V"
    if 0x11A8 <= code <= 0x11FF or 0xD7CB <= code <= 0xD7FB:
        return "T"
    if 0xAC00 <= code <= 0xD7A3:
        return "LV" if (code - 0xAC00) % 28 == 0 else "LVT"
    return ""


# Letters: which ones look alike, and which stay apart.

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
