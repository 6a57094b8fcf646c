"""`imagefolder:DIR`: a folder of images per class, or one folder and a file of labels.

And `imagenet-c:DIR?corruption=NAME&severity=N`: corrupted images as ImageNet-C publishes them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, Labels, LeftOut, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI, existing_file
from crucibench.data.bad_samples import BadSampleTally, joined
from crucibench.data.class_names import (
    SYNSET,
    ClassNames,
    class_file,
    mapping_above,
    read_class_file,
)
from crucibench.data.columnar import Conversion, convert, image_schema, in_pieces
from crucibench.data.columns import Columns
from crucibench.data.files import is_pattern, matches
from crucibench.data.images import SUFFIXES
from crucibench.data.options import SPLIT, TEST, DataOptions, roles_of, split_note
from crucibench.util.errors import InputError
from crucibench.util.hashing import relative_name
from crucibench.util.suggest import hint, unknown
from crucibench.util.untrusted.content import read_text
from crucibench.util.untrusted.csv_text import read_rows
from crucibench.util.untrusted.images import BYTES_AT_MOST

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

    options: ClassVar[tuple[str, ...]] = ("classes", "labels", "links", *SPLIT)

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the images, and the files that their labels and classes come from."""
        tree, _, _, beside = cls._open(uri, base)
        return Sources((*tree.files, *beside))

    @classmethod
    def suite_data_sources(cls, uri: URI, base: Path, labels: Labels) -> Sources:
        """Returns the images, which need not lie in folders of classes."""
        if labels == "optional":
            with contextlib.suppress(NoClassesError):
                return cls.sources(uri, base)
        return Sources(tuple(cls._unlabelled(uri, base).files))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the images' bytes; they are decoded when ids are made, and batch by batch."""
        main = opening.main
        if main is not None and main.labels == "ignored":
            return self._read_unlabelled(opening)
        try:
            tree, classes, options, beside = self._open(opening.uri, opening.base)
        except NoClassesError:
            if main is None:
                raise
            return self._read_unlabelled(opening)
        return read_images(tree, classes, opening, options, beside)

    @classmethod
    def _roots(cls, uri: URI, base: Path) -> tuple[list[Path], tuple[str, ...]]:
        """Returns the folders, and what a reader must know of them."""
        return image_roots(uri.rest, base), ()

    def _read_unlabelled(self, opening: DataOpening) -> RawData:
        """Returns the images without labels."""
        options = DataOptions.parse(class_file(opening.uri, opening.base)[0], *self.options)
        return read_images(self._unlabelled(opening.uri, opening.base), None, opening, options)

    @classmethod
    def _unlabelled(cls, uri: URI, base: Path) -> ImageTree:
        roots, notes = cls._roots(uri, base)
        tree = scan_unlabelled(uri.rest, roots, links=uri.flag("links"))
        return replace(tree, notes=(*tree.notes, *notes))

    @classmethod
    def _open(
        cls, uri: URI, base: Path
    ) -> tuple[ImageTree, ClassNames, DataOptions, tuple[Path, ...]]:
        """Returns the images, their classes, the options and the files beside the images."""
        links = uri.flag("links")
        listed, file = class_file(uri, base)
        options = DataOptions.parse(listed, *cls.options)
        roots, notes = cls._roots(uri, base)
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
        tree = replace(tree, notes=(*tree.notes, *notes))
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


_SEVERITIES = ("1", "2", "3", "4", "5")


class ImageNetCSource(ImageFolderSource):
    """Reads ``DIR/CORRUPTION/SEVERITY/CLASS/FILE`` (Hendrycks and Dietterich, 2019).

    The archives' own folders (``noise``, ``blur``, ...) may stand above the corruptions.
    ImageNet-C-bar and Tiny ImageNet-C have this form, too. Classes are named as in ``imagefolder``.
    """

    options: ClassVar[tuple[str, ...]] = ("corruption", "severity", "classes", "links", *SPLIT)

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

    @classmethod
    def _roots(cls, uri: URI, base: Path) -> tuple[list[Path], tuple[str, ...]]:
        """Returns the folder of a corruption and severity, and a note of the two."""
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
            raise InputError(
                f"imagenet-c: option severity: expected one of {', '.join(levels)}, {got}"
            )
        return [there[corruption] / severity], (f"corrupted: {corruption}, severity {severity}",)


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


# Folders of images: found, checked and put into roles, then read as a column of encoded images.


class NoClassesError(InputError):
    """A folder holds images, perhaps, but no folders of classes."""


