"""The sign-flip permutation test of paired differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.stats import _checks
from crucibench.stats.resampling import MAX_CELLS, block_rows, generator

EXACT_UP_TO = 16
"""Up to this many flips all 2**m sign patterns are tried; beyond they are drawn."""


def sign_flip_permutation(
    differences: ArrayLike,
    *,
    replicates: int = 9999,
    seed: int,
    stream: str,
    clusters: ArrayLike | None = None,
    max_cells: int = MAX_CELLS,
) -> float:
    """Return the two-sided p-value of a mean difference of 0, by flipping signs.

    With no difference between two models, each sample's difference is as likely as its negative.
    The test is exact at any n for that hypothesis.

    Args:
        differences: (n,) finite differences, first minus second, n >= 1.
        replicates: Number of random sign patterns, where not all are tried.
        seed: Any integer.
        stream: Name of the draw.
        clusters: (n,) codes of samples whose signs flip together.
        max_cells: Bound on the signs held at once; it never changes a draw.

    Returns:
        A p-value in (0, 1]. All patterns are tried up to 16 units (samples or clusters) whose
        difference is not 0; beyond, the p-value is (1 + hits) / (replicates + 1). 1 where no unit
        differs.

    Raises:
        ValueError: No differences, one that is not finite, or another argument out of range.

    Source:
        Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses; the +1,
        Phipson and Smyth 2010, Statistical Applications in Genetics 9:39.
    """
    values = _checks.vector("differences", differences)
    if values.size == 0:
        raise ValueError("differences: expected at least one value, got none")
    replicates = _checks.count("replicates", replicates, minimum=1)
    if clusters is not None:
        unit_of, units = _checks.codes("clusters", clusters, values.size)
        values = np.bincount(unit_of, weights=values, minlength=units).astype(np.float64)
    # A 0 stays 0 under either sign.
    values = values[values != 0.0]
    if values.size == 0:
        return 1.0
    # Sums that are equal but for rounding are ties, and a tie counts against the difference.
    least = abs(float(values.sum())) - 1e-12 * float(np.abs(values).sum())
    if values.size <= EXACT_UP_TO:
        patterns = np.arange(1 << values.size)[:, None] >> np.arange(values.size) & 1
        return float(np.mean(np.abs(_flipped(patterns, values)) >= least))
    rng = generator(seed, stream)
    hits = 0
    words = -(-values.size // 64)
    for rows in block_rows(replicates, values.size, max_cells):
        # Whole words a row, so that a row's signs do not depend on the block.
        drawn = rng.bit_generator.random_raw(rows * words).astype("<u8").view(np.uint8)
        bits = np.unpackbits(drawn.reshape(rows, 8 * words), axis=1, count=values.size)
        hits += int(np.count_nonzero(np.abs(_flipped(bits, values)) >= least))
    return (1 + hits) / (replicates + 1)


def _flipped(bits: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums with the sign of each value flipped where its bit is 1, (B,)."""
    sums: NDArray[np.float64] = np.vecdot(1.0 - 2.0 * bits, values)
    return sums
