"""Choosing samples by hashes, stratified by class: a part of a role, or those that become test."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.lists import Lists
from crucibench.util.draws import order_key


def take(
    ids: Sequence[str] | NDArray[np.object_],
    targets: NDArray[Any],
    limit: int | None,
    seed: int,
    sizes: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Returns the rows of the first `limit` samples in an order that `limit` has no part in.

    Within a class, samples are ordered by hash; the sample of rank r in a class of n samples comes
    at (r + 0.5) / n. So a smaller limit gives a subset of a larger one's, and every class is cut at
    the same fraction of its samples, to within half a sample. Where the target is a number, samples
    are ordered by hash alone.

    Args:
        ids: sample ids.
        targets: class indices (integers) or numbers (floats).
        limit: how many samples at most; None takes all.
        seed: of the run.
        sizes: samples of each class in the whole role, where `ids` are already a limited part of
            it: a limit on the part then gives what it gives on the whole.

    Returns:
        Row numbers, ascending.

    Raises:
        ValueError: if `limit` is not positive.
    """
    count = len(ids)
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1, got {limit}")
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    keys = np.fromiter((order_key(seed, name) for name in ids), dtype=np.uint64, count=count)
    if isinstance(targets, Lists) or targets.dtype.kind == "f":
        order = np.argsort(keys, kind="stable")
    else:
        _, strata = np.unique(targets, return_inverse=True)
        present = np.bincount(strata)
        within = np.lexsort((keys, strata))
        starts = np.cumsum(present) - present
        ranks = np.empty(count, dtype=np.int64)
        ranks[within] = np.arange(count) - np.repeat(starts, present)
        whole = present[strata] if sizes is None else np.asarray(sizes)[targets]
        order = np.lexsort((keys, (ranks + 0.5) / whole))
    return np.sort(order[:limit]).astype(np.int64)


def choose_test(
    share: float,
    units: Sequence[Hashable],
    strata: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Chooses the samples that become test: `share` of each stratum, whole units only.

    Units are met in the order of a hash of their names. One becomes test where that brings the
    strata nearer to their shares: the sum over strata of ((chosen - share * size) / size)**2 falls.
    Units of one sample each therefore give the smallest hashes of each stratum, round(share * size)
    of them, and a row that is added moves at most one other sample, of its own stratum, to the
    other role.

    Args:
        share: between 0 and 1.
        units: for each sample the name of what may not be torn apart: its cluster or its content.
        strata: the class of each sample; all 0 for regression.

    Returns:
        Whether each sample is test.
    """
    sizes = np.bincount(strata).tolist()
    wanted = [share * size for size in sizes]
    chosen = [0] * len(sizes)
    members: dict[Hashable, list[int]] = {}
    for row, unit in enumerate(units):
        members.setdefault(unit, []).append(row)
    strata_of = strata.tolist()
    test = np.zeros(len(strata), dtype=np.bool_)
    for unit in sorted(members, key=_order):
        rows = members[unit]
        counts = Counter([strata_of[row] for row in rows])
        change = 0.0
        for stratum, count in counts.items():
            surplus = chosen[stratum] - wanted[stratum]
            change += count * (count + 2.0 * surplus) / sizes[stratum] ** 2
        if change < 0.0:
            test[rows] = True
            for stratum, count in counts.items():
                chosen[stratum] += count
    return test


def _order(unit: Hashable) -> bytes:
    return hashlib.sha256(f"split\x1f{unit!r}".encode()).digest()