@dataclass(frozen=True)
class ImageFile:
    """An image of a folder.

    Attributes:
        path: of the file.
        name: the sample's: its path below the folder of its role.
        label: the key of its class.
    """

    path: Path
    name: str
    label: str


@dataclass(frozen=True)
class ImageTree:
    """The images of a folder.

    Attributes:
        roles: the images by role.
        labels: the names of all class folders, sorted.
        split: how the roles came about.
        notes: what a reader must know.
        left_out: by role: the files that can't be read.
    """

    roles: Mapping[str, Sequence[ImageFile]]
    labels: tuple[str, ...]
    split: str = "all test"
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """All images."""
        return [image.path for images in self.roles.values() for image in images]


def image_roots(rest: str, base: Path) -> list[Path]:
    """Returns the folder that `rest` names, or the folders if it is a pattern.

    Raises:
        InputError: if there is none.
    """
    if is_pattern(rest):
        roots = [path.resolve() for path in matches(rest, base) if path.is_dir()]
        if not roots:
            raise InputError(f"no folder is called {rest!r} (looked in {str(base.resolve())!r})")
        return roots
    root = (base / Path(rest).expanduser()).resolve()
    if not root.is_dir():
        beside = folders(root.parent) if root.parent.is_dir() else []
        meant = hint(root.name, [path.name for path in beside])
        raise InputError(f"image folder {rest!r} does not exist{meant}")
    return [root]


def scan_classes(rest: str, roots: Sequence[Path], *, links: bool) -> ImageTree:
    """Returns the images of ``ROOT/CLASS/...``, or of ``ROOT/test/CLASS/...`` and its like.

    Args:
        rest: names the roots in an error.
        roots: folders of one kind.
        links: whether links that lead out of their root are followed.

    Raises:
        InputError: if there is no class or no image, or a link leads out.
    """
    names = {folder.name for root in roots for folder in folders(root)}
    if not names:
        raise NoClassesError(f"image folder {rest!r} holds no folder: expected one per class")
    chosen, left = roles_of(sorted(names))
    split, notes = "all test", list[str]()
    if "test" in chosen and not set(left) - {*TEST, "train"}:
        split, more = split_note(chosen, left)
        notes += more
    else:
        chosen = {"test": ""}
    labels: set[str] = set()
    finder = _Finder(roots, links)
    roles: dict[str, list[ImageFile]] = {}
    left_out: dict[str, LeftOut] = {}
    for role, name in chosen.items():
        tally = BadSampleTally()
        roles[role] = []
        tops = [root / name for root in roots if (root / name).is_dir()]
        for top in tops:
            for folder in folders(top):
                labels.add(folder.name)
                for path, shown in finder.images(folder, finder.prefix(top), tally):
                    roles[role].append(ImageFile(path, shown, folder.name))
        if not roles[role]:
            top = roots[0] / name
            empty = InputError if any(map(folders, tops)) else NoClassesError
            raise empty(
                f"image folder {str(top)!r} holds no images: expected {top.name}/CLASS/FILE"
            )
        left_out[role] = tally.left_out()
    return ImageTree(roles, tuple(sorted(labels)), split, (*notes, *finder.notes()), left_out)


def scan_flat(rest: str, roots: Sequence[Path], *, links: bool) -> ImageTree:
    """Returns all images below folders, without a label, in the order of their names.

    Raises:
        InputError: if there is none, or a link leads out.
    """
    tally = BadSampleTally()
    finder = _Finder(roots, links)
    images = [
        ImageFile(path, shown, "")
        for root in roots
        for path, shown in finder.images(root, finder.prefix(root), tally)
    ]
    if not images:
        raise InputError(f"image folder {rest!r} holds no images")
    return ImageTree(
        {"test": images}, (), notes=finder.notes(), left_out={"test": tally.left_out()}
    )


def scan_unlabelled(rest: str, roots: Sequence[Path], *, links: bool) -> ImageTree:
    """Returns the images of role test without labels, whether they lie in folders of classes.

    Where there are folders ``test`` (or what `roles_of` takes for it) and ``train`` alone, test is
    the first; else it is all images.

    Raises:
        InputError: if there is none, or a link leads out.
    """
    names = {folder.name for root in roots for folder in folders(root)}
    chosen, left = roles_of(sorted(names))
    if "test" not in chosen or set(left) - {*TEST, "train"}:
        return scan_flat(rest, roots, links=links)
    tops = [root / chosen["test"] for root in roots if (root / chosen["test"]).is_dir()]
    return scan_flat(rest, tops, links=links)


