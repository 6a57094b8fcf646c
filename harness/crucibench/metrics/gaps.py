"""How far groups lie apart: differences and ratios over groups, with intervals that can hold 0.

The largest difference between groups is never negative, so that a percentile interval of it lies
above 0 even where all groups are alike. Here an interval is made of bounds of signed differences
between pairs of groups, which can lie on either side of 0. Let theta be the largest of the true
differences:

- No true difference of a pair exceeds theta, nor does that of a group and the mean of all others.
  So theta lies above the highest of their lower bounds wherever these hold all at once: half of the
  probability goes to the pairs, half to the groups against the rest (Bonferroni in each). Pairs are
  the sharper ones where groups split in two camps, the rest where one group stands out of many.
- theta is the true difference of some pair, so it lies below the highest of the upper bounds
  wherever that pair's holds; no correction is needed.

A pair's bounds come from those of its two estimates by squaring and adding (Newcombe 1998, method
10; Zou and Donner 2008), for ratios on the logarithmic scale. Where clusters of samples lie in both
groups, their estimates go together, and the correlation is allowed for (Zou and Donner, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from crucibench.contracts.statistic import Interval
from crucibench.metrics._inputs import FloatArray

Kind = Literal["difference", "ratio"]
Bounds: TypeAlias = Callable[[float], tuple[FloatArray, FloatArray]]


@final
@dataclass(frozen=True)
class Estimates:
    """An estimate of each group.

    Attributes:
        values: shape (G,), all defined.
        bounds: from the probability beyond each to lower and upper bounds, shape (G,) each.
        sizes: shape (G,), by which the mean of several groups is weighted.
        correlation: shape (G, G), of the groups' estimates; None where they are independent.
    """

    values: FloatArray
    bounds: Bounds
    sizes: FloatArray
    correlation: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.values)


def of_rates(successes: ArrayLike, trials: ArrayLike) -> Estimates:
    """Returns proportions with Wilson's bounds.

    Args:
        successes: shape (G,), numbers from 0 to `trials`.
        trials: shape (G,), above 0. An effective number of clustered samples need not be whole.

    Raises:
        ValueError: if there is a group without trials.
    """
    n = np.asarray(trials, dtype=np.float64)
    if n.size and not n.min() > 0:
        raise ValueError(f"trials: expected numbers above 0, got {n.min()}")
    values = np.asarray(successes, dtype=np.float64) / n
    return Estimates(values, lambda tail: _wilson(values, n, tail), n)


def of_means(means: ArrayLike, errors: ArrayLike, freedoms: ArrayLike) -> Estimates:
    """Returns means with Student's bounds.

    Args:
        means: shape (G,).
        errors: shape (G,), their standard errors.
        freedoms: shape (G,), degrees of freedom, at least 1.
    """
    values = np.asarray(means, dtype=np.float64)
    spread = np.asarray(errors, dtype=np.float64)
    freedom = np.asarray(freedoms, dtype=np.float64)

    def bounds(tail: float) -> tuple[FloatArray, FloatArray]:
        from scipy.special import stdtrit

        half = -stdtrit(freedom, tail) * spread
        return values - half, values + half

    return Estimates(values, bounds, freedom + 1)


def gap_of(values: ArrayLike, kind: Kind) -> FloatArray:
    """Returns the largest difference between groups, or the smallest ratio.

    Args:
        values: shape (..., G); groups whose value is nan are left out.
        kind: ``difference`` is max - min, ``ratio`` min / max.

    Returns:
        Shape (...,); nan with fewer than two defined values, or a ratio of zeros.
    """
    # By groups: the largest of each short row takes several times as long.
    array = np.moveaxis(np.asarray(values, dtype=np.float64), -1, 0).copy()
    defined = np.isfinite(array)
    high = np.where(defined, array, -np.inf).max(axis=0, initial=-np.inf)
    low = np.where(defined, array, np.inf).min(axis=0, initial=np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = _apart(kind, high, low) if kind == "difference" else _apart(kind, low, high)
    return np.asarray(np.where(defined.sum(axis=0) > 1, gap, np.nan))


def contrast(
    first: Estimates, second: Estimates, kind: Kind, level: float, correlation: float = 0.0
) -> list[tuple[float, Interval]]:
    """Returns first - second (or first / second) of each place, with its interval.

    For proportions this is Newcombe's interval of a difference.

    Args:
        first: of G groups.
        second: of as many others.
        kind: ``difference`` or ``ratio``.
        level: of each interval.
        correlation: of the two estimates in each place.
    """
    tail = (1 - level) / 2
    one, other = first.bounds(tail), second.bounds(tail)
    low, high = _pair(
        kind, (first.values, one[0], one[1]), (second.values, other[0], other[1]),
        np.array(correlation),
    )  # fmt: skip
    values = _apart(kind, first.values, second.values)
    method = "square-and-add" if kind == "difference" else "square-and-add-log"
    return [
        (float(value), Interval(float(lower), float(upper), level, method))
        for value, lower, upper in zip(values, low, high, strict=True)
    ]


def gap_interval(
    rates: list[Estimates], kind: Kind, level: float, combine: Literal["worst", "mean"] = "worst"
) -> Interval:
    """Returns the interval of a gap between groups; see the module.

    Args:
        rates: one for each rate that the gap looks at, e.g. TPR and FPR; at least two groups each.
        kind: ``difference`` is the largest difference between two groups, ``ratio`` the smallest
            ratio.
        level: of the interval, in (0, 1).
        combine: what becomes of several rates: the worst gap, or the mean of the gaps.

    Returns:
        Bounds of which the one at no gap (0, or 1 of a ratio) is reached where groups can't be
        told apart.

    Raises:
        ValueError: if there is no rate, or one with fewer than two groups, or an unknown option.
    """
    if not rates or min(len(rate) for rate in rates) < 2:
        raise ValueError("rates: expected at least one, of two groups or more each")
    if kind not in _APART or combine not in {"worst", "mean"}:
        raise ValueError(f"expected a difference or ratio, worst or mean, got {kind}, {combine}")
    tail = (1 - level) / 2
    if combine == "mean":
        # Each of the rates' intervals misses its gap with its share of the probability at most.
        ends = [_one_gap(rate, kind, tail / len(rates), 1) for rate in rates]
        low, high = (float(np.mean([end[side] for end in ends])) for side in (0, 1))
    else:
        ends = [_one_gap(rate, kind, tail, len(rates)) for rate in rates]
        pick = max if kind == "difference" else min
        low, high = pick(end[0] for end in ends), pick(end[1] for end in ends)
    method = "bounds-of-the-widest-pair" if kind == "difference" else "bounds-of-the-lowest-ratio"
    return Interval(low, high, level, method)


def _one_gap(groups: Estimates, kind: Kind, tail: float, rates: int) -> tuple[float, float]:
    """Returns the bounds of one rate's gap, one of `rates` that the worst is taken of."""
    k = len(groups)
    apart = ~np.eye(k, dtype=np.bool_)
    low, high = (part[apart] for part in _all_pairs(groups, kind, tail))
    with_rest = k > 2 and groups.correlation is None
    share = tail / rates / (2 if with_rest else 1)
    joint = np.stack([part[apart] for part in _all_pairs(groups, kind, share / (k * (k - 1)))])
    if with_rest:
        joint = np.concatenate([joint, _against_rest(groups, kind, share / (2 * k))], axis=1)
    if kind == "difference":
        return max(0.0, float(joint[0].max())), float(high.max())
    return float(low.min()), min(1.0, float(joint[1].min()))


