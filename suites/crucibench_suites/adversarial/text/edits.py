"""What a word could become: by one edit of its characters, or another word of a list."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crucibench.util.errors import InputError
from crucibench.util.graphemes import CYRILLIC, LOOK_ALIKES, holds_apart, is_letter
from crucibench.util.hashing import file_digest
from crucibench.util.untrusted.content import read_text
from crucibench.util.untrusted.csv_text import read_rows
from crucibench.util.untrusted.json_text import parse_json
from crucibench_suites.adversarial.text.words import plain_word

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


@lru_cache(maxsize=4)
def read_substitutions(path: Path, digest: str) -> Mapping[str, Sequence[str]]:
    """Reads a list of words and what may stand in their place, in UTF-8.

    ``.json`` holds an object from words to lists of words; ``.csv`` a word a line, and after it
    those that may replace it. The words looked for are kept as `plain_word` writes them.

    Args:
        path: of the file.
        digest: of its content, as the run knows it.

    Raises:
        InputError: if it is neither, is empty, or has changed.
    """
    name = path.name
    if not path.is_file():
        raise InputError(f"adversarial.substitutions: expected a file, and there is none: {path}")
    if file_digest(path) != digest:
        raise InputError(
            f"adversarial.substitutions: {name} was changed after the run began: begin another"
        )
    if path.suffix not in (".json", ".csv"):
        raise InputError(f"adversarial.substitutions: expected a .json or .csv file, got {name!r}")
    try:
        text = read_text(path, f"adversarial.substitutions: {name}")
        pairs = _of_json(text, name) if path.suffix == ".json" else _of_csv(text, name)
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise InputError(f"adversarial.substitutions: {name} can't be read: {error}") from error
    found: dict[str, dict[str, None]] = {}
    for word, others in pairs:
        kept = found.setdefault(plain_word(word.strip()), {})
        kept.update(dict.fromkeys(other.strip() for other in others if other.strip()))
    if not any(found.values()):
        raise InputError(f"adversarial.substitutions: {name} holds no word with another for it")
    return {word: tuple(others) for word, others in found.items() if word}


def _of_json(text: str, name: str) -> list[tuple[str, list[str]]]:
    held = parse_json(text, f"adversarial.substitutions: {name}")
    if not isinstance(held, dict):
        raise InputError(
            f"adversarial.substitutions: {name}: expected an object from words to lists of words, "
            f"got {type(held).__name__}"
        )
    for word, others in held.items():
        if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
            raise InputError(
                f"adversarial.substitutions: {name}: {word!r}: expected a list of words, "
                f"got {others!r}"
            )
    return list(held.items())


def _of_csv(text: str, name: str) -> list[tuple[str, list[str]]]:
    lines = [line for line in read_rows(text, name) if any(map(str.strip, line))]
    for number, line in enumerate(lines, 1):
        if len(line) < 2:
            raise InputError(
                f"adversarial.substitutions: {name}: line {number}: expected a word and others "
                f"for it, with commas between them, got {','.join(line)!r}"
            )
    return [(line[0], line[1:]) for line in lines]


def written_like(other: str, word: str) -> str:
    """Returns a word with the capitals of the one it stands in for: all, the first, or none."""
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[0].upper() + other[1:] if word[:1].isupper() else other


def fitting(word: str, others: Sequence[str]) -> list[str]:
    """Returns those of `others` that are another word, written like `word`."""
    made = (written_like(other, word) for other in others if plain_word(other) != plain_word(word))
    return list(dict.fromkeys(made))
