"""`voc:DIR`: Pascal VOC, an XML file an image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

from crucibench.contracts.uri import URI
from crucibench.data.sources.boxes import COMMON, BoxSource, Listed, chosen_split
from crucibench.util.coco import IGNORED, Annotations, Image, Placed, require_inside
from crucibench.util.errors import InputError
from crucibench.util.untrusted.content import read_text
from crucibench.util.untrusted.xml_text import read_xml


class VocSource(BoxSource):
    """Reads ``Annotations/NAME.xml`` and ``JPEGImages``, and lists in ``ImageSets/Main``.

    Boxes name pixels, counted from 1, the last ones inside: ``xmin`` 1 and ``xmax`` 10 make a box
    from 0 to 10. Objects that are ``difficult`` don't count. Fields of an image are those at the
    top of its file that hold text, such as ``folder``. ``split`` names the list that is the test
    set; by default ``test``, or what stands in for it; without lists it is all images. Lists by
    class, as ``cat_test``, are passed over.
    """

    options: ClassVar[tuple[str, ...]] = ("split", "object_groups", *COMMON)

    @classmethod
    def listed(cls, uri: URI, base: Path) -> Listed:
        """Returns the annotations and images of the split."""
        root = (base / Path(uri.rest).expanduser()).resolve()
        files = {one.stem: one for one in sorted((root / "Annotations").glob("*.xml"))}
        if not files:
            raise InputError(f"voc:{uri.rest}: there is no XML file in its folder Annotations")
        lists = {one.stem: one for one in sorted((root / "ImageSets" / "Main").glob("*.txt"))
                 if "_" not in one.stem}  # fmt: skip
        notes: tuple[str, ...] = ()
        chosen: list[Path] = []
        if lists or "split" in uri.query:
            split, notes = chosen_split(list(lists), uri.query.get("split", ""), f"voc:{uri.rest}")
            chosen = [lists[split]]
            names = read_text(lists[split], lists[split].name).split()
            if missing := [name for name in names if name not in files]:
                raise InputError(f"{lists[split].name}: {missing[0]!r} has no annotations")
            files = {name: files[name] for name in sorted(set(names))}
        images = {one.stem: one for one in sorted((root / "JPEGImages").iterdir())}
        if missing := [name for name in files if name not in images]:
            raise InputError(
                f"voc:{uri.rest}: {len(missing)} of {len(files)} images are not in JPEGImages, "
                f"e.g. {missing[0]!r}"
            )
        return Listed([images[name] for name in files], (*chosen, *files.values()), notes)

    @classmethod
    def annotations(cls, uri: URI, base: Path, listed: Listed) -> Annotations:
        """Reads the files; classes are the names that occur, in alphabetical order."""
        images: dict[int | str, Image] = {}
        found: dict[int | str, list[tuple[str, tuple[float, ...]]]] = {}
        written: dict[int | str, list[dict[str, str | None]]] = {}
        placed: list[Placed] = []
        files = [one for one in listed.beside if one.suffix == ".xml"]
        for file, picture in zip(files, listed.images, strict=True):
            tree = read_xml(file, file.name)
            width, height = (_number(tree, f"size/{side}", file.name) for side in
                             ("width", "height"))  # fmt: skip
            if width <= 0 or height <= 0:
                raise InputError(f"{file.name}: the image has no size, got {width:g} x {height:g}")
            fields = {one.tag: one.text for one in tree if one.text and one.text.strip()}
            images[file.stem] = Image(picture.name, width, height, fields)
            found[file.stem], written[file.stem] = [], []
            for at, entry in enumerate(tree.iter("object")):
                what = f"{file.name}: object {at}"
                left, top, right, bottom = (
                    _number(entry, f"bndbox/{end}", what)
                    for end in ("xmin", "ymin", "xmax", "ymax")
                )
                box = (left - 1, top - 1, right - left + 1, bottom - top + 1)
                if box[2] < 0 or box[3] < 0:
                    raise InputError(f"{what}: bndbox ends before it begins")
                flag = IGNORED if (entry.findtext("difficult") or "").strip() == "1" else 0.0
                placed.append((images[file.stem], box, what))
                label = (entry.findtext("name") or "").strip()
                if not label:
                    raise InputError(f"{what}: it has no name")
                found[file.stem].append((label, (*box, box[2] * box[3], flag)))
                written[file.stem].append({one.tag: one.text for one in entry if not len(one)})
        require_inside(placed)
        names = sorted({label for objects in found.values() for label, _ in objects})
        places = {label: float(at) for at, label in enumerate(names)}
        objects = {
            key: [(*one[:4], places[label], *one[4:]) for label, one in entries]
            for key, entries in found.items()
        }
        return Annotations(images, dict(enumerate(names)), objects, written)


def _number(tree: Any, path: str, what: str) -> float:
    text = tree.findtext(path)
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{what}: {path}: expected a number, got {text!r}")
    return number