def _all_pairs(groups: Estimates, kind: Kind, tail: float) -> tuple[FloatArray, FloatArray]:
    """Returns bounds of every pair, shape (G, G) each, row against column."""
    low, high = groups.bounds(tail)
    return _pair(
        kind,
        (groups.values[:, None], low[:, None], high[:, None]),
        (groups.values[None, :], low[None, :], high[None, :]),
        np.zeros((1, 1)) if groups.correlation is None else groups.correlation,
    )


def _against_rest(groups: Estimates, kind: Kind, tail: float) -> FloatArray:
    """Returns bounds of each group against the mean of all others, and of these against the group.

    Returns:
        Lower and upper bounds, shape (2, 2 G).
    """
    low, high = groups.bounds(tail)
    weights = np.tile(groups.sizes, (len(groups), 1))
    np.fill_diagonal(weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    middle = weights @ groups.values
    below, above = (
        np.sqrt(weights**2 @ distance**2)
        for distance in (groups.values - low, high - groups.values)
    )
    group, rest = (groups.values, low, high), (middle, middle - below, middle + above)
    alone = np.zeros(1)
    found = [_pair(kind, group, rest, alone), _pair(kind, rest, group, alone)]
    return np.concatenate([np.stack(bounds) for bounds in found], axis=1)


_APART = {"difference": np.subtract, "ratio": np.divide}
_Triple: TypeAlias = tuple[FloatArray, FloatArray, FloatArray]


def _apart(kind: Kind, one: FloatArray, other: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_APART[kind](one, other))


def _pair(
    kind: Kind, one: _Triple, other: _Triple, correlation: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Squares and adds the distances of two estimates to their bounds."""

    def both(first: FloatArray, second: FloatArray) -> FloatArray:
        square = first**2 + second**2 - 2 * correlation * first * second
        return np.asarray(np.sqrt(np.maximum(0.0, square)))

    if kind == "difference":
        (p, l1, u1), (q, l2, u2) = one, other
        return p - q - both(p - l1, u2 - q), p - q + both(u1 - p, q - l2)
    with np.errstate(divide="ignore", invalid="ignore"):
        (p, l1, u1), (q, l2, u2) = (_log(part) for part in one), (_log(part) for part in other)
        low = p - q - both(p - l1, u2 - q)
        high = p - q + both(u1 - p, q - l2)
        # Where an estimate is 0 the formulas' limits: it is told by the other bound alone.
        low = np.where(np.isneginf(q), p - u2, low)
        low = np.where(np.isneginf(p), -np.inf, low)
        high = np.where(np.isneginf(p), u1 - q, high)
        high = np.where(np.isneginf(q), np.inf, high)
        return np.exp(low), np.exp(high)


def _log(values: FloatArray) -> FloatArray:
    return np.asarray(np.log(np.maximum(values, 0.0)))


def _wilson(p: FloatArray, n: FloatArray, tail: float) -> tuple[FloatArray, FloatArray]:
    """Wilson's bounds with probability `tail` beyond each; `stats.wilson`, for arrays."""
    from scipy.special import ndtri

    z = -float(ndtri(tail))
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = np.where(p <= 0, 0.0, np.maximum(0.0, centre - half))
    high = np.where(p >= 1, 1.0, np.minimum(1.0, centre + half))
    return low, high


def effective_sizes(hits: FloatArray, trials: FloatArray, n_clusters: int) -> tuple[float, float]:
    """Returns the successes and trials of independent samples that say as much as clustered ones.

    The variance of the ratio of cluster totals, against that of independent samples (the design
    effect), tells how many. It is taken for at least 1.

    Args:
        hits: successes of each cluster, shape (C,).
        trials: trials of each cluster, shape (C,), with at least one above 0.
        n_clusters: how many clusters have trials, at least 2.

    Source:
        Rao and Scott 1992, Biometrics 48:577.
    """
    n, total = float(trials.sum()), float(hits.sum())
    p = total / n
    plain = p * (1 - p) / n
    if plain == 0.0:
        # No spread to measure: as if a cluster said no more than one sample.
        return p * n_clusters, float(n_clusters)
    residuals = hits - p * trials
    robust = n_clusters / (n_clusters - 1) * math.fsum(residuals**2) / n**2
    size = n / max(1.0, robust / plain)
    return p * size, size
