"""What a word could become by one edit of its characters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from crucibench.util.letters import CYRILLIC, LOOK_ALIKES, holds_apart, is_letter

KINDS = ("swap", "deletion", "insertion", "homoglyph")
TRIES = 2
"""Candidates of each kind, at places that are drawn."""

_SHORTEST = 3
"""Letters below which no letter is left out: what is left could be any word."""

Edit = Callable[[Sequence[str], int, int], str]
"""From a word's characters, a place and a draw to the word with an edit there, "" if there is
none."""


def character_edits(word: Sequence[str], draws: NDArray[np.uint32]) -> list[str]:
    """Returns what one edit makes of a word: at most `TRIES` of each kind, none of them the word.

    Two neighbours change places, a letter is left out (of three or more), a letter of the word
    comes in once more, or a letter becomes one of another script that looks the same. The
    transformations are those of DeepWordBug (Gao et al. 2018), but that an inserted letter is one
    of the word's own, which any script has, and look-alikes take the place of random letters.

    Args:
        word: its characters (grapheme clusters), m of them.
        draws: shape (kinds, m), which places come first and what is put there.
    """
    own = "".join(word)
    found: dict[str, None] = {}
    for edit, row in zip((_swap, _deletion, _insertion, _homoglyph), draws, strict=True):
        for made in islice(_made(edit, word, row), TRIES):
            if made != own:
                found[made] = None
    return list(found)


def _made(edit: Edit, word: Sequence[str], draws: NDArray[np.uint32]) -> Iterator[str]:
    for place in np.argsort(draws[: len(word)], kind="stable"):
        made = edit(word, int(place), int(draws[place]))
        if made:
            yield made


def _swap(word: Sequence[str], place: int, draw: int) -> str:
    if place + 1 >= len(word):
        return ""
    one, other = word[place], word[place + 1]
    if one == other or not (is_letter(one) and is_letter(other) and holds_apart(one, other)):
        return ""
    return "".join((*word[:place], other, one, *word[place + 2 :]))


def _deletion(word: Sequence[str], place: int, draw: int) -> str:
    if not is_letter(word[place]) or sum(map(is_letter, word)) < _SHORTEST:
        return ""
    return "".join((*word[:place], *word[place + 1 :]))


def _insertion(word: Sequence[str], place: int, draw: int) -> str:
    letters = [character for character in word if is_letter(character)]
    if not is_letter(word[place]):
        return ""
    more = letters[draw % len(letters)]
    if not holds_apart(word[place], more):
        return ""
    return "".join((*word[: place + 1], more, *word[place + 1 :]))


def _homoglyph(word: Sequence[str], place: int, draw: int) -> str:
    other = LOOK_ALIKES.get(word[place]) or CYRILLIC.get(word[place])
    return "".join((*word[:place], other, *word[place + 1 :])) if other else ""
