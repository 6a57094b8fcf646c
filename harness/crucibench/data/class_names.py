"""Class names and their order from a file: the labels of ImageNet, or one name a line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crucibench.contracts.uri import URI, existing_file
from crucibench.util.errors import InputError
from crucibench.util.untrusted.content import read_text
from crucibench.util.untrusted.json_text import parse_json

SYNSET = re.compile(r"n\d{8}")
"""WordNet's number of a noun, as ImageNet calls its classes and its folders."""

MAPPING = "LOC_synset_mapping.txt"
"""ImageNet's file of its classes, as its competition on Kaggle has it."""

_FILES = frozenset({".txt", ".csv", ".tsv", ".json", ".names"})
_ABOVE = 4
"""Kaggle's mapping lies above ``ILSVRC/Data/CLS-LOC/val``."""


@dataclass(frozen=True)
class ClassNames:
    """Classes in index order.

    Attributes:
        keys: what folders and labels call them.
        names: what people do; each once.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, keys: Sequence[str], names: Sequence[str] | None = None) -> ClassNames:
        """Returns classes; equal names get their keys behind them."""
        shown = list(keys if names is None else names)
        counts = Counter(shown)
        distinct = [
            name if counts[name] == 1 else f"{name} ({key})"
            for key, name in zip(keys, shown, strict=True)
        ]
        return cls(tuple(keys), tuple(distinct))

    def places(self) -> dict[str, int]:
        """Returns the index of each class by its key and by its name."""
        places = {name: index for index, name in enumerate(self.names)}
        return places | {key: index for index, key in enumerate(self.keys)}


def class_file(uri: URI, base: Path) -> tuple[URI, Path | None]:
    """Returns the file that option ``classes`` names, if it names one, and the address without it.

    Raises:
        InputError: if the file does not exist.
    """
    value = uri.query.get("classes", "")
    if "," in value or Path(value).suffix.lower() not in _FILES:
        return uri, None
    rest = {key: other for key, other in uri.query.items() if key != "classes"}
    return replace(uri, query=rest), existing_file(base, value, "option classes: file")


def mapping_above(folder: Path) -> Path | None:
    """Returns ImageNet's mapping from `folder`, or from a folder that it lies in."""
    for place in (folder, *folder.parents[:_ABOVE]):
        if (place / MAPPING).is_file():
            return place / MAPPING
    return None


def read_class_file(path: Path) -> ClassNames:
    """Reads classes in the order of their indices.

    A line is ``n01440764 tench, Tinca tinca`` (the first name counts), or just a name. A JSON file
    is a list of names, or ``{"0": ["n01440764", "tench"], ...}``.

    Raises:
        InputError: if it is neither, or has fewer than 2 classes.
    """
    name = f"option classes: {path.name}"
    text = read_text(path, name)
    try:
        listed = path.suffix.lower() == ".json"
        classes = _from_json(parse_json(text, name)) if listed else _from_lines(text)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"option classes: {path.name} can't be read: {error}") from None
    repeated = [key for key, count in Counter(classes.keys).items() if count > 1]
    if len(classes.keys) < 2 or repeated:
        got = f"{repeated[0]!r} twice" if repeated else f"{len(classes.keys)}"
        raise InputError(
            f"option classes: {path.name}: expected at least 2 different names, got {got}"
        )
    return classes


def _from_lines(text: str) -> ClassNames:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    parted = [re.split(r"[\s,]+", line, maxsplit=1) for line in lines]
    if all(SYNSET.fullmatch(parts[0]) for parts in parted):
        names = [parts[1].partition(",")[0].strip() if len(parts) > 1 else "" for parts in parted]
        keys = [parts[0] for parts in parted]
        return ClassNames.of(keys, [name or key for key, name in zip(keys, names, strict=True)])
    return ClassNames.of(lines)


def _from_json(content: Any) -> ClassNames:
    if isinstance(content, list):
        return ClassNames.of([str(name) for name in content])
    rows = [content[str(index)] for index in range(len(content))]
    if all(isinstance(row, str) for row in rows):
        return ClassNames.of(rows)
    return ClassNames.of([str(row[0]) for row in rows], [str(row[1]) for row in rows])
