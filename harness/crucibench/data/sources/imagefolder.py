"""`imagefolder:DIR`: a folder of images per class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI
from crucibench.data.columnar import Conversion, convert
from crucibench.data.hub import import_datasets
from crucibench.data.options import SPLIT, DataOptions
from crucibench.data.roles import TEST, roles_of, split_note
from crucibench.util.errors import InputError
from crucibench.util.suggest import nearest

OPTIONS = ("classes", *SPLIT)

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
"""Of the files that are images."""

_AT_ONCE = 64 << 20


class ImageFolderSource(DataSource):
    """Reads images from ``DIR/CLASS/...``, or from ``DIR/test/CLASS/...`` and ``DIR/train/...``.

    Classes are the folders' names, sorted; ``classes`` gives another order. A sample's name is its
    path below the folder of its role. Hidden files are passed over.
    """

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the images."""
        DataOptions.parse(uri, *OPTIONS)
        return Sources(tuple(_Tree.scan(uri.rest, base).files))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the images' bytes; they are decoded when ids are made, and batch by batch."""
        options = DataOptions.parse(opening.uri, *OPTIONS)
        tree = _Tree.scan(opening.uri.rest, opening.base)
        classes = _classes(tree, options)

        def fill(conversion: Conversion) -> None:
            library = import_datasets()
            features = library.Features(
                image=library.Image(),
                label=library.ClassLabel(names=list(classes)),
                path=library.Value("string"),
            )
            done, total = 0, len(tree.files)

            def batches(images: Mapping[Path, str], root: Path) -> Iterator[Any]:
                nonlocal done
                for some in _pieces(images):
                    yield _batch(some, images, root, classes, features.arrow_schema)
                    done += len(some)
                    opening.progress(done, total)

            for role, images in tree.roles.items():
                conversion.write(role, features.arrow_schema, batches(images, tree.roots[role]))

        settings = {"source": "imagefolder", "classes": list(classes), "names": tree.names}
        done = convert(
            opening.scratch, fill, settings=settings, files=tree.files, base=opening.base
        )
        return RawData(
            roles=done.roles,
            **(
                options.shared()
                | {
                    "modality": Modality.IMAGE,
                    "inputs": ("image",),
                    "target": "label",
                    "id": "path",
                    "classes": None,
                    "split": tree.split,
                    "notes": tree.notes,
                    "key": done.key,
                }
            ),
        )


@dataclass(frozen=True)
class _Tree:
    """The images of a folder.

    Attributes:
        roles: by role: each image's class.
        roots: by role: the folder that holds the classes.
        folders: the names of all class folders.
        split: how the roles came about.
        notes: what was left out.
    """

    roles: Mapping[str, Mapping[Path, str]]
    roots: Mapping[str, Path]
    folders: tuple[str, ...]
    split: str
    notes: tuple[str, ...]

    @property
    def files(self) -> list[Path]:
        """All images."""
        return [path for images in self.roles.values() for path in images]

    @property
    def names(self) -> list[str]:
        """The images' paths, as they name the samples."""
        return [
            path.relative_to(self.roots[role]).as_posix()
            for role, images in self.roles.items()
            for path in images
        ]

    @classmethod
    def scan(cls, rest: str, base: Path) -> _Tree:
        root = (base / Path(rest).expanduser()).resolve()
        if not root.is_dir():
            guess = None
            if root.parent.is_dir():
                guess = nearest(root.name, [path.name for path in _folders(root.parent)])
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise InputError(f"image folder {rest!r} does not exist{hint}")
        names = [folder.name for folder in _folders(root)]
        if not names:
            raise InputError(f"image folder {rest!r} holds no folder: expected one per class")
        chosen, left = roles_of(names)
        split, notes = "all test", list[str]()
        if "test" in chosen and not set(left) - {*TEST, "train"}:
            split, more = split_note(chosen, left)
            notes += more
            roots = {role: root / name for role, name in chosen.items()}
        else:
            roots = {"test": root}
        others = 0
        roles: dict[str, dict[Path, str]] = {}
        folders: set[str] = set()
        for role, top in roots.items():
            roles[role] = {}
            for folder in _folders(top):
                folders.add(folder.name)
                for path in _files(folder, (folder.resolve(),)):
                    if path.suffix.lower() in SUFFIXES:
                        roles[role][path] = folder.name
                    else:
                        others += 1
            if not roles[role]:
                raise InputError(
                    f"image folder {str(top)!r} holds no images: expected {top.name}/CLASS/FILE"
                )
        if others:
            notes.append(f"{others} {'file is' if others == 1 else 'files are'} no image")
        return cls(roles, roots, tuple(sorted(folders)), split, tuple(notes))


def _classes(tree: _Tree, options: DataOptions) -> tuple[str, ...]:
    if options.classes is None:
        return tree.folders
    if stray := [name for name in tree.folders if name not in options.classes]:
        raise InputError(
            f"classes: there is a folder {stray[0]!r}, which is not among "
            f"{', '.join(options.classes)}"
        )
    return options.classes


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yields the files below `folder`; a link back to a folder `above` is not followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            yield path
        elif path.resolve() not in above:
            yield from _files(path, (*above, path.resolve()))


def _pieces(images: Mapping[Path, str]) -> Iterator[list[Path]]:
    """Yields images whose bytes fit in memory together."""
    piece: list[Path] = []
    size = 0
    for path in images:
        piece.append(path)
        size += path.stat().st_size
        if size > _AT_ONCE or len(piece) >= 1000:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _batch(
    paths: list[Path],
    images: Mapping[Path, str],
    root: Path,
    classes: tuple[str, ...],
    schema: Any,
) -> Any:
    names = [path.relative_to(root).as_posix() for path in paths]
    stored = pa.array(
        [
            {"bytes": path.read_bytes(), "path": name}
            for path, name in zip(paths, names, strict=True)
        ],
        schema.field("image").type,
    )
    labels = pa.array([classes.index(images[path]) for path in paths], pa.int64())
    return pa.record_batch([stored, labels, pa.array(names, pa.string())], schema=schema)
