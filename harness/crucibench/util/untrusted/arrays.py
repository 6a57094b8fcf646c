"""NumPy's files of others: a ``.npz`` array by array, in pieces; a ``.npy`` mapped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from crucibench.util.text import first_line
from crucibench.util.untrusted.archive import ZipReader
from crucibench.util.untrusted.content import RefusedError

_NPY = ".npy"
_VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_DIMENSIONS_AT_MOST = 32
_LENGTH_AT_MOST = 1 << 48


@dataclass(frozen=True)
class NpzFile:
    """The arrays of a file; one can be read in pieces, so that it need not fit in memory.

    Attributes:
        path: of the file.
        allow_pickle: whether arrays of objects may be unpickled, which can run any code.
    """

    path: Path
    allow_pickle: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The arrays' names.

        Raises:
            RefusedError: if it is no ``.npz`` file.
        """
        with self._zip() as archive:
            names = [name for name in archive.sizes if name.endswith(_NPY)]
        return tuple(name.removesuffix(_NPY) for name in names)

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Returns the shape and the dtype of an array."""
        with self._array(name) as (_, shape, _, dtype):
            return shape, self.load(name).dtype if dtype.hasobject else dtype

    def load(self, name: str) -> NDArray[Any]:
        """Returns an array, whole.

        Raises:
            RefusedError: if it is damaged, unpacks to far more than it takes, or holds objects
                that may not be unpickled.
        """
        with self._array(name) as (stream, shape, by_columns, dtype):
            if dtype.hasobject:
                return self._unpickled(name)
            return self._read(stream, name, shape, dtype, "F" if by_columns else "C")

    def pieces(self, name: str, rows: int) -> Iterator[NDArray[Any]]:
        """Yields an array in pieces of at most `rows` rows; one of another order comes whole.

        Raises:
            RefusedError: as `load` does.
        """
        with self._array(name) as (stream, shape, by_columns, dtype):
            if by_columns or dtype.hasobject or not shape:
                yield self.load(name)
                return
            for start in range(0, shape[0], rows):
                count = min(rows, shape[0] - start)
                yield self._read(stream, name, (count, *shape[1:]), dtype, "C")

    def _read(
        self, stream: IO[bytes], name: str, shape: tuple[int, ...], dtype: np.dtype[Any], order: Any
    ) -> NDArray[Any]:
        size = dtype.itemsize * math.prod(shape)
        content = bytearray(stream.read(size))
        if len(content) != size:
            raise self._refused(name, f"{size:,} bytes", f"{len(content):,}")
        return np.ndarray(shape, dtype, buffer=content, order=order)

    def _unpickled(self, name: str) -> NDArray[Any]:
        if not self.allow_pickle:
            raise self._refused(
                name, "numbers or strings",
                "Python objects, which only unpickling can read (--allow-pickle)",
            )  # fmt: skip
        try:
            with np.load(self.path, allow_pickle=True) as arrays:
                return np.asarray(arrays[name].astype(str))
        except Exception as error:  # whatever the objects raise
            raise self._refused(name, "an array", first_line(error)) from error

    @contextmanager
    def _array(self, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]]:
        """Opens an array behind its header."""
        with self._zip() as archive:
            unpacked = archive.sizes.get(f"{name}{_NPY}", 0)
            with archive.open(f"{name}{_NPY}") as stream:
                try:
                    shape, by_columns, dtype = _VERSIONS[np.lib.format.read_magic(stream)](stream)
                except Exception as error:  # whatever a header trips over
                    raise self._refused(name, "an array's header", first_line(error)) from error
                sizes = (*shape, dtype.itemsize or -1)
                if len(sizes) > _DIMENSIONS_AT_MOST or not all(
                    0 <= size < _LENGTH_AT_MOST for size in sizes
                ):
                    raise self._refused(name, "a shape", f"{shape!r} of {dtype}")
                left = unpacked - stream.tell()
                if not dtype.hasobject and math.prod(sizes) > left:
                    got = f"{left:,}: it is shorter than its header says"
                    raise self._refused(name, f"{math.prod(sizes):,} bytes", got)
                yield stream, shape, by_columns and len(shape) > 1, dtype

    def _zip(self) -> ZipReader:
        return ZipReader(self.path, self.path.name)

    def _refused(self, name: str, expected: str, got: str) -> RefusedError:
        return RefusedError(self.path.name, expected, got, place=f"array {name!r}")


def map_npy(path: Path) -> NDArray[Any]:
    """Maps a ``.npy`` file into memory; nothing of it is read before it is used.

    Raises:
        RefusedError: if it is none, holds objects, or no rows.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # whatever a header trips over
        raise RefusedError(path.name, "a .npy file", first_line(error)) from error
    if not isinstance(array, np.ndarray) or not array.ndim:
        raise RefusedError(path.name, "an array with a row per sample", "something else")
    return array
