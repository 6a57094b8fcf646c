"""Perturbations of single characters: typing, reading by machine, look-alikes and capitals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from crucibench.util.graphemes import CYRILLIC, LOOK_ALIKES, holds_apart, is_letter
from crucibench_suites.shift.corruptions.text_edits import (
    Edit,
    EditCandidates,
    Words,
    by_edits,
    word_spans,
)

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")

_CONFUSED: Mapping[str, tuple[str, ...]] = {
    "O": ("0", "Q"), "o": ("0", "c"), "l": ("1", "I"), "I": ("l", "1"), "i": ("l", "j"),
    "S": ("5",), "s": ("5",), "B": ("8",), "b": ("6", "h"), "g": ("9", "q"), "q": ("g",),
    "Z": ("2",), "z": ("2",), "G": ("6",), "D": ("O",), "e": ("c",), "c": ("e",), "u": ("v",),
    "v": ("u",), "m": ("rn",), "w": ("vv",), "d": ("cl",), "h": ("b",), "t": ("f",), "f": ("t",),
    "n": ("ri",), "U": ("V",), "V": ("U",), "E": ("F",), "F": ("E",), "a": ("o",), "y": ("v",),
}  # fmt: skip
"""What scanners take letters for; two letters are read as one, too (`_JOINED`)."""

_JOINED: Mapping[str, str] = {"rn": "m", "vv": "w", "cl": "d", "ri": "n", "li": "h"}


@by_edits
def keyboard_typo(characters: Sequence[str], choices: Words) -> EditCandidates:
    """A Latin letter becomes one beside it on a QWERTY keyboard."""
    edits = []
    for place, character in enumerate(characters):
        near = NEIGHBOURS.get(character.lower())
        if near and character.isascii():
            typed = near[int(choices[place]) % len(near)]
            edits.append(
                Edit(place, place + 1, typed.upper() if character.isupper() else typed)
            )  # fmt: skip
    return _by_letter(characters, edits)


@by_edits
def letter_swap(characters: Sequence[str], choices: Words) -> EditCandidates:
    """Two unlike neighbours within a word change places."""
    edits = [
        Edit(place, place + 2, characters[place + 1] + characters[place])
        for start, stop in word_spans(characters)
        for place, after in pairwise(range(start, stop))
        if characters[place] != characters[after]
        and is_letter(characters[place])
        and is_letter(characters[after])
        and holds_apart(characters[place], characters[after])
    ]
    return _by_letter(characters, edits)


@by_edits
def letter_deletion(characters: Sequence[str], choices: Words) -> EditCandidates:
    """A letter of a word of three letters or more is left out."""
    edits = []
    for start, stop in word_spans(characters):
        letters = [place for place in range(start, stop) if is_letter(characters[place])]
        if len(letters) >= 3:
            edits += [Edit(place, place + 1, "") for place in letters]
    return _by_letter(characters, edits)


@by_edits
def letter_insertion(characters: Sequence[str], choices: Words) -> EditCandidates:
    """A letter of the same word comes in once more, after another."""
    edits = []
    for start, stop in word_spans(characters):
        letters = [place for place in range(start, stop) if is_letter(characters[place])]
        for place in letters:
            more = characters[letters[int(choices[place]) % len(letters)]]
            if holds_apart(characters[place], more):
                edits.append(Edit(place, place + 1, characters[place] + more))
    return _by_letter(characters, edits)


@by_edits
def ocr_confusion(characters: Sequence[str], choices: Words) -> EditCandidates:
    """Letters become what a scanner may take them for; digits are left alone."""
    edits = []
    for place, character in enumerate(characters):
        pair = "".join(characters[place : place + 2])
        if pair in _JOINED and int(choices[place]) % 2:
            edits.append(Edit(place, place + 2, _JOINED[pair]))
        elif character in _CONFUSED:
            read = _CONFUSED[character]
            edits.append(Edit(place, place + 1, read[int(choices[place] >> 1) % len(read)]))
    return _by_letter(characters, edits)


@by_edits
def homoglyph(characters: Sequence[str], choices: Words) -> EditCandidates:
    """A letter becomes one of another script that looks the same.

    In a text without Cyrillic and Greek letters `CYRILLIC` takes it back.
    """
    either = {**LOOK_ALIKES, **CYRILLIC}
    edits = [
        Edit(place, place + 1, either[character])
        for place, character in enumerate(characters)
        if character in either
    ]
    return EditCandidates(edits, _letters(characters))


@by_edits
def casing(characters: Sequence[str], choices: Words) -> EditCandidates:
    """A letter changes from small to capital or back.

    Only where that can be taken back: swapping the case again gives the letter that was there.
    """
    edits = [
        Edit(place, place + 1, character.swapcase())
        for place, character in enumerate(characters)
        if character.swapcase() != character
        and character.swapcase().swapcase() == character
        and len(character.swapcase()) == len(character)
    ]
    return EditCandidates(edits, _letters(characters))


def _neighbours() -> dict[str, str]:
    """Returns the keys beside each key, a row being set off by half a key from the one above."""
    found: dict[str, str] = {}
    for number, row in enumerate(_ROWS):
        for place, key in enumerate(row):
            near = [(number, place - 1), (number, place + 1), (number - 1, place)]
            near += [(number - 1, place + 1), (number + 1, place - 1), (number + 1, place)]
            found[key] = "".join(
                _ROWS[up][across]
                for up, across in near
                if 0 <= up < len(_ROWS) and 0 <= across < len(_ROWS[up])
            )
    return found


NEIGHBOURS = _neighbours()
"""Each key of the letters of a QWERTY keyboard to those beside it."""


def _letters(characters: Sequence[str]) -> int:
    return sum(not character.isspace() for character in characters)


def _by_letter(characters: Sequence[str], edits: list[Edit]) -> EditCandidates:
    return EditCandidates(edits, _letters(characters), by_letter=True)
