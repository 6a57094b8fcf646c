"""`cifar-npy:IMAGES.npy?labels=LABELS.npy`: images and labels in two files, as CIFAR-10-C has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI, existing_file
from crucibench.data.arrays import (
    TARGET,
    array_form,
    array_raw,
    chunked,
    column_array,
    write_arrays,
)
from crucibench.data.class_names import class_file, read_class_file
from crucibench.data.columnar import Conversion, convert
from crucibench.data.options import SPLIT, DataOptions
from crucibench.util.errors import InputError
from crucibench.util.untrusted.arrays import map_npy

OPTIONS = ("labels", "severity", "layout", "classes", "task", *SPLIT)

_SEVERITIES = 5
_LABELS = "labels.npy"
_ROW = "row"


class CifarNpySource(DataSource):
    """Reads images, (N, H, W, C) or (N, C, H, W), and N labels from two ``.npy`` files.

    The images are mapped, never read whole. With ``severity=N`` they are five stretches of equal
    length, of severity 1 to 5, as in CIFAR-10-C and CIFAR-100-C (Hendrycks and Dietterich, 2019),
    and the N-th is taken; the labels may stand there five times or once. A sample's own name is its
    row, within the stretch.
    """

    options: ClassVar[tuple[str, ...]] = OPTIONS

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files."""
        return Sources(_files(uri, base)[0])

    @classmethod
    def parts(cls, uri: URI, base: Path) -> Mapping[str, URI]:
        """Returns every stretch of a file, or of those in a folder, as ``CORRUPTION/SEVERITY``.

        In a folder the labels are in ``labels.npy``, if not named otherwise.
        """
        query = dict(uri.query)
        folder = (base / Path(uri.rest).expanduser()).resolve()
        images = [uri.rest]
        if folder.is_dir():
            query.setdefault("labels", f"{uri.rest.rstrip('/')}/{_LABELS}")
            labels = (base / Path(query["labels"]).expanduser()).resolve()
            images = [
                f"{uri.rest.rstrip('/')}/{path.name}"
                for path in sorted(folder.glob("*.npy"))
                if path != labels
            ]
        if not images:
            raise InputError(f"cifar-npy: {uri.rest!r} holds no images: expected CORRUPTION.npy")
        return {
            f"{Path(name).stem}/{severity}": replace(
                uri, rest=name, query={**query, "severity": severity}
            )
            for name in images
            for severity in map(str, range(1, _SEVERITIES + 1))
            if query.get("severity", severity) == severity
        }

    def read(self, opening: DataOpening) -> RawData:
        """Reads the files."""
        uri = opening.uri
        files, options, classes = _files(uri, opening.base)
        severity = _severity(uri)
        what = files[0].name

        images = map_npy(files[0])
        labels = np.asarray(map_npy(files[1]))
        layout = uri.query.get("layout", "")
        form = array_form(images.shape, images.dtype, what, layout=layout)
        if form.image_shape is None:
            raise InputError(f"{what}: expected images, got an array of shape {images.shape}")
        rows, notes = slice(None), []
        if severity:
            count, odd = divmod(len(images), _SEVERITIES)
            if odd:
                raise InputError(
                    f"cifar-npy: option severity: {what} has {len(images):,} images, expected five "
                    "stretches of equal length"
                )
            rows = slice((severity - 1) * count, severity * count)
            if len(labels) == count:
                labels = np.tile(labels, _SEVERITIES)
            notes = [f"severity {severity}: images {rows.start:,} to {rows.stop - 1:,} of {what}"]
        if len(labels) != len(images):
            raise InputError(
                f"option labels: {files[1].name} has {len(labels):,} labels for {len(images):,} "
                f"images"
            )
        target = column_array(labels[rows], len(labels[rows]), files[1].name, what)

        def fill(conversion: Conversion) -> None:
            chunks = chunked(images[rows])
            names = np.arange(len(target)).astype(str)
            others = {TARGET: target, _ROW: column_array(names, len(target), "rows", what)}
            write_arrays(conversion, "test", form, chunks, others=others, what=what)

        settings = {"source": "cifar-npy", "id": _ROW, "layout": form.layout, "severity": severity}
        done = convert(opening.scratch, fill, settings=settings, files=files, base=opening.base)
        more: dict[str, Any] = {"notes": tuple(notes), "key": done.key, "id": _ROW}
        if classes is not None:
            more["classes"] = classes
        return array_raw(form, done.roles, options, **more)


def _files(uri: URI, base: Path) -> tuple[tuple[Path, ...], DataOptions, tuple[str, ...] | None]:
    """Returns the files, images first, the options, and the classes if a file names them."""
    listed, names = class_file(uri, base)
    options = DataOptions.parse(listed, *OPTIONS)
    if "labels" not in uri.query:
        raise InputError("cifar-npy: option labels is missing: which .npy file holds the labels?")
    files = (
        existing_file(base, uri.rest, "data file"),
        existing_file(base, uri.query["labels"], "option labels: file"),
    )
    if names is None:
        return files, options, None
    return (*files, names), options, read_class_file(names).names


def _severity(uri: URI) -> int:
    value = uri.query.get("severity", "0")
    if value not in {"0", "1", "2", "3", "4", "5"} or (value == "0" and "severity" in uri.query):
        raise InputError(f"cifar-npy: option severity: expected 1 to 5, got {value!r}")
    return int(value)
