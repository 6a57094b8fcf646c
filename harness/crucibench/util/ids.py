"""Sample ids: content hashes, with a number appended where a content repeats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.util.draws import Draws
from crucibench.util.names import Names

_HASH_DIGITS = 32
"""Hexadecimal digits of a content hash; what follows a dash numbers samples of equal content."""


def contents(ids: NDArray[np.object_]) -> NDArray[np.object_]:
    """Returns the name of each sample's content: its id without the number of a repetition.

    A suffix ``-1``, ``-2``, ... numbers repetitions where what precedes it is a content hash, or
    the id of another sample.
    """
    if "-" not in "".join(ids.tolist()):
        return ids
    known = set(ids.tolist())
    names = np.empty(len(ids), dtype=object)
    for row, identity in enumerate(ids.tolist()):
        head, dash, tail = identity.rpartition("-")
        repeats = dash and tail.isdecimal() and (head in known or _is_hash(head))
        names[row] = head if repeats else identity
    return names


def together(ids: NDArray[np.object_], clusters: NDArray[Any]) -> NDArray[np.object_]:
    """Returns one name for all samples of a cluster: its smallest content.

    Codes or names of clusters would do, but for their depending on who else is there.

    Args:
        ids: sample ids, shape (n,).
        clusters: codes or names of samples drawn together, shape (n,).
    """
    names = contents(ids)
    _, codes = np.unique(clusters.astype(str), return_inverse=True)
    order = np.lexsort((names.astype(str), codes))
    heads = np.r_[True, codes[order][1:] != codes[order][:-1]]
    smallest = names[order][heads]
    return np.asarray(smallest[codes], dtype=object)


def _is_hash(text: str) -> bool:
    return len(text) == _HASH_DIGITS and all(digit in "0123456789abcdef" for digit in text)


# A fixed split of samples into two halves, for what is found on one and judged on the other.


@dataclass(frozen=True)
class Halves:
    """Splits by sample id: a sample's half depends on seed, stream and its own id alone.

    Attributes:
        seed: the run's seed.
        stream: what the halves are for.
    """

    seed: int
    stream: str

    def first(self, names: Names, clusters: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Says of each sample whether it is in the first half, shape (n,).

        Samples of one cluster, and samples of equal content, stay together: otherwise what is
        found on one half would have seen the other.

        Args:
            names: sample ids, n of them.
            clusters: codes of samples drawn together, shape (n,), or None.
        """
        if clusters is not None:
            names = Names(together(names.array, clusters))
        elif names.numbered:
            names = Names(contents(names.array))
        words = Draws(self.seed, self.stream).words(names, "half", 1)
        return np.asarray((words[:, 0] & 1) == 0)
