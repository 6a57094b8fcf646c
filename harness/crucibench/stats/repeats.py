"""Whether someone who answers with noise is still the same, from repeats of the same questions.

Nothing is assumed of the noise but that the askings of one answerer can be exchanged: within one
asking it may be of any law, differ between questions, and be shared by all of them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from crucibench.stats import _checks

_AXES = 3
"""Directions in which two groups are looked for."""

Numbers = NDArray[np.float64]


def repeats_needed(first: int, false_alarms: float, times: int) -> int:
    """Return how often to ask again so that `differ_beyond_noise` errs as rarely as stated.

    Args:
        first: Askings to begin with.
        false_alarms: The chance, in (0, 1), of any false alarm.
        times: How often one may be raised.

    Returns:
        The least number m with 3 / C(first + m, first) * times <= ``false_alarms``.
    """
    rate = _checks.level(false_alarms, "false_alarms")
    again = 1
    while math.comb(first + again, first) * rate < _AXES * times:
        again += 1
    return again


def looks_other(first: ArrayLike, again: ArrayLike, noise: float) -> NDArray[np.bool_]:
    """Return whether an asking lies further outside of the first ones than any of these did.

    Under exchangeable askings that happens in about one of ``r + 1`` cases, for r first ones: it
    is a reason to ask more, and no proof. Of answers that never differ, one other is enough.

    Args:
        first: (..., r, k) answers to k questions, asked r times; r at least 3.
        again: (..., k) the answers of another asking.
        noise: How far two answers may lie apart and count as one, relative to the larger of the
            answer and 1.

    Returns:
        Shape (...), bool.
    """
    answers, new = np.asarray(first, dtype=np.float64), np.asarray(again, dtype=np.float64)
    ordered = np.sort(answers, axis=-2)
    low, low_but_one = ordered[..., :1, :], ordered[..., 1:2, :]
    high, high_but_one = ordered[..., -1:, :], ordered[..., -2:-1, :]
    tolerance = noise * np.maximum(1.0, np.abs(low))
    own = _outside(
        answers,
        np.where(answers == low, low_but_one, low),
        np.where(answers == high, high_but_one, high),
        tolerance,
    )
    others = _outside(new[..., None, :], low, high, tolerance)
    found: NDArray[np.bool_] = others[..., 0] > own.max(axis=-1)
    return found


def differ_beyond_noise(first: ArrayLike, again: ArrayLike, noise: float) -> bool:
    """Return whether the answers alone, without their order, give away which came first.

    All askings are put on ranks, question by question; along each of the three main directions
    they are cut in two groups of the sizes given, at the end where the gap is wider. True if one
    such cut has the first askings on one side and the others on the other. A cut depends on the
    answers as a set; so under exchangeable askings the chance of that is at most
    3 / C(r + m, r), whatever the noise: an exact permutation test that takes no permutations.

    Args:
        first: (r, k) answers to k questions, asked r times.
        again: (m, k) the answers of m further askings.
        noise: As of `looks_other`.
    """
    early = np.asarray(first, dtype=np.float64)
    pooled = np.concatenate([early, np.asarray(again, dtype=np.float64)])
    middle = np.maximum(1.0, np.abs(np.median(pooled, axis=0)))
    pooled = pooled[:, np.ptp(pooled, axis=0) > noise * middle]
    if not pooled.shape[1]:
        return False
    scores = ndtri((rankdata(pooled, axis=0) - 0.5) / len(pooled))
    scores -= scores.mean(axis=0)
    scores /= np.sqrt((scores**2).mean(axis=0))
    _, vectors = np.linalg.eigh(scores @ scores.T)
    return any(_splits(vectors[:, -1 - axis], len(early)) for axis in range(_AXES))


def _outside(answers: Numbers, low: Numbers, high: Numbers, tolerance: Numbers) -> Numbers:
    """Return how far answers lie outside of a range, in widths of it; 1 is infinitely far."""
    beyond = np.maximum(0.0, np.maximum(answers - high, low - answers) - tolerance)
    found: Numbers = (beyond / (beyond + (high - low) + tolerance)).mean(axis=-1)
    return found


def _splits(along: Numbers, first: int) -> bool:
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    below, above = gaps[first - 1], gaps[len(along) - first - 1]
    if max(below, above) <= 1e-9:
        return False  # nothing lies between: the order of equals is that of asking
    few = order[:first] if below >= above else order[-first:]
    return bool((few < first).all())
