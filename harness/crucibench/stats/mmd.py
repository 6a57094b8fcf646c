"""Maximum mean discrepancy: are two samples of vectors from one distribution?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.stats import _checks
from crucibench.stats.resampling import MAX_CELLS, block_rows, generator
from crucibench.stats.two_sample import TwoSampleTest

PERMUTATIONS = 999
MOST = 1000
"""Vectors of each sample that the test is made on: its time and memory grow with their square."""


def maximum_mean_discrepancy(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    stream: str,
    permutations: int = PERMUTATIONS,
    most: int = MOST,
) -> TwoSampleTest:
    """Test whether two samples of vectors come from one distribution.

    The kernel is Gaussian, exp(-d**2 / (2 s**2)), s the median distance of two different vectors of
    the pooled samples, which does not depend on the labels: so the permutation test is exact.

    Args:
        first: (n, d) finite vectors, n >= 2. Columns of other units should be scaled before.
        second: (m, d) finite vectors, m >= 2.
        seed: Any integer.
        stream: Name of the draw.
        permutations: Random labellings.
        most: Vectors of each sample that are used, a random subset where there are more; >= 2.

    Returns:
        The unbiased squared discrepancy, which may be negative, and its p-value (1 + hits) /
        (permutations + 1). Where all vectors are equal, 0 and 1. Sizes are those that were used.

    Raises:
        ValueError: Shapes that do not fit, or a value that is not finite.

    Source:
        Gretton et al. 2012, Journal of Machine Learning Research 13:723, equation 3 and section 8.
    """
    permutations = _checks.count("permutations", permutations, minimum=1)
    most = _checks.count("most", most, minimum=2)
    sides = [_matrix("first", first), _matrix("second", second)]
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError(
            f"second: expected {sides[0].shape[1]} columns as the first, got {sides[1].shape[1]}"
        )
    sides = [
        _subset(side, most, seed, f"{stream}/{name}")
        for side, name in zip(sides, ("first", "second"), strict=True)
    ]
    n, m = len(sides[0]), len(sides[1])
    if min(n, m) < 2:
        reason = "a sample has fewer than two vectors"
        return TwoSampleTest(float("nan"), float("nan"), "none", n, m, reason)
    method = f"mmd-gaussian-permutation-{permutations}"
    kernel = _kernel(np.concatenate(sides))
    if kernel is None:
        return TwoSampleTest(0.0, 1.0, method, n, m)
    labels = np.zeros((1, n + m))
    labels[0, :n] = 1.0
    found = float(_discrepancies(labels, kernel, n, m)[0])
    rng = generator(seed, stream)
    hits = 0
    for rows in block_rows(permutations, n + m, MAX_CELLS):
        drawn = rng.permuted(np.repeat(labels, rows, axis=0), axis=1)
        hits += int(np.count_nonzero(_discrepancies(drawn, kernel, n, m) >= found - 1e-12))
    return TwoSampleTest(found, (1 + hits) / (permutations + 1), method, n, m)


def _matrix(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name}: expected shape (n, d) with d >= 1, got {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        raise ValueError(f"{name}: expected finite values, got another in row {row}")
    return array


def _subset(side: NDArray[np.float64], most: int, seed: int, stream: str) -> NDArray[np.float64]:
    if len(side) <= most:
        return side
    kept = generator(seed, stream).choice(len(side), most, replace=False, shuffle=False)
    return side[np.sort(kept)]


def _kernel(pooled: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the kernel matrix with an empty diagonal; None where all vectors are equal."""
    from scipy.spatial.distance import pdist, squareform

    squared = pdist(pooled, "sqeuclidean")
    apart = squared[squared > 0.0]
    if not apart.size:
        return None
    kernel: NDArray[np.float64] = squareform(np.exp(squared / (-2.0 * np.median(apart))))
    return kernel


def _discrepancies(
    labels: NDArray[np.float64], kernel: NDArray[np.float64], n: int, m: int
) -> NDArray[np.float64]:
    """Return the squared discrepancy for each row of labels (B, n + m): 1 is the first sample."""
    across = labels @ kernel
    total = float(kernel.sum())
    within: NDArray[np.float64] = np.vecdot(across, labels)
    of_first: NDArray[np.float64] = across.sum(axis=1)
    between = of_first - within
    others = total - within - 2.0 * between
    found: NDArray[np.float64] = (
        within / (n * (n - 1)) + others / (m * (m - 1)) - 2.0 * between / (n * m)
    )
    return found
