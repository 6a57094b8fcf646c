"""The labels of a folder of images from a file beside it, as validation sets have them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crucibench.contracts.source import LeftOut
from crucibench.data.bad_samples import Tally, together
from crucibench.data.class_names import ClassNames
from crucibench.data.image_tree import ImageFile, ImageTree
from crucibench.util.errors import InputError

_HEADERS = frozenset({"label", "class", "target", "y", "synset", "predictionstring"})


def label_images(
    tree: ImageTree, file: Path, classes: ClassNames | None
) -> tuple[ImageTree, ClassNames]:
    """Returns a flat folder's images with the labels of a file, and their classes.

    The file has a line per image: ``FILE LABEL`` (a comma, a tab or blanks between them; a header
    may stand first; ImageNet's ``LOC_val_solution.csv`` is read, too), or just the label, the
    images in the order of their names. A label is a class's folder name, its name or its index: a
    number. Indices count from 0, or from 1 where all classes are there and none is 0.

    Args:
        tree: of a folder without classes.
        file: the labels.
        classes: those there are; None takes the labels that occur, sorted.

    Raises:
        InputError: if the file can't be read, does not fit the images, or holds other labels.
    """
    labels, notes, tally = _by_image(tree.roles["test"], _rows(file), file.name)
    found = sorted(set(labels.values()))
    if not found:
        raise InputError(f"option labels: {file.name} has no label for any image of the folder")
    classes = classes or ClassNames.of(_sorted(found))
    keys = _keys(found, classes, file.name)
    if any(keys[label] != label for label in found) and min(map(_number, found)) == 1:
        notes = (*notes, f"the labels in {file.name} are taken to count from 1")
    images = [
        replace(image, label=keys[labels[image.name]])
        for image in tree.roles["test"]
        if image.name in labels
    ]
    left_out = together(tree.left_out.get("test", LeftOut()), tally.left_out())
    labelled = replace(
        tree,
        roles={"test": images},
        labels=classes.keys,
        notes=(*tree.notes, *notes),
        left_out={"test": left_out},
    )
    return labelled, classes


def _rows(file: Path) -> list[list[str]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"option labels: {file.name} can't be read: {error}") from None
    lines = [line for line in lines if line.strip()]
    if any("," in line for line in lines[:2]):
        rows = [row[:2] for row in csv.reader(lines)]
    else:
        rows = [line.split("\t" if "\t" in line else None, 1) for line in lines]
    return [[value.strip() for value in row] for row in rows]


def _by_image(
    images: Sequence[ImageFile], rows: list[list[str]], name: str
) -> tuple[dict[str, str], tuple[str, ...], Tally]:
    """Returns each image's label by its name, what a reader must know, and what has no label."""
    tally = Tally()
    if all(len(row) == 1 for row in rows):
        if len(rows) != len(images):
            raise InputError(
                f"option labels: {name} has {len(rows):,} labels for {len(images):,} images"
            )
        in_order = (f"labels are matched to images in the order of their names ({name})",)
        return (
            {image.name: row[0] for image, row in zip(images, rows, strict=True)},
            in_order,
            tally,
        )
    if any(len(row) != 2 for row in rows):
        raise InputError(f"option labels: {name}: expected FILE LABEL, or LABEL, in every line")
    if rows[0][1].lower() in _HEADERS:
        solution = rows[0][1].lower() == "predictionstring"
        rows = [[file, label.split()[0] if solution else label] for file, label in rows[1:]]
    said = {file: label for file, label in rows if label}
    labels: dict[str, str] = {}
    used: set[str] = set()
    for image in images:
        path = Path(image.name)
        spelled = (image.name, path.name, path.with_suffix("").as_posix(), path.stem)
        key = next((one for one in spelled if one in said), None)
        if key is None:
            tally.add("no label", f"image {image.name!r} has no label in {name}")
        else:
            used.add(key)
            labels[image.name] = said[key]
    lost = len(said) - len(used)
    verb = "label has" if lost == 1 else "labels have"
    notes = (f"{lost:,} {verb} no image ({name})",) if lost else ()
    return labels, notes, tally


def _keys(found: Sequence[str], classes: ClassNames, name: str) -> dict[str, str]:
    """Returns the key of the class that each label means."""
    places = classes.places()
    if all(label in places for label in found):
        return {label: classes.keys[places[label]] for label in found}
    count = len(classes.keys)
    numbers = [_number(label) for label in found]
    stray = next(label for label in found if label not in places)
    if min(numbers) < 0 or max(numbers) > count:
        raise InputError(
            f"option labels: {name} holds {stray!r}, which is neither one of the {count} classes "
            f"({', '.join(classes.names[:5])}{', ...' if count > 5 else ''}) nor an index of one"
        )
    first = 1 if max(numbers) == count else 0
    if min(numbers) < first:
        raise InputError(
            f"option labels: {name} holds both 0 and {count}: expected indices 0 to {count - 1} or "
            f"1 to {count}"
        )
    if first == 0 and min(numbers) > 0:
        raise InputError(
            f"option labels: {name} holds the indices {min(numbers)} to {max(numbers)} of {count} "
            "classes: do they count from 0 or from 1? Write the classes' names instead"
        )
    return {label: classes.keys[int(label) - first] for label in found}


def _number(label: str) -> int:
    return int(label) if label.isdecimal() else -1


def _sorted(labels: Sequence[str]) -> list[str]:
    return sorted(labels, key=lambda label: (_number(label), label))
