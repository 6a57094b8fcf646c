"""Sample ids: content hashes, with a number appended where a content repeats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_HASH_DIGITS = 32
"""Hexadecimal digits of a content hash; what follows a dash numbers samples of equal content."""


def contents(ids: NDArray[np.object_]) -> NDArray[np.object_]:
    """Returns the name of each sample's content: its id without the number of a repetition.

    A suffix ``-1``, ``-2``, ... numbers repetitions where what precedes it is a content hash, or
    the id of another sample.
    """
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
