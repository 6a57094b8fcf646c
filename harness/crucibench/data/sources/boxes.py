"""What the sources of boxes have in common: images with objects, stored one row an image."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from crucibench.contracts.adapter import Sources
from crucibench.contracts.data import OF_OBJECTS
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI
from crucibench.data.columnar import Conversion, convert, in_pieces
from crucibench.data.hub import import_datasets
from crucibench.data.options import roles_of
from crucibench.util.coco import Annotations
from crucibench.util.errors import InputError
from crucibench.util.untrusted.content import read_content
from crucibench.util.untrusted.images import BYTES_AT_MOST

_WIDTH = 7
_VALUES_AT_MOST = 50
"""Of a field by which objects are compared."""
COMMON = ("cluster", "groups", "licence", "citation")


@dataclass(frozen=True)
class Listed:
    """The files of a data set with boxes.

    Attributes:
        images: in the order of the annotations' images; none where samples are names and sizes.
        beside: what says where the boxes are.
        notes: what a reader should know of the choice.
    """

    images: Sequence[Path]
    beside: Sequence[Path]
    notes: tuple[str, ...] = ()


class BoxSource(DataSource):
    """Reads images with boxes; a sample is an image, in the order of ids, and named by its id.

    Options of all: ``cluster=FIELD``, a field of the images' entries that names what is drawn
    together, such as a video; ``groups=FIELD,...``, fields by which images are compared; where
    objects have fields, ``object_groups=FIELD,...``, those by which objects are;
    ``licence`` and ``citation``.
    """

    @classmethod
    @abstractmethod
    def listed(cls, uri: URI, base: Path) -> Listed:
        """Returns the files that an address names."""

    @classmethod
    @abstractmethod
    def annotations(cls, uri: URI, base: Path, listed: Listed) -> Annotations:
        """Reads what they say."""

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files of annotations, and the images."""
        uri.only(*cls.options)
        listed = cls.listed(uri, base)
        return Sources((*listed.beside, *listed.images))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the annotations, and the images' bytes."""
        uri = opening.uri
        uri.only(*self.options)
        listed = self.listed(uri, opening.base)
        found, files = self.annotations(uri, opening.base, listed), listed.images
        cluster = uri.query.get("cluster", "")
        groups = tuple(filter(None, uri.query.get("groups", "").split(",")))
        fields = dict.fromkeys((*groups, *([cluster] if cluster else [])))
        of_objects = tuple(filter(None, uri.query.get("object_groups", "").split(",")))
        library = import_datasets()
        text, number = library.Value("string"), library.Value("float64")
        features = library.Features(
            id=text, file_name=text, width=number, height=number,
            objects=library.Sequence(library.Sequence(number, length=_WIDTH)),
            **({"image": library.Image()} if files else {}), **dict.fromkeys(fields, text),
            **dict.fromkeys((OF_OBJECTS + name for name in of_objects), text),
        )  # fmt: skip
        schema = features.arrow_schema
        columns = {name: _field(found, name, needed=name == cluster) for name in fields}
        columns |= {OF_OBJECTS + name: _of_objects(found, name) for name in of_objects}

        def fill(conversion: Conversion) -> None:
            rows = range(len(found.images))
            pieces = in_pieces(rows, lambda row: files[row].stat().st_size) if files else [rows]
            conversion.write("test", schema, _batches(found, files, columns, pieces, schema))

        settings = {"source": uri.scheme, "fields": list(columns), "images": bool(files)}
        done = convert(
            opening.scratch, fill, settings=settings, files=[*listed.beside, *files],
            base=opening.base,
        )  # fmt: skip
        ignored = any(one[6] == 2 for objects in found.objects.values() for one in objects)
        return RawData(
            roles=done.roles,
            modality=Modality.IMAGE if files else Modality.TABLE,
            inputs=("image",) if files else ("file_name", "width", "height"),
            target="objects",
            kind="detection",
            classes=tuple(found.categories.values()),
            groups=(*groups, *(OF_OBJECTS + name for name in of_objects)),
            cluster=cluster,
            id="id",
            licence=uri.query.get("licence", ""),
            citation=uri.query.get("citation", ""),
            notes=(
                *listed.notes,
                *(("objects that are ignored don't count; pycocotools overlooks that",)
                  if ignored else ()),
            ),
            key=done.key,
        )  # fmt: skip


def chosen_split(names: Sequence[str], asked: str, where: str) -> tuple[str, tuple[str, ...]]:
    """Returns the split that is the role test, and what a reader should know of it.

    Raises:
        InputError: if there is no such split, or none that is a test set.
    """
    if asked and asked not in names:
        raise InputError(f"{where}: there is no split {asked!r} (known: {', '.join(names)})")
    chosen = asked or roles_of(names)[0].get("test") or (names[0] if len(names) == 1 else "")
    if not chosen:
        raise InputError(f"{where}: say split=, one of {', '.join(names)}")
    notes = [f"{name} is left out" for name in names if name != chosen]
    return chosen, (f"test is what the data calls {chosen}", *notes)


def _field(found: Annotations, name: str, *, needed: bool) -> list[str | None]:
    """Returns a field of each image's entry; None where it has none and needs none.

    Raises:
        InputError: if no image has it, or one that needs it.
    """
    values: list[str | None] = []
    for key, image in found.images.items():
        value = image.fields.get(name)
        if value is None and not needed:
            values.append(None)
        elif isinstance(value, int | float | str):
            values.append(str(value))
        else:
            raise InputError(f"option cluster: image {key!r} has no field {name!r}")
    if values and not any(value is not None for value in values):
        raise InputError(f"option groups: no image has a field {name!r}")
    return values


def _of_objects(found: Annotations, name: str) -> list[str | None]:
    """Returns a field of the objects of each image, as `OF_OBJECTS` says.

    Raises:
        InputError: if no object has it, or a value is neither a number nor text.
    """
    values: list[str | None] = []
    seen: set[str] = set()
    for key in found.images:
        held = [one.get(name) for one in found.fields.get(key, ())]
        for one in held:
            if not isinstance(one, int | float | str | None):
                raise InputError(
                    f"option object_groups: {name!r} of an object of image {key!r}: expected a "
                    f"number or text, got {type(one).__name__}"
                )
        texts = [None if one is None else str(one) for one in held]
        seen |= {one for one in texts if one is not None}
        values.append(json.dumps(texts))
    if not seen:
        raise InputError(f"option object_groups: no object has a field {name!r}")
    if len(seen) > _VALUES_AT_MOST:
        raise InputError(
            f"option object_groups: {name!r} has {len(seen)} values, expected at most "
            f"{_VALUES_AT_MOST}"
        )
    return values


def _batches(
    found: Annotations, files: Sequence[Path], fields: dict[str, list[str | None]], pieces: Any,
    schema: Any,
) -> Iterator[Any]:  # fmt: skip
    keys, images = list(found.images), list(found.images.values())
    for piece in pieces:
        rows = list(piece)
        columns: dict[str, Any] = {
            "id": [str(keys[row]) for row in rows],
            "file_name": [images[row].file for row in rows],
            "width": [images[row].width for row in rows],
            "height": [images[row].height for row in rows],
            "objects": [[list(one) for one in found.objects[keys[row]]] for row in rows],
            **{name: [values[row] for row in rows] for name, values in fields.items()},
        }
        if files:
            columns["image"] = [
                {"bytes": read_content(files[row], images[row].file, BYTES_AT_MOST),
                 "path": images[row].file} for row in rows
            ]  # fmt: skip
        yield pa.record_batch(
            [pa.array(columns[field.name], field.type) for field in schema], schema=schema
        )