def folders(folder: Path) -> list[Path]:
    """Returns the folders in a folder but the hidden ones, sorted."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


class _Finder:
    """Goes through folders; counts what is no image and minds where links lead."""

    def __init__(self, roots: Sequence[Path], links: bool) -> None:
        self._roots = roots
        self._links = links
        self._others = 0
        self._outside = 0

    def notes(self) -> tuple[str, ...]:
        found = []
        if self._others:
            found.append(
                f"{self._others} {'file is' if self._others == 1 else 'files are'} no image"
            )
        if self._outside:
            verb = "link leads" if self._outside == 1 else "links lead"
            found.append(f"{self._outside} {verb} out of the folder")
        return tuple(found)

    def prefix(self, top: Path) -> Path:
        """Returns the folder that names are relative to: `top`, or what all roots lie in."""
        return top if len(self._roots) == 1 else Path(os.path.commonpath(self._roots))

    def images(self, folder: Path, above: Path, bad: BadSampleTally) -> Iterator[tuple[Path, str]]:
        """Yields the images below `folder` and their names relative to `above`."""
        if folder.is_symlink():
            self._check_link(folder)
        for path in self._files(folder, (folder.resolve(),)):
            if path.suffix.lower() not in SUFFIXES:
                self._others += 1
                continue
            name = relative_name(path, above)
            if why := _unreadable(path):
                bad.add("unreadable image", f"image {name!r} {why}")
            else:
                yield path, name

    def _files(self, folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
        """Yields the files below `folder`; a link back to a folder `above` is not followed."""
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                self._check_link(path)
            if not entry.is_dir():
                yield path
            elif path.resolve() not in above:
                yield from self._files(path, (*above, path.resolve()))

    def _check_link(self, link: Path) -> None:
        there = link.resolve()
        if any(there.is_relative_to(root) for root in self._roots):
            return
        if not self._links:
            raise InputError(
                f"{link.name} in {str(link.parent)!r} is a link out of the folder, to "
                f"{str(there)!r}; say links=true to follow such links"
            )
        self._outside += 1


def _unreadable(path: Path) -> str:
    """Returns why an image file can't be read, "" if it can."""
    try:
        found = path.stat()
    except OSError as error:
        return f"can't be read: {error.strerror}"
    if found.st_size > BYTES_AT_MOST:
        return f"has {found.st_size:,} bytes, expected at most {BYTES_AT_MOST:,}"
    if not stat.S_ISREG(found.st_mode):
        return "is no file"
    return "" if os.access(path, os.R_OK) else "can't be read: no permission"


def read_images(
    tree: ImageTree,
    classes: ClassNames | None,
    opening: DataOpening,
    options: DataOptions,
    beside: Sequence[Path] = (),
) -> RawData:
    """Returns the images of a folder as a source returns them.

    Args:
        tree: the images.
        classes: the class of each label; None for images without labels.
        opening: of the source.
        options: what the user says; its classes are not looked at.
        beside: other files that the labels or the classes come from.

    Raises:
        InputError: if a file changes while it is read.
    """
    schema = image_schema(None if classes is None else classes.names)
    places = {"": None} if classes is None else classes.places()

    def fill(conversion: Conversion) -> None:
        done, total = 0, len(tree.files)

        def batches(images: Sequence[ImageFile]) -> Iterator[Any]:
            nonlocal done
            for some in in_pieces(images, lambda image: image.path.stat().st_size):
                yield _batch(some, places, schema, conversion.content)
                done += len(some)
                opening.progress(done, total)

        for role, images in tree.roles.items():
            conversion.write(role, schema, batches(images))

    settings = {
        "source": "imagefolder",
        "classes": None if classes is None else list(classes.names),
        "names": [
            [image.name, places[image.label]] for images in tree.roles.values() for image in images
        ],
    }
    files = [*tree.files, *beside]
    done = convert(opening.scratch, fill, settings=settings, files=files, base=opening.base)
    target = "" if classes is None else "label"
    columns = Columns(modality=Modality.IMAGE, inputs=("image",), target=target, id="path")
    return columns.raw(
        done.roles,
        options,
        classes=None,
        split=tree.split,
        notes=tree.notes,
        left_out=tree.left_out,
        key=done.key,
    )


def _batch(
    images: Sequence[ImageFile],
    places: Mapping[str, int | None],
    schema: Any,
    content: Callable[[Path], bytes],
) -> Any:
    names = [image.name for image in images]
    stored = pa.array(
        [{"bytes": content(image.path), "path": image.name} for image in images],
        schema.field("image").type,
    )
    columns = [stored, pa.array(names, pa.string())]
    if "label" in schema.names:
        columns.insert(1, pa.array([places[image.label] for image in images], pa.int64()))
    return pa.record_batch(columns, schema=schema)
