"""Image files as a role's column of encoded images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from crucibench.contracts.source import DataOpening, RawData
from crucibench.contracts.task import Modality
from crucibench.data.class_names import ClassNames
from crucibench.data.columnar import Conversion, convert
from crucibench.data.hub import import_datasets
from crucibench.data.image_tree import ImageFile, ImageTree
from crucibench.data.options import DataOptions

_AT_ONCE = 64 << 20
_IMAGES_AT_ONCE = 1000


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
            for some in _pieces(images):
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
    fields: Mapping[str, Any] = options.shared() | {
        "modality": Modality.IMAGE,
        "inputs": ("image",),
        "target": "" if classes is None else "label",
        "id": "path",
        "classes": None,
        "split": tree.split,
        "notes": tree.notes,
        "left_out": tree.left_out,
        "key": done.key,
    }
    return RawData(roles=done.roles, **fields)


def _pieces(images: Sequence[ImageFile]) -> Iterator[list[ImageFile]]:
    """Yields images whose bytes fit in memory together."""
    piece: list[ImageFile] = []
    size = 0
    for image in images:
        piece.append(image)
        size += image.path.stat().st_size
        if size > _AT_ONCE or len(piece) >= _IMAGES_AT_ONCE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


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
