"""How much a gap between groups changes from one set of answers to another on the same samples.

A gap is the largest of several signed contrasts between groups, and so is not smooth: where groups
are alike, or two pairs lie equally far apart, resampling it tells neither where it is nor how
surely. The interval here is made of bounds of what is smooth: one contrast under the new answers
less one under the old. Let x_a be the contrasts under the new answers, y_b those under the old, and
L_ab <= x_a - y_b <= U_ab bounds. The change is max x - max y = max over a of min over b of
(x_a - y_b), and for the b that is truly the largest:

- it lies above max over a of min over b of L_ab wherever all L_ab of that b hold at once;
- it lies below min over b of max over a of U_ab wherever all U_ab of the truly largest a hold.

So the probability is shared among contrasts (Bonferroni), and only among those that can still be
the largest: those that cannot, by bounds with a tenth of the probability, are left out (Andrews and
Soares 2010, Econometrica 78:119, generalized moment selection).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from crucibench.contracts.statistic import Interval
from crucibench.metrics._inputs import FloatArray, IntArray

Largest = Literal["difference", "lowest", "highest"]

METHOD = "bounds-of-paired-contrasts"

_SELECTION = 0.1
"""Of the probability, the share that goes to leaving contrasts out."""

_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class GapSide:
    """A mean of each of G groups under one set of answers.

    Attributes:
        values: shape (G,), all defined.
        influence: shape (n,), the derivative of its own group's mean by each sample's weight; 0 for
            samples that no mean is of.
        trials: shape (G,), the denominators where the means are proportions, else None.
    """

    values: FloatArray
    influence: FloatArray
    trials: IntArray | None = None


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A mean of each of G groups under two sets of answers, samples being the same.

    Attributes:
        codes: shape (n,), the group of each sample, 0 to G - 1; -1 for samples of none.
        new: under the new answers.
        old: under the old ones.
    """

    codes: IntArray
    new: GapSide
    old: GapSide


class Change(NamedTuple):
    """What became of a largest contrast.

    Attributes:
        value: new less old.
        interval: None with its `reason`.
        p: of no change, two-sided; nan without an interval.
        reason: why there is no interval.
    """

    value: float
    interval: Interval | None
    p: float
    reason: str = ""


def change_of_largest(
    parts: Sequence[Paired],
    largest: Largest,
    *,
    clusters: IntArray | None = None,
    counts: IntArray | None = None,
    level: float,
) -> Change:
    """Returns how much the largest contrast of all parts grew.

    Args:
        parts: one for each rate or grouping that the largest is taken of. Groups of one part are
            independent; parts may share samples.
        largest: ``difference`` of two groups of one part; ``lowest`` or ``highest`` mean of all
            groups: then the change is that of this mean, with its sign.
        clusters: codes of samples drawn together, shape (n,), or None. No cluster may have samples
            in two groups of one part.
        counts: how many samples each stands for, shape (n,); None for one. Not with clusters.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: if there is no part.
    """
    if not parts:
        raise ValueError("parts: expected at least one, got none")
    contrasts = _contrasts([len(part.new.values) for part in parts], largest)
    new, old = (
        np.concatenate([getattr(part, side).values for part in parts]) for side in ("new", "old")
    )
    found = _change(contrasts, new, old, _covariance(parts, clusters, counts), level)
    return turned(found) if largest == "lowest" else found


def turned(change: Change) -> Change:
    """Returns old less new."""
    interval = change.interval
    if interval is not None:
        interval = interval._replace(lower=0.0 - interval.upper, upper=0.0 - interval.lower)
    return change._replace(value=0.0 - change.value, interval=interval)


def _contrasts(sizes: Sequence[int], largest: Largest) -> IntArray:
    """Returns which groups are set against each other, a row each of 1, -1 and 0."""
    total = sum(sizes)
    if largest != "difference":
        return np.eye(total, dtype=np.int64) * {"highest": 1, "lowest": -1}[largest]
    rows, start = [], 0
    for size in sizes:
        first, second = np.nonzero(~np.eye(size, dtype=np.bool_))
        block = np.zeros((len(first), total), dtype=np.int64)
        block[np.arange(len(first)), start + first] = 1
        block[np.arange(len(first)), start + second] = -1
        rows.append(block)
        start += size
    return np.concatenate(rows)


