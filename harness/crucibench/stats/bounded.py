"""An interval of the mean of numbers that lie within known bounds, whatever their law."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks
from crucibench.stats.roots import root

_STEPS = 100
"""Most steps to a saddlepoint: halving alone would reach the float in 60."""

_PART = 1 << 13
"""Numbers of a dot product that BLAS leaves to one thread; more are summed in parts."""

_MANY, _CELLS = 1 << 14, 1 << 12
"""From more values than the first on, those that share one of so many cells of [0, 1] are one."""


def bounded_mean(
    values: ArrayLike, lower: float, upper: float, level: float = 0.95, *, halved: bool = False
) -> Interval:
    """Return Gaffke's interval of a mean of independent numbers between two bounds.

    The upper end is the quantile of sum_i D_i x_i, D a uniform draw of n + 1 weights that sum to 1
    and x the values and the upper bound: what the sample did not show may lie there. The lower end
    likewise, with the lower bound. Of zeros and ones it is the Clopper-Pearson interval; of many
    values in the middle it is as short as the normal one. A rare large loss that the sample does
    not show is covered, which no resampling of the sample does.

    The tail of the weighted sum is Lugannani and Rice's saddlepoint approximation (to three digits
    of Clopper-Pearson's bounds from n = 5), so that nothing is drawn.

    Args:
        values: Shape (n,), n at least 1, each within the bounds.
        lower: The smallest that a value can be.
        upper: The largest that a value can be.
        level: Confidence level, in (0, 1).
        halved: Half of such an unseen value in place of one, which covers on average.

    Returns:
        Bounds within ``lower`` and ``upper``; method ``gaffke``, or ``gaffke-halved``.

    Raises:
        ValueError: No value, or one that is not finite or out of bounds.

    Source:
        Gaffke 2005, Three test statistics for a nonparametric one-sided hypothesis on the mean of
        a nonnegative variable; Learned-Miller and Thomas 2019, arXiv:1905.06208 (simulated to
        cover at any n, proven for none); Lugannani and Rice 1980, Adv. Appl. Probab. 12:475.
    """
    array = _checks.vector("values", values)
    if array.size == 0:
        raise ValueError("values: expected at least 1, got 0")
    low, high = _checks.finite("lower", lower), _checks.finite("upper", upper)
    if array.min() < low or array.max() > high:
        raise ValueError(
            f"values: expected numbers in [{low:.6g}, {high:.6g}], "
            f"got {array.min():.6g} to {array.max():.6g}"
        )
    tail = (1.0 - _checks.level(level)) / 2.0
    method = "gaffke-halved" if halved else "gaffke"
    if low == high:
        return Interval(low, high, float(level), method)
    # Equal values count once, with their number: the sum of their weights is a gamma variable.
    distinct, counts = _distinct((array - low) / (high - low))
    above = _end(distinct, counts, tail, halved)
    below = 1.0 - _end(1.0 - distinct, counts, tail, halved)
    scale = high - low
    return Interval(low + scale * below, low + scale * above, float(level), method)


def _distinct(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the values in [0, 1] that differ, and how often each occurs.

    Of many, those of one cell count as their mean, which leaves the mean of all as it is.
    """
    if len(values) <= _MANY:
        return np.unique(values, return_counts=True)
    cells = np.minimum((values * _CELLS).astype(np.int64), _CELLS)
    counts = np.bincount(cells)
    filled = counts > 0
    return np.bincount(cells, values)[filled] / counts[filled], counts[filled]


def _end(
    values: NDArray[np.float64], counts: NDArray[np.int64], tail: float, halved: bool
) -> float:
    """Return the upper end of a mean of numbers in [0, 1]."""
    if values.min() == 1.0:
        return 1.0
    points = np.append(values, 1.0)
    shapes = np.append(counts.astype(np.float64), 0.5 if halved else 1.0)
    near = float(np.average(values, weights=counts))
    if _beyond(points, shapes, near) <= tail:
        # Few values and half an unseen one may pull the end below the mean itself.
        return near
    step = math.sqrt(float(np.average((values - near) ** 2, weights=counts)) / counts.sum())
    step = max(step, 1.0 / counts.sum())
    while near + step < 1.0 and _beyond(points, shapes, near + step) > tail:
        step *= 2.0
    # On the scale of normal quantiles a tail is nearly linear in the bound.
    wanted = ndtri(tail)
    return root(
        lambda at: float(ndtri(max(_beyond(points, shapes, at), 1e-300))) - wanted,
        near, min(1.0, near + step), tolerance=1e-11,
    )  # fmt: skip


def _beyond(points: NDArray[np.float64], shapes: NDArray[np.float64], at: float) -> float:
    """Return P(sum_i G_i (x_i - at) > 0), G_i independent gamma variables of the given shapes."""
    y = points - at
    highest, lowest = float(y.max()), float(y.min())
    if highest <= 0.0:
        return 0.0
    if lowest >= 0.0:
        return 1.0
    # The saddlepoint is the root of a decreasing function between two poles: Newton, and halving.
    left, right, s = 1.0 / lowest, 1.0 / highest, 0.0
    for _ in range(_STEPS):
        scaled = y / (1.0 - s * y)
        slope = _dot(shapes, scaled)
        if slope > 0.0:
            right = s
        else:
            left = s
        curvature = _dot(shapes, scaled**2)
        step = s - slope / curvature
        if not left < step < right:
            step = (left + right) / 2.0
        if abs(step - s) <= 1e-12 * (right - left) or step == s:
            break
        s = step
    scaled = y / (1.0 - s * y)
    exponent = _dot(shapes, np.log1p(-s * y))
    w = math.copysign(math.sqrt(max(0.0, 2.0 * exponent)), s)
    u = s * math.sqrt(_dot(shapes, scaled**2))
    if abs(w) < 1e-4:
        spread = _dot(shapes, y**2)
        skew = 2.0 * _dot(shapes, y**3)
        return 0.5 - skew / (6.0 * math.sqrt(2.0 * math.pi * spread**3))
    density = math.exp(-w * w / 2.0) / math.sqrt(2.0 * math.pi)
    return float(ndtr(-w) + density * (1.0 / u - 1.0 / w))


def _dot(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if len(first) <= _PART:  # as nearly always: in half the time
        return float(first @ second)
    starts = range(0, len(first), _PART)
    return sum(float(first[at : at + _PART] @ second[at : at + _PART]) for at in starts)
