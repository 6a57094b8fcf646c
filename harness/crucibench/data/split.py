"""A split into test and train that depends on what the samples hold, not on their order."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
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
    sizes = np.bincount(strata).astype(np.float64)
    wanted = (share * sizes).tolist()
    weights = (1.0 / np.maximum(sizes, 1.0) ** 2).tolist()
    chosen = [0.0] * len(sizes)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, unit in enumerate(units):
        members[unit].append(row)
    test = np.zeros(len(strata), dtype=np.bool_)
    for unit in sorted(members, key=_order):
        rows = members[unit]
        counts = Counter(strata[rows].tolist())
        change = sum(
            weights[stratum] * count * (count + 2.0 * (chosen[stratum] - wanted[stratum]))
            for stratum, count in counts.items()
        )
        if change < 0.0:
            test[rows] = True
            for stratum, count in counts.items():
                chosen[stratum] += count
    return test


def _order(unit: Hashable) -> bytes:
    return hashlib.sha256(f"split\x1f{unit!r}".encode()).digest()
