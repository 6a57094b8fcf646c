"""Pairing two sets of records by sample id."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.util.errors import NotComparableError


class Pairing(NamedTuple):
    """Rows that belong together.

    Attributes:
        rows_a: rows of the first, shape (n,), int64.
        rows_b: their partners in the second.
        only_a: how many ids the second lacks.
        only_b: how many ids the first lacks.
    """

    rows_a: NDArray[np.int64]
    rows_b: NDArray[np.int64]
    only_a: int
    only_b: int


def pair(
    ids_a: NDArray[np.object_], ids_b: NDArray[np.object_], *, intersect: bool = False
) -> Pairing:
    """Pairs two arrays of ids, in the order of the first.

    Raises:
        NotComparableError: if an id occurs twice on one side, or the sides differ and `intersect`
            is not set, or they share none.
    """
    if len(ids_a) == len(ids_b) and bool(np.all(ids_a == ids_b)) and pd.Index(ids_a).is_unique:
        rows = np.arange(len(ids_a), dtype=np.int64)
        return Pairing(rows, rows, 0, 0)
    first, second = pd.Index(ids_a), pd.Index(ids_b)
    for index in (first, second):
        if not index.is_unique:
            raise NotComparableError("samples can't be paired: an id occurs twice at one point")
    partner = np.asarray(second.get_indexer(first), dtype=np.int64)
    rows_a = np.flatnonzero(partner >= 0)
    only_a, only_b = len(ids_a) - len(rows_a), len(ids_b) - len(rows_a)
    if not len(rows_a):
        raise NotComparableError("samples can't be paired: the two share no id")
    if (only_a or only_b) and not intersect:
        raise NotComparableError(
            f"samples differ: {len(rows_a)} are common, {only_a} and {only_b} are on one side "
            "only; compare the common ones with --intersect"
        )
    return Pairing(rows_a, partner[rows_a], only_a, only_b)
