"""`yolo:DIR`: images, and beside each a text file with a line an object."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

from crucibench.contracts.uri import URI
from crucibench.data.sources.boxes import COMMON, BoxSource, Listed, chosen_split
from crucibench.util.coco import Annotations, Image, Placed, require_inside
from crucibench.util.errors import InputError
from crucibench.util.untrusted.content import read_content, read_text
from crucibench.util.untrusted.images import BYTES_AT_MOST, open_image
from crucibench.util.untrusted.yaml_text import read_yaml

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_ORIENTATION, _ON_ITS_SIDE = 0x0112, range(5, 9)
"""EXIF: images that are turned by a quarter when they are shown, and decoded here."""


class YoloSource(BoxSource):
    """Reads ``DIR/images`` and ``DIR/labels``, or both of ``DIR/SPLIT``, or ``DIR/images/SPLIT``.

    A line holds class index, middle across and down, width and height, the last four as shares of
    the image's sides. An image without a file of labels has no objects. ``data.yaml`` or
    ``classes.txt`` names the classes. ``split`` says which split is the test set; by default it is
    ``test``, or what stands in for it.
    """

    options: ClassVar[tuple[str, ...]] = ("split", *COMMON)

    @classmethod
    def listed(cls, uri: URI, base: Path) -> Listed:
        """Returns the images of the split, their labels, and what names the classes."""
        root = (base / Path(uri.rest).expanduser()).resolve()
        folders = _splits(root)
        if not folders:
            raise InputError(f"yolo:{uri.rest}: expected a folder with images and labels")
        name, notes = "", tuple[str, ...]()
        if list(folders) != [""]:
            name, notes = chosen_split(
                list(folders), uri.query.get("split", ""), f"yolo:{uri.rest}"
            )
        elif "split" in uri.query:
            raise InputError(f"yolo:{uri.rest} has no splits")
        folder = folders[name]
        images = sorted(one for one in folder.rglob("*") if one.suffix.lower() in _IMAGES)
        if not images:
            raise InputError(f"yolo:{uri.rest}: there is no image in {str(folder)!r}")
        labels = [label for one in images if (label := _label(one)).is_file()]
        named = [root / one for one in (*_NAMES, "classes.txt") if (root / one).is_file()][:1]
        if not named:
            raise InputError(
                f"yolo:{uri.rest}: expected {_NAMES[0]} or classes.txt to name classes"
            )
        return Listed(images, (*named, *labels), notes)

    @classmethod
    def annotations(cls, uri: URI, base: Path, listed: Listed) -> Annotations:
        """Reads the labels, and the sizes of the images."""
        root = (base / Path(uri.rest).expanduser()).resolve()
        names = _names(listed.beside[0])
        images: dict[int | str, Image] = {}
        objects: dict[int | str, list[tuple[float, ...]]] = {}
        placed: list[Placed] = []
        for file in listed.images:
            key = file.relative_to(root).as_posix()
            picture = open_image(read_content(file, key, BYTES_AT_MOST), key)
            width, height = (float(side) for side in picture.size)
            if picture.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
                width, height = height, width
            images[key] = Image(key, width, height, {})
            label = _label(file)
            text = read_text(label, label.name) if label.is_file() else ""
            objects[key] = []
            for number, line in enumerate(text.splitlines(), start=1):
                if not line.strip():
                    continue
                what = f"{label.relative_to(root).as_posix()}, line {number}"
                place, x, y, w, h = _line(line, len(names), what)
                box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
                placed.append((images[key], box, what))
                objects[key].append((*box, float(place), box[2] * box[3], 0.0))
        require_inside(placed)
        return Annotations(images, dict(enumerate(names)), objects)


def _splits(root: Path) -> dict[str, Path]:
    """Returns the folders of images by split; "" where there is one folder without a name."""
    inside = sorted(one for one in root.glob("images/*") if one.is_dir())
    if inside:
        return {one.name: one for one in inside}
    if (root / "images").is_dir():
        return {"": root / "images"}
    return {one.parent.name: one for one in sorted(root.glob("*/images")) if one.is_dir()}


def _label(image: Path) -> Path:
    """Returns the file of labels of an image: the last folder ``images`` is ``labels`` there."""
    parts = list(image.parts)
    at = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:at], "labels", *parts[at + 1 :]).with_suffix(".txt")


def _names(file: Path) -> list[str]:
    if file.suffix == ".txt":
        names: Any = read_text(file, file.name).split("\n")
        return [name.strip() for name in names if name.strip()]
    found = read_yaml(file)
    names = found.get("names") if isinstance(found, dict) else None
    if isinstance(names, dict) and list(names) == list(range(len(names))):
        names = list(names.values())
    if not isinstance(names, list) or not names:
        raise InputError(f"{file.name}: names: expected the classes, in the order of their indices")
    return [str(name) for name in names]


def _line(line: str, classes: int, what: str) -> tuple[int, float, float, float, float]:
    expected = f"{what}: expected class, x, y, width and height as shares of the image's sides"
    parts = line.split()
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise InputError(f"{expected}, got {line.strip()!r}") from None
    if len(numbers) != 5 or not all(map(math.isfinite, numbers)):
        raise InputError(f"{expected}, got {line.strip()!r}")
    place, x, y, w, h = numbers
    if place % 1 or not 0 <= place < classes:
        raise InputError(f"{what}: class {parts[0]} is none of the {classes} that are named")
    if max(x, y, w, h) > 1.5:
        raise InputError(f"{expected}, got {line.strip()!r}: are they pixels?")
    if w < 0 or h < 0:
        raise InputError(f"{expected}, got a negative size: {line.strip()!r}")
    return int(place), x, y, w, h
