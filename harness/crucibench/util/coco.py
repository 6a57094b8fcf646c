"""COCO's two files: annotations, and the results of a detector on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from crucibench.util.errors import InputError
from crucibench.util.untrusted.json_text import read_json

_BYTES_AT_MOST = 2 << 30
_VALUES_AT_MOST = 200_000_000
"""COCO's own training set has about 0.5 GB, and 40 million values, most of them polygons."""

_CORNERS = 10
"""So many times more boxes lie outside than would as corners: they are corners."""
_SLACK = 1.0
"""Pixels by which a box may reach beyond its image: annotators round."""

CROWD, IGNORED = 1.0, 2.0

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Image:
    """An image's entry: its name, size in pixels, and all its fields."""

    file: str
    width: float
    height: float
    fields: Mapping[str, Any]


Placed = tuple[Image, Box, str]
"""A box with its image, and what messages call it."""


@dataclass(frozen=True)
class Annotations:
    """What an annotation file says.

    Attributes:
        images: by id, in the order of ids.
        categories: names by id, in the order of ids.
        objects: by image id: left, top, width, height, category's place, area, and 1 for a crowd,
            2 for what is ignored, else 0.
        fields: by image id: what is written of each object, in the same order.
    """

    images: Mapping[int | str, Image]
    categories: Mapping[int | str, str]
    objects: Mapping[int | str, Sequence[tuple[float, ...]]]
    fields: Mapping[int | str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @cached_property
    def places(self) -> Mapping[int | str, int]:
        """The place of each category id among the classes."""
        return {category: place for place, category in enumerate(self.categories)}


def read_annotations(path: Path) -> Annotations:
    """Reads a file of COCO annotations.

    Raises:
        InputError: if it is none, or an entry can't be meant; names the first.
    """
    name = path.name
    found = read_json(path, name, most=_BYTES_AT_MOST, values=_VALUES_AT_MOST)
    lists = {
        key: _entries(found.get(key) if isinstance(found, dict) else None, f"{name}: {key}")
        for key in ("images", "categories", "annotations")
    }
    images = _by_id(lists["images"], f"{name}: image")
    categories = _by_id(lists["categories"], f"{name}: category")
    names = {key: str(entry.get("name", key)) for key, entry in categories.items()}
    if len(set(names.values())) < len(names):
        raise InputError(f"{name}: two categories have the same name")
    sized = {key: _image(entry, key, name) for key, entry in images.items()}
    places = {category: place for place, category in enumerate(names)}
    objects: dict[int | str, list[tuple[float, ...]]] = {key: [] for key in sized}
    fields: dict[int | str, list[Mapping[str, Any]]] = {key: [] for key in sized}
    boxes: list[Placed] = []
    for at, entry in enumerate(lists["annotations"]):
        what = f"{name}: annotation {entry.get('id', at)}"
        image = _known(entry, "image_id", sized, what, "image")
        place = places[_known(entry, "category_id", places, what, "category")]
        box = _box(entry, what)
        boxes.append((sized[image], box, what))
        area = _number(entry.get("area", box[2] * box[3]), f"{what}: area")
        flag = CROWD if entry.get("iscrowd") else IGNORED if entry.get("ignore") else 0.0
        objects[image].append((*box, float(place), area, flag))
        more = entry.get("attributes")
        fields[image].append({**entry, **(more if isinstance(more, dict) else {})})
    require_inside(boxes)
    return Annotations(sized, names, objects, fields)


@dataclass(frozen=True)
class Result:
    """A detection: (left, top, right, bottom), the category's place, and the score."""

    box: Box
    place: int
    score: float


def read_results(path: Path, known: Annotations) -> dict[int | str, list[Result]]:
    """Reads a detector's results, a list of image_id, category_id, bbox and score.

    Args:
        path: of the file.
        known: the annotations that it goes with.

    Returns:
        The detections of each image, none for one that the file does not name.

    Raises:
        InputError: if it is none, or an entry can't be meant; names the first.
    """
    name = path.name
    entries = _entries(read_json(path, name, most=_BYTES_AT_MOST, values=_VALUES_AT_MOST), name)
    found: dict[int | str, list[Result]] = {key: [] for key in known.images}
    boxes: list[Placed] = []
    strange = [one for one in entries if one.get("image_id") not in known.images]
    if strange:
        count = len({str(one.get("image_id")) for one in strange})
        raise InputError(
            f"{name}: {len(strange)} of {len(entries)} predictions are for {count} images that "
            f"the data does not hold, e.g. image_id {strange[0].get('image_id')!r}"
        )
    for at, entry in enumerate(entries):
        what = f"{name}: prediction {at}"
        place = known.places[_known(entry, "category_id", known.places, what, "category")]
        box = _box(entry, what)
        score = _number(entry.get("score"), f"{what}: score")
        left, top, width, height = box
        image = entry["image_id"]
        boxes.append((known.images[image], box, what))
        found[image].append(Result((left, top, left + width, top + height), place, score))
    _refuse_corners(boxes)
    return found


def _entries(found: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{what}: expected a list of objects, got {type(found).__name__}")
    return found


def _by_id(entries: Sequence[Mapping[str, Any]], what: str) -> dict[int | str, Mapping[str, Any]]:
    found: dict[int | str, Mapping[str, Any]] = {}
    for entry in entries:
        key = entry.get("id")
        if not isinstance(key, int | str):
            raise InputError(f"{what}: expected an id, a whole number or text, got {key!r}")
        if key in found:
            raise InputError(f"{what} id {key!r} is there twice")
        found[key] = entry
    return dict(sorted(found.items(), key=lambda one: (isinstance(one[0], str), one[0])))


def _image(entry: Mapping[str, Any], key: int | str, name: str) -> Image:
    size = [entry.get(side) for side in ("width", "height")]
    for side in size:
        if isinstance(side, bool) or not isinstance(side, int | float) or not side > 0:
            raise InputError(
                f"{name}: image {key!r} has no size: expected width and height in pixels, got "
                f"{size[0]!r} and {size[1]!r}"
            )
    width, height = (float(side or 0) for side in size)
    return Image(str(entry.get("file_name", key)), width, height, entry)


def _known(
    entry: Mapping[str, Any], field: str, known: Mapping[int | str, Any], what: str, kind: str
) -> int | str:
    key = entry.get(field)
    if not isinstance(key, int | str) or key not in known:
        some = ", ".join(map(str, list(known)[:5])) + (", ..." if len(known) > 5 else "")
        raise InputError(f"{what}: {field} {key!r} is no {kind} of the data (known: {some})")
    return key


def _number(found: Any, what: str) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise InputError(f"{what}: expected a finite number, got {found!r}")
    return float(found)


def _box(entry: Mapping[str, Any], what: str) -> Box:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{what}: bbox: expected [left, top, width, height], got {box!r}")
    left, top, width, height = (_number(one, f"{what}: bbox") for one in box)
    if width < 0 or height < 0:
        raise InputError(
            f"{what}: bbox {box} has a negative size: expected left, top, width, height"
        )
    return left, top, width, height


def _outside(image: Image, box: Box) -> bool:
    left, top, width, height = box
    return (
        min(left, top) < -_SLACK
        or left + width > image.width + _SLACK
        or top + height > image.height + _SLACK
    )


def _refuse_corners(boxes: Sequence[Placed]) -> list[Placed]:
    """Refuses boxes of which few would reach beyond their images if they were corners.

    A detector's boxes may reach beyond: as corners a tenth as many must, or none.

    Returns:
        Those that reach beyond, for whatever reason.
    """
    outside = [one for one in boxes if _outside(one[0], one[1])]
    wrong = sum(
        right < left or bottom < top
        or _outside(image, (left, top, right - left, bottom - top))
        for image, (left, top, right, bottom), _ in boxes
    )  # fmt: skip
    if outside and _CORNERS * wrong <= len(outside):
        image, box, what = outside[0]
        inside = "all boxes of the file lie" if not wrong else f"all but {wrong} boxes lie"
        raise InputError(
            f"{what}: bbox {list(box)} lies outside its image of {image.width:g} x "
            f"{image.height:g} pixels as left, top, width, height, as do {len(outside)} of "
            f"{len(boxes)}, and {inside} inside as left, top, right, bottom: write width and height"
        )
    return outside


def require_inside(boxes: Sequence[Placed]) -> None:
    """Checks that objects lie inside their images, give or take a pixel.

    Raises:
        InputError: if one does not; says where the likely cause is that corners were written.
    """
    outside = _refuse_corners(boxes)
    if not outside:
        return
    image, box, what = outside[0]
    raise InputError(
        f"{what}: bbox {list(box)} lies outside its image of {image.width:g} x {image.height:g} "
        f"pixels, as do {len(outside)} of {len(boxes)} (left, top, width, height)"
    )
