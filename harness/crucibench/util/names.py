"""Names of samples, ids or the user's own, which become Python strings when something asks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_BLOCK = 1 << 12
"""Of so many, the strings stay in memory that is used again for the next."""
_FEW = 10_000
"""Fewer ids are those of a batch, of which an attack makes many draws in a row."""


@final
class Names:
    """A column of strings, shape (n,): as Arrow holds it, or as an array of Python's.

    A million of Python's take 90 MB, and making them takes as long as a dozen metrics.
    """

    def __init__(
        self, held: NDArray[np.object_] | pa.ChunkedArray | Names,
        rows: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        self._held = held
        self._rows = rows

    def __len__(self) -> int:
        return len(self._held if self._rows is None else self._rows)

    @cached_property
    def array(self) -> NDArray[np.object_]:
        """The names as Python's strings."""
        if isinstance(self._held, Names):
            return self._held.array[self._rows]
        if isinstance(self._held, np.ndarray):
            return self._held
        return np.asarray(self._held.to_numpy(zero_copy_only=False), dtype=object)

    @cached_property
    def column(self) -> pa.ChunkedArray:
        """The names as an Arrow column of type string."""
        if isinstance(self._held, pa.ChunkedArray):
            return self._held.cast(pa.string())
        return pa.chunked_array([pa.array(self.array, pa.string())])

    @cached_property
    def words(self) -> NDArray[np.int64]:
        """What draws depend on of each name: see `sample_words`."""
        binary = self.column.cast(pa.binary())
        return np.concatenate(
            [
                _words(binary.slice(start, _BLOCK).to_numpy(zero_copy_only=False))
                for start in range(0, max(1, len(self)), _BLOCK)
            ]
        )

    @cached_property
    def numbered(self) -> bool:
        """Whether some name has a dash, as the ids of repeated contents do."""
        return bool(pc.any(pc.match_substring(self.column, "-")).as_py())

    def take(self, rows: NDArray[np.int64]) -> Names:
        """Returns the names at `rows`, once something asks for them."""
        return Names(self, rows)


def sample_words(ids: Sequence[str]) -> NDArray[np.int64]:
    """Returns two 32-bit words of each id's digest, shape (n, 2), not to be changed."""
    return _kept_words(tuple(ids)) if len(ids) < _FEW else _words_of(ids)


def _words_of(ids: Iterable[str]) -> NDArray[np.int64]:
    return _words(identity.encode() for identity in ids)


_kept_words = lru_cache(maxsize=16)(_words_of)


def _words(ids: Iterable[bytes]) -> NDArray[np.int64]:
    digests = b"".join([hashlib.sha256(identity).digest()[:8] for identity in ids])
    return np.frombuffer(digests, dtype="<u4").astype(np.int64).reshape(-1, 2)
