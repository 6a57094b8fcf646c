"""Random draws that depend on seed, stream, sample id and step alone.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.2) is
a function from a counter and a key to 128 random bits. Here the key is a digest of seed, stream
and step, and the counter a digest of the sample id with a block number, so that a sample's draws
are the same alone and in any batch, order, shard or worker. Integers are exact on every device;
floats made from them differ by device rounding only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.util.names import Names, sample_words

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_AT_ONCE = 1 << 14
"""Counters: what is made of many more does not fit a cache of the processor, and takes longer."""


def philox(counter: Sequence[Any], key: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
    """Returns the four 32-bit words of Philox4x32-10 for each counter.

    Args:
        counter: four arrays of 32-bit words, held in int64: NumPy arrays or torch tensors, on any
            device, of shapes that broadcast. 64-bit products wrap around, which both libraries
            define alike.
        key: two 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        high0, low0 = (p0 >> 32) & _MASK, p0 & _MASK
        high1, low1 = (p1 >> 32) & _MASK, p1 & _MASK
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


@dataclass(frozen=True)
class Draws:
    """Keyed draws of one declared stream.

    Attributes:
        seed: the run's seed.
        stream: what the draws are for, e.g. ``shift/gaussian_noise``. It leaves out model,
            severity and eps, so that these share draws.
    """

    seed: int
    stream: str

    def words(self, ids: Sequence[str] | Names, step: str, count: int) -> NDArray[np.uint32]:
        """Returns exact 32-bit words, shape (len(ids), count), a row for each id."""
        blocks = -(-count // 4)
        sample = ids.words if isinstance(ids, Names) else sample_words(ids)
        words, key = np.empty((len(ids), blocks, 4), dtype=np.uint32), self._key(step)
        each = max(1, _AT_ONCE // max(1, len(ids)))
        for row, first in product(range(0, len(ids), _AT_ONCE), range(0, blocks, each)):
            rows, some = slice(row, row + _AT_ONCE), slice(first, min(first + each, blocks))
            numbers = np.arange(some.start, some.stop, dtype=np.int64)
            counter = numbers, np.int64(0), sample[rows, :1], sample[rows, 1:]
            for place, word in enumerate(philox(counter, key)):
                words[rows, some, place] = word
        return words.reshape(len(ids), blocks * 4)[:, :count]

    def uniform(
        self, ids: Sequence[str] | Names, step: str, shape: Sequence[int]
    ) -> NDArray[np.float32]:
        """Returns float32 in [0, 1), shape (len(ids), *shape), on a grid of 2**-24."""
        count = int(np.prod(shape, dtype=np.int64))
        words = self.words(ids, step, count) >> np.uint32(8)
        return (words.astype(np.float32) * np.float32(2.0**-24)).reshape(len(ids), *shape)

    def normal(self, ids: Sequence[str], step: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """Returns standard normal float32, shape (len(ids), *shape), by Box and Muller (1958)."""
        count = int(np.prod(shape, dtype=np.int64))
        words = self.words(ids, step, 2 * count).astype(np.float64)
        # (w + 0.5) / 2**32 is never 0, so the logarithm is finite.
        radius = np.sqrt(-2.0 * np.log((words[:, :count] + 0.5) * 2.0**-32))
        angle = 2.0 * np.pi * words[:, count:] * 2.0**-32
        return (radius * np.cos(angle)).astype(np.float32).reshape(len(ids), *shape)

    def integers(
        self, ids: Sequence[str], step: str, shape: Sequence[int], *, low: int = 0, high: int
    ) -> NDArray[np.int64]:
        """Returns exact integers in [low, high), shape (len(ids), *shape).

        Lemire's multiply-shift without rejection: the bias is below (high - low) / 2**32.

        Raises:
            ValueError: if the range is empty or wider than 2**32.
        """
        if not 0 < high - low <= 1 << 32:
            raise ValueError(f"high - low: expected 1 to 2**32, got {high - low}")
        count = int(np.prod(shape, dtype=np.int64))
        words = self.words(ids, step, count).astype(np.uint64)
        scaled = (words * np.uint64(high - low)) >> np.uint64(32)
        return (scaled.astype(np.int64) + low).reshape(len(ids), *shape)

    def _key(self, step: str) -> tuple[int, int]:
        text = "\x1f".join((str(self.seed), self.stream, step))
        digest = hashlib.sha256(text.encode()).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def order_key(seed: int, identity: str) -> int:
    """Returns a 64-bit number that orders samples for taking a subset of them."""
    digest = hashlib.sha256(f"order\x1f{seed}\x1f{identity}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
