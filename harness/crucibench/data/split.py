"""A split into test and train that depends on what the samples hold, not on their order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


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
