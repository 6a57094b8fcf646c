"""`imagenet-c:DIR?corruption=NAME&severity=N`: corrupted images as ImageNet-C publishes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.data.class_names import (
    ClassNames,
    class_file,
    mapping_above,
    read_class_file,
)
from crucibench.data.image_folders import (
    ImageTree,
    folders,
    image_roots,
    read_images,
    scan_classes,
)
from crucibench.data.options import SPLIT, DataOptions
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

OPTIONS = ("corruption", "severity", "classes", "links", *SPLIT)

_SEVERITIES = ("1", "2", "3", "4", "5")


class ImageNetCSource(DataSource):
    """Reads ``DIR/CORRUPTION/SEVERITY/CLASS/FILE`` (Hendrycks and Dietterich, 2019).

    The archives' own folders (``noise``, ``blur``, ...) may stand above the corruptions.
    ImageNet-C-bar and Tiny ImageNet-C have this form, too. Classes are named as in ``imagefolder``.
    """

    options: ClassVar[tuple[str, ...]] = OPTIONS

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the images and the file that names their classes."""
        tree, _, _, beside = _open(uri, base)
        return Sources((*tree.files, *beside))

    @classmethod
    def parts(cls, uri: URI, base: Path) -> Mapping[str, URI]:
        """Returns every corruption and severity as ``CORRUPTION/SEVERITY``."""
        return {
            f"{corruption}/{level.name}": replace(
                uri, query={**uri.query, "corruption": corruption, "severity": level.name}
            )
            for corruption, folder in sorted(_corruptions(uri, base).items())
            for level in folders(folder)
            if uri.query.get("corruption", corruption) == corruption
            and uri.query.get("severity", level.name) == level.name
        }

    def read(self, opening: DataOpening) -> RawData:
        """Reads the images' bytes."""
        tree, classes, options, beside = _open(opening.uri, opening.base)
        return read_images(tree, classes, opening, options, beside)


def _open(uri: URI, base: Path) -> tuple[ImageTree, ClassNames, DataOptions, tuple[Path, ...]]:
    listed, file = class_file(uri, base)
    options = DataOptions.parse(listed, *OPTIONS)
    folder, corruption, severity = _folder(uri, base)
    tree = scan_classes(uri.rest, [folder], links=uri.flag("links"))
    tree = replace(tree, notes=(*tree.notes, f"corrupted: {corruption}, severity {severity}"))
    file = file or mapping_above(folder)
    if file is None:
        classes = ClassNames.of(options.classes or tree.labels)
    else:
        classes = read_class_file(file)
    if stray := [label for label in tree.labels if label not in classes.places()]:
        raise InputError(f"classes: there is a folder {stray[0]!r}, which is not among them")
    if file is not None and "classes" not in uri.query:
        # The classes of a mapping that was merely found are those that are there.
        places = classes.places()
        classes = ClassNames.of(tree.labels, [classes.names[places[key]] for key in tree.labels])
    return tree, classes, options, (file,) if file else ()


def _corruptions(uri: URI, base: Path) -> dict[str, Path]:
    """Returns the folder of each corruption."""
    (root, *_) = image_roots(uri.rest, base)
    there = {
        folder.name: folder
        for parent in (root, *folders(root))
        for folder in folders(parent)
        if (set(_SEVERITIES) & {inner.name for inner in folders(folder)})
    }
    if not there:
        raise InputError(
            f"imagenet-c: {uri.rest!r} holds no corruptions: expected "
            "DIR/CORRUPTION/SEVERITY/CLASS/FILE"
        )
    return there


def _folder(uri: URI, base: Path) -> tuple[Path, str, str]:
    """Returns the folder of a corruption and severity, and the two."""
    there = _corruptions(uri, base)
    corruption, severity = uri.query.get("corruption", ""), uri.query.get("severity", "")
    if corruption not in there:
        if not corruption:
            raise InputError(
                "imagenet-c: option corruption is missing: expected one of "
                f"{', '.join(sorted(there))}"
            )
        raise InputError(unknown("corruption", corruption, there))
    levels = [folder.name for folder in folders(there[corruption])]
    if severity not in levels:
        got = f"got {severity!r}" if severity else "got none"
        raise InputError(f"imagenet-c: option severity: expected one of {', '.join(levels)}, {got}")
    return there[corruption] / severity, corruption, severity
