"""`coco:FILE`: boxes on images, as COCO writes them down; with or without the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI, existing_file
from crucibench.data.columnar import Conversion, convert, in_pieces
from crucibench.data.hub import import_datasets
from crucibench.util.coco import Annotations, read_annotations
from crucibench.util.errors import InputError
from crucibench.util.untrusted.content import read_content
from crucibench.util.untrusted.images import BYTES_AT_MOST

_WIDTH = 7


class CocoSource(DataSource):
    """Reads annotations; a sample is an image, in the order of ids, and named by its id.

    Options: ``images=DIR``, the folder that ``file_name`` is relative to (without it a sample is
    the image's name and size, which logged predictions need not even look at); ``cluster=FIELD``,
    a field of the images' entries that names what is drawn together, such as a video; ``licence``
    and ``citation``.
    """

    options: ClassVar[tuple[str, ...]] = ("images", "cluster", "licence", "citation")

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the file of annotations, and the images."""
        uri.only(*cls.options)
        file = existing_file(base, uri.rest, "annotations")
        found = read_annotations(file) if "images" in uri.query else None
        return Sources((file, *_images(found, uri, base)))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the annotations, and the images' bytes."""
        uri = opening.uri
        uri.only(*self.options)
        file = existing_file(opening.base, uri.rest, "annotations")
        found = read_annotations(file)
        cluster = uri.query.get("cluster", "")
        files = _images(found, uri, opening.base)
        library = import_datasets()
        text, number = library.Value("string"), library.Value("float64")
        features = library.Features(
            id=text, file_name=text, width=number, height=number,
            objects=library.Sequence(library.Sequence(number, length=_WIDTH)),
            **({"image": library.Image()} if files else {}), **({cluster: text} if cluster else {}),
        )  # fmt: skip
        schema = features.arrow_schema

        def fill(conversion: Conversion) -> None:
            rows = range(len(found.images))
            pieces = in_pieces(rows, lambda row: files[row].stat().st_size) if files else [rows]
            conversion.write("test", schema, _batches(found, files, cluster, pieces, schema))

        settings = {"source": "coco", "cluster": cluster, "images": bool(files)}
        done = convert(
            opening.scratch, fill, settings=settings, files=[file, *files], base=opening.base
        )
        ignored = any(one[6] == 2 for objects in found.objects.values() for one in objects)
        return RawData(
            roles=done.roles,
            modality=Modality.IMAGE if files else Modality.TABLE,
            inputs=("image",) if files else ("file_name", "width", "height"),
            target="objects",
            kind="detection",
            classes=tuple(found.categories.values()),
            cluster=cluster,
            id="id",
            licence=uri.query.get("licence", ""),
            citation=uri.query.get("citation", ""),
            notes=("objects with ignore: 1 don't count; pycocotools overlooks that",)
            if ignored
            else (),
            key=done.key,
        )


def _images(found: Annotations | None, uri: URI, base: Path) -> list[Path]:
    """Returns the image files in the order of ids; none where no folder is named."""
    if "images" not in uri.query or found is None:
        return []
    folder = (base / Path(uri.query["images"]).expanduser()).resolve()
    if not folder.is_dir():
        raise InputError(f"option images: there is no folder {str(folder)!r}")
    files = [(folder / image.file).resolve() for image in found.images.values()]
    for image, file in zip(found.images.values(), files, strict=True):
        if not file.is_relative_to(folder):
            raise InputError(f"image {image.file!r} lies outside {str(folder)!r}")
    missing = [one.file for one, file in zip(found.images.values(), files, strict=True)
               if not file.is_file()]  # fmt: skip
    if missing:
        raise InputError(
            f"option images: {len(missing)} of {len(files)} images are not in {str(folder)!r}, "
            f"e.g. {missing[0]!r}"
        )
    return files


def _batches(
    found: Annotations, files: Sequence[Path], cluster: str, pieces: Any, schema: Any
) -> Iterator[Any]:
    keys, images = list(found.images), list(found.images.values())
    for piece in pieces:
        rows = list(piece)
        columns: dict[str, Any] = {
            "id": [str(keys[row]) for row in rows],
            "file_name": [images[row].file for row in rows],
            "width": [images[row].width for row in rows],
            "height": [images[row].height for row in rows],
            "objects": [[list(one) for one in found.objects[keys[row]]] for row in rows],
        }
        if files:
            columns["image"] = [
                {"bytes": read_content(files[row], images[row].file, BYTES_AT_MOST),
                 "path": images[row].file} for row in rows
            ]  # fmt: skip
        if cluster:
            columns[cluster] = [_cluster(images[row].fields, cluster, keys[row]) for row in rows]
        yield pa.record_batch(
            [pa.array(columns[field.name], field.type) for field in schema], schema=schema
        )


def _cluster(fields: Any, name: str, key: int | str) -> str:
    if not isinstance(found := fields.get(name), int | str):
        raise InputError(f"option cluster: image {key!r} has no field {name!r}")
    return str(found)
