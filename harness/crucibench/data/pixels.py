"""Pixels that were decoded while the samples were looked at, so that nobody decodes them again.

They lie beside the index: those of all roles, one after the other, of 8 bits a channel. Kept are
images of up to `LARGEST` bytes, until `KEPT_AT_MOST` are full or an eighth of the free disk is;
the others are decoded wherever they are asked for.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.data.columnar import MappedTable
from crucibench.util import doors
from crucibench.util.doors import storing

KEPT_AT_MOST = 1 << 30
"""Bytes of pixels that are kept of a data set."""

LARGEST = 1 << 20
"""Bytes of the largest image that is kept: a batch of them is held in memory."""

_FILE = "pixels.arrow"
_SCHEMA = pa.schema([("pixels", pa.large_binary()), ("shape", pa.list_(pa.int32(), 3))])

Kept = NDArray[np.uint8] | None


def may_be_kept(pixels: NDArray[Any]) -> bool:
    """Whether an image is of a kind that is kept."""
    return pixels.dtype == np.uint8 and pixels.nbytes <= LARGEST


@contextlib.contextmanager
def keeping(folder: Path) -> Iterator[Callable[[Sequence[Kept]], None]]:
    """Yields what takes the images of a data set, in order, and keeps them in `folder`.

    Each is (H, W, C) pixels, or None where it is not to be kept.
    """
    left = min(KEPT_AT_MOST, shutil.disk_usage(folder).free // 8)
    with storing(folder / _FILE):
        stream = doors.open_file(folder / _FILE, "wb")
    with stream as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:

        def keep(images: Sequence[Kept]) -> None:
            nonlocal left
            if left <= 0:
                return
            left -= sum(image.nbytes for image in images if image is not None)
            shapes = [(0, 0, 0) if image is None else image.shape for image in images]
            flat = pa.array(np.array(shapes, dtype=np.int32).ravel())
            columns = [
                pa.array([None if image is None else image.tobytes() for image in images],
                         pa.large_binary()),
                pa.FixedSizeListArray.from_arrays(flat, 3),
            ]  # fmt: skip
            writer.write(pa.record_batch(columns, schema=_SCHEMA))

        yield keep


class KeptPixels:
    """The images that `keeping` kept, mapped from disk."""

    def __init__(self, folder: Path, lengths: Mapping[str, int]) -> None:
        """Maps them.

        Args:
            folder: where they lie.
            lengths: of the roles, in the order in which they were read.
        """
        data = MappedTable(folder / _FILE).data
        self._pixels, self._shapes = data.column("pixels"), data.column("shape")
        self._first = dict(zip(lengths, np.cumsum([0, *lengths.values()]), strict=False))

    def at(self, role: str, rows: NDArray[np.int64]) -> list[Kept]:
        """Returns the images at `rows` of a role, (H, W, C); None for one that was not kept."""
        count = len(self._pixels)
        return [
            self._image(row) if row < count else None for row in (rows + self._first[role]).tolist()
        ]

    def _image(self, row: int) -> Kept:
        content = self._pixels[row].as_buffer()
        if content is None:
            return None
        return np.frombuffer(content, dtype=np.uint8).reshape(self._shapes[row].as_py())
