"""Folders of images: found, checked and put into roles, then read as a column of encoded images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from crucibench.contracts.source import DataOpening, LeftOut, RawData
from crucibench.contracts.task import Modality
from crucibench.data.bad_samples import BadSampleTally
from crucibench.data.class_names import ClassNames
from crucibench.data.columnar import Conversion, convert, in_pieces
from crucibench.data.columns import Columns
from crucibench.data.files import is_pattern, matches
from crucibench.data.hub import import_datasets
from crucibench.data.images import SUFFIXES
from crucibench.data.options import DataOptions
from crucibench.data.roles import TEST, roles_of, split_note
from crucibench.util.errors import InputError
from crucibench.util.suggest import hint
from crucibench.util.untrusted.images import BYTES_AT_MOST


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
            name = path.relative_to(above).as_posix()
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
        size = path.stat().st_size
    except OSError as error:
        return f"can't be read: {error.strerror}"
    if size > BYTES_AT_MOST:
        return f"has {size:,} bytes, expected at most {BYTES_AT_MOST:,}"
    if not path.is_file():
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
    library = import_datasets()
    label = {} if classes is None else {"label": library.ClassLabel(names=list(classes.names))}
    features = library.Features(image=library.Image(), **label, path=library.Value("string"))
    schema = features.arrow_schema
    places = {"": None} if classes is None else classes.places()

    def fill(conversion: Conversion) -> None:
        done, total = 0, len(tree.files)

        def batches(images: Sequence[ImageFile]) -> Iterator[Any]:
            nonlocal done
            for some in in_pieces(images, lambda image: image.path.stat().st_size):
                yield _batch(some, places, schema)
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


def _batch(images: Sequence[ImageFile], places: Mapping[str, int | None], schema: Any) -> Any:
    names = [image.name for image in images]
    stored = pa.array(
        [{"bytes": image.path.read_bytes(), "path": image.name} for image in images],
        schema.field("image").type,
    )
    columns = [stored, pa.array(names, pa.string())]
    if "label" in schema.names:
        columns.insert(1, pa.array([places[image.label] for image in images], pa.int64()))
    return pa.record_batch(columns, schema=schema)