def _covariance(
    parts: Sequence[Paired], clusters: IntArray | None, counts: IntArray | None
) -> FloatArray:
    """Returns the covariance of all means, shape (2Q, 2Q): the new ones, then the old ones."""
    columns = [_units(part, side, clusters) for side in ("new", "old") for part in parts]
    sizes = [size for _, _, size in columns]
    ends = np.cumsum([0, *sizes])
    units = len(columns[0][0])
    found = np.zeros((ends[-1], ends[-1]))
    for i, (codes, one, k) in enumerate(columns):
        for j, (others, other, m) in enumerate(columns[: i + 1]):
            rows = np.flatnonzero((codes >= 0) & (others >= 0))
            cells = codes[rows] * m + others[rows]
            products = one[rows] * other[rows] * (1 if counts is None else counts[rows])
            block = np.bincount(cells, weights=products, minlength=k * m)
            found[ends[i] : ends[i + 1], ends[j] : ends[j + 1]] = block.reshape(k, m)
            found[ends[j] : ends[j + 1], ends[i] : ends[i + 1]] = block.reshape(k, m).T
    if clusters is not None:
        return found * (units / max(1, units - 1))
    half = ends[-1] // 2
    for place, part in enumerate(parts):
        here = np.arange(ends[place], ends[place + 1])
        _add_pseudo(found, part, here, here + half)
    return found


def _units(part: Paired, side: str, clusters: IntArray | None) -> tuple[IntArray, FloatArray, int]:
    """Returns what is independent: its group, its influence, and how many groups there are."""
    own: GapSide = getattr(part, side)
    if clusters is None:
        return part.codes, own.influence, len(own.values)
    k = int(clusters.max()) + 1 if len(clusters) else 0
    codes = np.full(k, -1, dtype=np.int64)
    np.maximum.at(codes, clusters, part.codes)
    totals = np.bincount(clusters, weights=own.influence, minlength=k).astype(np.float64)
    return codes, totals, len(own.values)


def _add_pseudo(found: FloatArray, part: Paired, new: IntArray, old: IntArray) -> None:
    """Adds two pseudo-samples a group, one that is a hit under each set of answers alone.

    A proportion of 0 or 1, or answers that never changed, are no proof of no variance (Bonett and
    Price 2012, Journal of Educational and Behavioral Statistics 37:479).
    """
    if part.new.trials is None or part.old.trials is None:
        return
    p, q, n, m = part.new.values, part.old.values, part.new.trials, part.old.trials
    found[new, new] += ((1 - p) ** 2 + p**2) / n**2
    found[old, old] += ((1 - q) ** 2 + q**2) / m**2
    both = (p * (1 - q) + q * (1 - p)) / (n * m)
    found[new, old] -= both
    found[old, new] -= both


def _change(
    contrasts: IntArray, new: FloatArray, old: FloatArray, covariance: FloatArray, level: float
) -> Change:
    q = len(new)
    rows = contrasts.astype(np.float64)
    x, y = rows @ new, rows @ old
    spread_x = np.sqrt(_squares(rows, covariance[:q, :q]))
    spread_y = np.sqrt(_squares(rows, covariance[q:, q:]))
    value = float(x.max() - y.max())
    tail = (1 - level) / 2
    up, down = (_may_be_largest(*one, tail) for one in ((x, spread_x), (y, spread_y)))
    cross = covariance[:q, q:]
    quantiles = _quantile(tail, int(up.sum())), _quantile(tail, int(down.sum()))
    lower, highest = -math.inf, np.full(len(y), -math.inf)
    above, below = -math.inf, np.full(len(y), math.inf)
    for start in range(0, len(x), _ROWS):
        block = slice(start, start + _ROWS)
        apart = x[block, None] - y[None, :]
        both = (rows[block] @ cross) @ rows.T
        square = spread_x[block, None] ** 2 + spread_y[None, :] ** 2 - 2 * both
        error = np.sqrt(np.maximum(square, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(apart == 0, 0.0, apart / error)
        inside = up[block]
        if inside.any():
            lower = max(lower, float((apart - quantiles[0] * error)[inside].min(axis=1).max()))
            above = max(above, float(steps[inside].min(axis=1).max()))
        highest = np.maximum(highest, (apart + quantiles[1] * error).max(axis=0))
        below = np.minimum(below, (-steps).min(axis=0))
    upper = float(highest[down].min())
    if upper <= lower:
        return Change(value, None, math.nan, "no sample tells the two apart")
    sides = (int(up.sum()), above), (int(down.sum()), float(below[down].max()))
    p = min(2 * count * _beyond(steps) / (1 - _SELECTION) for count, steps in sides)
    interval = Interval(min(lower, value), max(upper, value), level, METHOD)
    return Change(value, interval, min(1.0, p))


def _squares(rows: FloatArray, covariance: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(((rows @ covariance) * rows).sum(axis=1), 0.0))


def _may_be_largest(values: FloatArray, spread: FloatArray, tail: float) -> FloatArray:
    """Says which contrasts may truly be the largest, shape (P,), bool."""
    from scipy.special import ndtri

    wide = -float(ndtri(_SELECTION * tail / (2 * len(values)))) * spread
    return np.asarray(values + wide >= (values - wide).max())


def _quantile(tail: float, count: int) -> float:
    from scipy.special import ndtri

    return -float(ndtri((1 - _SELECTION) * tail / count))


def _beyond(steps: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(-steps))
