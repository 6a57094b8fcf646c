"""Words for words: lists that a user gives, and how a new word is written."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digest
from crucibench_suites.adversarial.text.stop_words import plain_word


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
        text = path.read_text(encoding="utf-8-sig")
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
    held: Any = json.loads(text)
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
    lines = [line for line in csv.reader(text.splitlines()) if any(map(str.strip, line))]
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
