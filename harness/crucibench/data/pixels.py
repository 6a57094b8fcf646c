"""Pixels that were decoded while the samples were looked at, so that nobody decodes them again.

They lie beside the index: those of all roles, one after the other, of 8 bits a channel. Kept are
images of up to `LARGEST` bytes, until `KEPT_AT_MOST` are full or an eighth of the free disk is;
the others are decoded wherever they are asked for.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.util import doors
from crucibench.util.doors import storing

KEPT_AT_MOST = 1 << 30
"""Bytes of pixels that are kept of a data set."""

LARGEST = 1 << 20
"""Bytes of the largest image that is kept: a batch of them is held in memory."""

_PIXELS, _PLACES = "pixels.bin", "pixels.npy"

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
    places: list[tuple[int, int, int, int]] = []
    with storing(folder / _PIXELS):
        stream = doors.open_file(folder / _PIXELS, "wb")
    with stream as sink:

        def keep(images: Sequence[Kept]) -> None:
            nonlocal left
            for image in images:
                if image is None or image.nbytes > left:
                    places.append((-1, 0, 0, 0))
                    continue
                left -= image.nbytes
                height, width, channels = image.shape
                places.append((sink.tell(), height, width, channels))
                sink.write(np.ascontiguousarray(image).data)

        yield keep
    with storing(folder / _PLACES), doors.open_file(folder / _PLACES, "wb") as sink:
        np.save(sink, np.array(places, dtype=np.int64).reshape(-1, 4))


class KeptPixels:
    """The images that `keeping` kept, mapped from disk."""

    def __init__(self, folder: Path, lengths: Mapping[str, int]) -> None:
        """Maps them.

        Args:
            folder: where they lie.
            lengths: of the roles, in the order in which they were read.
        """
        self._places = np.load(folder / _PLACES, mmap_mode="r")
        # NumPy maps no empty file.
        empty = not (folder / _PIXELS).stat().st_size
        mapped = np.empty(0, np.uint8) if empty else np.memmap(folder / _PIXELS, mode="r")
        self._pixels = mapped.view(np.ndarray)
        self._first = dict(zip(lengths, np.cumsum([0, *lengths.values()]), strict=False))

    def at(self, role: str, rows: NDArray[np.int64]) -> list[Kept]:
        """Returns the images at `rows` of a role, (H, W, C); None for one that was not kept."""
        found: list[Kept] = []
        for start, *shape in self._places[rows + self._first[role]].tolist():
            pixels = self._pixels[start : start + math.prod(shape)]
            found.append(pixels.reshape(shape) if start >= 0 else None)
        return found
