"""`imagefolder:DIR`: a folder of images per class, or one folder and a file of labels."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, Labels, LeftOut, RawData
from crucibench.contracts.uri import URI, existing_file
from crucibench.data.bad_samples import BadSampleTally, joined
from crucibench.data.class_names import (
    SYNSET,
    ClassNames,
    class_file,
    mapping_above,
    read_class_file,
)
from crucibench.data.image_folders import (
    ImageFile,
    ImageTree,
    NoClassesError,
    image_roots,
    read_images,
    scan_classes,
    scan_flat,
    scan_unlabelled,
)
from crucibench.data.options import SPLIT, DataOptions
from crucibench.util.errors import InputError
from crucibench.util.untrusted.content import read_text
from crucibench.util.untrusted.csv_text import read_rows

OPTIONS = ("classes", "labels", "links", *SPLIT)

_HEADERS = frozenset({"label", "class", "target", "y", "synset", "predictionstring"})


class ImageFolderSource(DataSource):
    """Reads images from ``DIR/CLASS/...``, or from ``DIR/test/CLASS/...`` and ``DIR/train/...``.

    Classes are the folders' names, sorted; ``classes`` gives another order, or names a file of it
    (see `crucibench.data.class_names`). Folders that are called by synsets, as ImageNet's are, get
    the names in ``LOC_synset_mapping.txt`` if that lies in DIR or above. A pattern of ``*`` and
    ``[...]`` names several folders of one kind. A sample's name is its path below the folder of its
    role. Hidden files are passed over.

    With ``labels=FILE`` the images lie in DIR without folders of classes, and the file has the
    label of each (see `label_images`).

    A link that leads out of DIR is refused unless ``links=true``.
    """

    options: ClassVar[tuple[str, ...]] = OPTIONS

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the images, and the files that their labels and classes come from."""
        tree, _, _, beside = _open(uri, base)
        return Sources((*tree.files, *beside))

    @classmethod
    def suite_data_sources(cls, uri: URI, base: Path, labels: Labels) -> Sources:
        """Returns the images, which need not lie in folders of classes."""
        if labels == "optional":
            with contextlib.suppress(NoClassesError):
                return cls.sources(uri, base)
        return Sources(tuple(_unlabelled(uri, base).files))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the images' bytes; they are decoded when ids are made, and batch by batch."""
        main = opening.main
        if main is not None and main.labels == "ignored":
            return _read_unlabelled(opening)
        try:
            tree, classes, options, beside = _open(opening.uri, opening.base)
        except NoClassesError:
            if main is None:
                raise
            return _read_unlabelled(opening)
        return read_images(tree, classes, opening, options, beside)


def _read_unlabelled(opening: DataOpening) -> RawData:
    """Returns the images without labels."""
    options = DataOptions.parse(class_file(opening.uri, opening.base)[0], *OPTIONS)
    tree = _unlabelled(opening.uri, opening.base)
    return read_images(tree, None, opening, options)


def _unlabelled(uri: URI, base: Path) -> ImageTree:
    roots = image_roots(uri.rest, base)
    return scan_unlabelled(uri.rest, roots, links=uri.flag("links"))


def _open(uri: URI, base: Path) -> tuple[ImageTree, ClassNames, DataOptions, tuple[Path, ...]]:
    """Returns the images, their classes, the options and the files beside the images."""
    links = uri.flag("links")
    listed, file = class_file(uri, base)
    options = DataOptions.parse(listed, *OPTIONS)
    roots = image_roots(uri.rest, base)
    given = read_class_file(file) if file else None
    beside = [file] if file else []
    if "labels" in uri.query:
        truth = existing_file(base, uri.query["labels"], "option labels: file")
        beside.append(truth)
        flat = scan_flat(uri.rest, roots, links=links)
        if given is None and options.classes is not None:
            given = ClassNames.of(options.classes)
        if given is None and (mapping := mapping_above(roots[0])):
            given = read_class_file(mapping)
            beside.append(mapping)
        tree, classes = label_images(flat, truth, given)
        return tree, classes, options, tuple(beside)
    tree = scan_classes(uri.rest, roots, links=links)
    if given is None and options.classes is None:
        return tree, *_own(tree, roots[0], options)
    classes = given or ClassNames.of(options.classes or ())
    if stray := [label for label in tree.labels if label not in classes.places()]:
        shown = ", ".join(classes.keys[:20]) + (", ..." if len(classes.keys) > 20 else "")
        raise InputError(f"classes: there is a folder {stray[0]!r}, which is not among {shown}")
    return tree, classes, options, tuple(beside)


def _own(
    tree: ImageTree, root: Path, options: DataOptions
) -> tuple[ClassNames, DataOptions, tuple[Path, ...]]:
    """Returns the classes that the folders are, by ImageNet's names if they are its."""
    if all(SYNSET.fullmatch(label) for label in tree.labels) and (mapping := mapping_above(root)):
        known = read_class_file(mapping)
        places = known.places()
        if all(label in places for label in tree.labels):
            names = [known.names[places[label]] for label in tree.labels]
            return ClassNames.of(tree.labels, names), options, (mapping,)
    return ClassNames.of(tree.labels), options, ()


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
    labels, notes, tally = _by_image(tree.roles["test"], _label_rows(file), file.name)
    found = sorted(set(labels.values()))
    if not found:
        raise InputError(f"option labels: {file.name} has no label for any image of the folder")
    classes = classes or ClassNames.of(sorted(found, key=lambda label: (_number(label), label)))
    keys = _keys(found, classes, file.name)
    if any(keys[label] != label for label in found) and min(map(_number, found)) == 1:
        notes = (*notes, f"the labels in {file.name} are taken to count from 1")
    images = [
        replace(image, label=keys[labels[image.name]])
        for image in tree.roles["test"]
        if image.name in labels
    ]
    left_out = joined(tree.left_out.get("test", LeftOut()), tally.left_out())
    labelled = replace(
        tree,
        roles={"test": images},
        labels=classes.keys,
        notes=(*tree.notes, *notes),
        left_out={"test": left_out},
    )
    return labelled, classes


def _label_rows(file: Path) -> list[list[str]]:
    lines = read_text(file, f"option labels: {file.name}").splitlines()
    lines = [line for line in lines if line.strip()]
    if any("," in line for line in lines[:2]):
        rows = [row[:2] for row in read_rows("\n".join(lines), f"option labels: {file.name}")]
    else:
        rows = [line.split("\t" if "\t" in line else None, 1) for line in lines]
    return [[value.strip() for value in row] for row in rows]


def _by_image(
    images: Sequence[ImageFile], rows: list[list[str]], name: str
) -> tuple[dict[str, str], tuple[str, ...], BadSampleTally]:
    """Returns each image's label by its name, what a reader must know, and what has no label."""
    tally = BadSampleTally()
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
    by_file = {file: label for file, label in rows if label}
    labels: dict[str, str] = {}
    used: set[str] = set()
    for image in images:
        path = Path(image.name)
        spelled = (image.name, path.name, path.with_suffix("").as_posix(), path.stem)
        key = next((one for one in spelled if one in by_file), None)
        if key is None:
            tally.add("no label", f"image {image.name!r} has no label in {name}")
        else:
            used.add(key)
            labels[image.name] = by_file[key]
    lost = len(by_file) - len(used)
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
