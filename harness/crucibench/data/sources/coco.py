"""`coco:FILE`: boxes on images, as COCO writes them down; with or without the images."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from crucibench.contracts.uri import URI, existing_file
from crucibench.data.sources.boxes import COMMON, BoxSource, Listed
from crucibench.util.coco import Annotations, read_annotations
from crucibench.util.errors import InputError


class CocoSource(BoxSource):
    """Reads annotations.

    ``images=DIR`` is the folder that ``file_name`` is relative to (without it a sample is the
    image's name and size, which logged predictions need not even look at).
    """

    options: ClassVar[tuple[str, ...]] = ("images", "object_groups", *COMMON)

    @classmethod
    def listed(cls, uri: URI, base: Path) -> Listed:
        """Returns the file of annotations, and the images."""
        file = existing_file(base, uri.rest, "annotations")
        return Listed(_images(file, uri, base) if "images" in uri.query else (), (file,))

    @classmethod
    def annotations(cls, uri: URI, base: Path, listed: Listed) -> Annotations:
        """Reads the file of annotations."""
        return read_annotations(listed.beside[0])


def _images(annotations: Path, uri: URI, base: Path) -> list[Path]:
    """Returns the image files in the order of ids."""
    found = read_annotations(annotations)
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
