"""Means by group, and figures over groups: the worst, the average, the 10th percentile.

The policy for small groups is one for all suites: a group of fewer than ``min_group_size`` samples
is shown and marked, and takes no part in a figure over groups. The same holds for the samples whose
group is not known. Both are a `GroupMean` with ``counts`` false and the reason.

A worst group is chosen by what was measured, so its own interval misleads: of many alike groups the
lowest is low by chance. Four things say how far it can be believed: an interval of the lowest
*true* mean, how surely this group is the lowest, a test of no difference between the groups, and
the lowest mean to expect of groups that don't differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crucibench.contracts.data import NO_GROUP
from crucibench.contracts.statistic import GroupMeans, Interval
from crucibench.metrics._inputs import FloatArray, float_vector
from crucibench.stats.intervals import share_interval
from crucibench.stats.resampling import generator

DRAWS = 10_000
"""Of the simulations: a probability of 0.05 is known to 0.002."""

MIN_UNITS = 5
"""Fewer samples or clusters than this show no spread to speak of: no interval, as in `stats`."""

_BLOCK = 1 << 20


@final
@dataclass(frozen=True, kw_only=True)
class GroupMean:
    """The mean outcome of a group.

    Attributes:
        name: of the group.
        n: its samples, at least 1.
        value: their mean.
        interval: of the mean: Wilson for outcomes 0 and 1, else Student's t; None with a reason.
        reason: why there is no interval; "" where there is one.
        counts: whether it takes part in figures over groups.
        why_not: why it does not; "" where it does.
    """

    name: str
    n: int
    value: float
    interval: Interval | None
    reason: str = ""
    counts: bool = True
    why_not: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class GroupFigure:
    """A figure over the groups that count.

    Attributes:
        value: the number.
        interval: None where a group has none.
        n: samples in the groups behind it.
    """

    value: float
    interval: Interval | None
    n: int


@final
@dataclass(frozen=True, kw_only=True)
class WorstGroup:
    """The group with the worst mean.

    Attributes:
        name: of the group, the first by name where several are equal.
        value: its mean.
        n: its samples.
        interval: of the worst of the groups' true means, whichever group that is; None where a
            group has no interval. See `group_figures`.
        among: the same, at a level at which those of all ways to split hold at once.
        sureness: in which share of repetitions this group would be the worst again, were the
            measured means true; None where some group shows no spread.
        p_chance: the probability of a group as far from the others, given the groups' sizes, if all
            groups had one mean; None where there is no such test.
        if_alike: the worst mean to expect of as many groups of these sizes that all have one mean;
            None likewise.
    """

    name: str
    value: float
    n: int
    interval: Interval | None
    among: Interval | None
    sureness: float | None
    p_chance: float | None
    if_alike: float | None


@final
@dataclass(frozen=True, kw_only=True)
class GroupFigures:
    """Means by group and figures over those that count.

    Attributes:
        groups: all, by name.
        worst: None where there is a reason.
        average: the unweighted mean of the groups' means.
        percentile_10: the 10th percentile of the groups' means (90th where lower is better),
            interpolated linearly.
        reason: why there are no figures over groups: fewer than two count.
    """

    groups: tuple[GroupMean, ...]
    worst: WorstGroup | None = None
    average: GroupFigure | None = None
    percentile_10: GroupFigure | None = None
    reason: str = ""


def crossed(groups: pd.DataFrame, columns: Sequence[str] | None = None) -> NDArray[np.object_]:
    """Returns the names of intersections, ``sex=f, age=young``; of one column ``sex=f``.

    Args:
        groups: shape (n, columns) of str, `Samples.groups`.
        columns: those to cross; all by default.

    Raises:
        ValueError: if there is no column, or not the one that is named.
    """
    names = list(groups.columns) if columns is None else list(columns)
    if not names or (lacking := [name for name in names if name not in groups.columns]):
        got = repr(lacking[0]) if names else "none"
        raise ValueError(f"columns: expected some of {', '.join(groups.columns)}, got {got}")
    labels = np.full(len(groups), NO_GROUP, dtype=object)
    known = (groups[names] != NO_GROUP).all(axis=1).to_numpy()
    parts = [(f"{name}=" + groups[name].astype(str)).to_numpy(dtype=object) for name in names]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + ", " + part
    labels[known] = whole[known]
    return labels


def means_by_group(part: GroupMeans) -> Callable[[FloatArray], FloatArray]:
    """Returns the function from weights, shape (B, n), to each group's mean, (B, groups)."""
    rows = np.flatnonzero(part.among & (part.codes >= 0))
    codes, numbers, k = part.codes[rows], part.numbers[rows], part.groups

    def compute(weights: FloatArray) -> FloatArray:
        means = np.empty((len(weights), k))
        for place, row in enumerate(weights):
            counts = row[rows]
            total = np.bincount(codes, weights=counts, minlength=k)
            with np.errstate(invalid="ignore", divide="ignore"):
                means[place] = np.bincount(codes, weights=counts * numbers, minlength=k) / total
        return means

    return compute


def group_figures(
    groups: ArrayLike,
    outcomes: ArrayLike,
    *,
    min_group_size: int,
    direction: Literal["higher", "lower"] = "higher",
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    ways: int = 1,
    seed: int,
    stream: str,
) -> GroupFigures:
    """Returns the mean outcome by group, and the worst, the average and the 10th percentile.

    The interval of the worst group's mean is one of theta = min over groups of the true means. Its
    lower end is the lowest of the groups' one-sided lower bounds at (1 - level) / 2, since that of
    the truly worst group lies above theta so often at most. Its upper end is the lowest of their
    upper bounds at (1 - level) / 2k for k groups, since all hold at once (Bonferroni) and theta
    lies below each. So it covers theta whichever group is measured as the worst. The interval of
    the percentile is that percentile of simultaneous bounds; the average has a normal one.

    `WorstGroup.p_chance` is a test of equal means by the largest standardised distance of a group
    to the bad side: by permutation (hypergeometric draws) for outcomes 0 and 1, by draws from a
    multivariate t with pooled variance for others. Clusters count as units; where one lies in
    several groups there is no test and no sureness.

    Args:
        groups: (n,) str, each sample's group; `NO_GROUP` for unknown ones.
        outcomes: (n,) a number each, e.g. whether the answer is right, or a loss.
        min_group_size: groups of fewer samples are shown but don't count; at least 1.
        direction: whether higher outcomes are better or lower ones.
        clusters: (n,) what samples were drawn together; None where each was drawn by itself.
        level: of the intervals.
        ways: how many ways to split there are: `WorstGroup.among` is at 1 - (1 - level) / ways.
        seed: of the draws.
        stream: names the draws.

    Raises:
        ValueError: if the arrays don't fit each other, or an outcome is not finite.
    """
    values = float_vector("outcomes", outcomes)
    labels = np.asarray(groups, dtype=object)
    if labels.shape != values.shape:
        raise ValueError(f"groups: expected shape {values.shape}, got {labels.shape}")
    if min_group_size < 1:
        raise ValueError(f"min_group_size: expected at least 1, got {min_group_size}")
    codes, names = pd.factorize(labels, sort=True)
    units = None
    if clusters is not None:
        units = np.asarray(pd.factorize(np.asarray(clusters, dtype=object))[0])
        if units.shape != values.shape:
            raise ValueError(f"clusters: expected shape {values.shape}, got {units.shape}")
    binary = units is None and bool(np.isin(values, (0.0, 1.0)).all())
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    found = [
        _Measured.of(str(name), values[rows], None if units is None else units[rows], binary=binary)
        for name, rows in (
            (name, order[starts[place] : starts[place + 1]]) for place, name in enumerate(names)
        )
    ]
    shown = tuple(one.shown(min_group_size, level) for one in found)
    counting = [one for one, mean in zip(found, shown, strict=True) if mean.counts]
    if len(counting) < 2:
        few = "no group has" if not counting else f"only {counting[0].name!r} has"
        return GroupFigures(groups=shown, reason=f"{few} at least {min_group_size} samples")
    drawn = () if _spanning(units, codes) else ("sureness", "chance")
    rngs = [generator(seed, f"{stream}/{name}") for name in drawn]
    worst, average, tenth = _over(counting, direction, level, 1 - (1 - level) / ways, rngs)
    return GroupFigures(groups=shown, worst=worst, average=average, percentile_10=tenth)


@dataclass(frozen=True)
class _Measured:
    """A group: its size, mean, standard error and degrees of freedom."""

    name: str
    n: int
    mean: float
    error: float
    freedom: int
    binary: bool

    @classmethod
    def of(
        cls, name: str, values: FloatArray, units: NDArray[np.int64] | None, *, binary: bool
    ) -> _Measured:
        n, mean = len(values), float(values.mean())
        residuals = values - mean
        if units is not None:
            # The mean is a ratio of cluster totals: the residuals of a cluster go together.
            residuals = np.bincount(pd.factorize(units)[0], residuals).astype(np.float64)
        count = len(residuals)
        spread = float(np.sum(residuals**2))
        error = math.sqrt(spread * count / (count - 1)) / n if count > 1 else math.nan
        return cls(name, n, mean, error, count - 1, binary)

    @property
    def reason(self) -> str:
        """Why there is no interval."""
        if self.binary:
            return ""
        if self.freedom + 1 < MIN_UNITS:
            return f"{self.freedom + 1} samples or clusters show too little spread"
        return "" if self.error > 0 else "all outcomes are the same"

    def shown(self, at_least: int, level: float) -> GroupMean:
        """Returns the group as it is shown."""
        why_not = ""
        if self.name == NO_GROUP:
            why_not = "the group of these samples is not known"
        elif self.n < at_least:
            why_not = f"fewer than {at_least} samples"
        interval = None
        if self.binary:
            interval = share_interval(round(self.mean * self.n), self.n, level)
        elif not self.reason:
            interval = Interval(*self.bounds((1 - level) / 2), level, "student-t")
        return GroupMean(
            name=self.name, n=self.n, value=self.mean, interval=interval, reason=self.reason,
            counts=not why_not, why_not=why_not,
        )  # fmt: skip

    def bounds(self, tail: float) -> tuple[float, float]:
        """Returns bounds with probability `tail` beyond each."""
        if self.reason:
            return math.nan, math.nan
        if self.binary:
            found = share_interval(round(self.mean * self.n), self.n, 1 - 2 * tail)
            return found.lower, found.upper
        from scipy.special import stdtrit

        half = -float(stdtrit(self.freedom, tail)) * self.error
        return self.mean - half, self.mean + half


def _over(
    groups: Sequence[_Measured],
    direction: Literal["higher", "lower"],
    level: float,
    wide: float,
    rngs: Sequence[np.random.Generator],
) -> tuple[WorstGroup, GroupFigure, GroupFigure]:
    """Returns the worst group, the average and the percentile; `rngs` draw what is simulated."""
    from scipy.special import ndtri

    sign = 1.0 if direction == "higher" else -1.0
    means = np.array([one.mean for one in groups])
    errors = np.array([one.error for one in groups])
    n = sum(one.n for one in groups)
    tail, k = (1 - level) / 2, len(groups)
    joint = np.array([one.bounds(tail / k) for one in groups])
    worst = int(means.argmin() if direction == "higher" else means.argmax())
    share = 10.0 if direction == "higher" else 90.0
    complete = not np.isnan(joint).any()
    average = float(means.mean())
    half = -float(ndtri(tail)) * math.sqrt(float(np.sum(errors**2))) / k
    around = average - half, average + half
    drawn = complete and bool(rngs)
    tenth = [float(np.percentile(column, share)) for column in (means, joint[:, 0], joint[:, 1])]
    sureness = _sureness(groups, sign, worst, rngs[0]) if drawn else None
    p_chance, if_alike = _by_chance(groups, sign, rngs[1]) if drawn else (None, None)
    return (
        WorstGroup(
            name=groups[worst].name, value=groups[worst].mean, n=groups[worst].n,
            interval=_of_worst(groups, direction, level, complete),
            among=_of_worst(groups, direction, wide, complete),
            sureness=sureness, p_chance=p_chance, if_alike=if_alike,
        ),
        GroupFigure(
            value=average, n=n, interval=_interval(around, level, "normal", drawn and half > 0)
        ),
        GroupFigure(
            value=tenth[0], n=n,
            interval=_interval((tenth[1], tenth[2]), level, "simultaneous-bounds", complete),
        ),
    )  # fmt: skip


def _of_worst(groups: Sequence[_Measured], way: str, level: float, there: bool) -> Interval | None:
    """Returns the interval of the worst of the true means; see `group_figures`."""
    tails = (1 - level) / 2, (1 - level) / 2 / len(groups)
    each, joint = (np.array([one.bounds(tail) for one in groups]).T for tail in tails)
    lowest = each[0].min(), joint[1].min()
    ends = lowest if way == "higher" else (joint[0].max(), each[1].max())
    return _interval(ends, level, "bounds-of-the-worst", there)


def _interval(ends: tuple[float, float], level: float, method: str, there: bool) -> Interval | None:
    return Interval(float(ends[0]), float(ends[1]), level, method) if there else None


def _sureness(
    groups: Sequence[_Measured], sign: float, worst: int, rng: np.random.Generator
) -> float:
    """Returns how often a group is the worst if the means are as measured; ties are shared."""
    total = 0.0
    for rows in _rows(len(groups)):
        columns = []
        for one in groups:
            if one.binary:
                columns.append(rng.binomial(one.n, one.mean, rows) / one.n)
            else:
                columns.append(one.mean + one.error * rng.standard_t(one.freedom, rows))
        drawn = sign * np.stack(columns, axis=1)
        lowest = drawn == drawn.min(axis=1, keepdims=True)
        total += float((lowest[:, worst] / lowest.sum(axis=1)).sum())
    return total / DRAWS


def _by_chance(
    groups: Sequence[_Measured], sign: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Returns the p-value of equal means against one bad group, and the worst of equal means."""
    means = np.array([one.mean for one in groups])
    sizes = np.array([one.n for one in groups])
    if groups[0].binary:
        hits = np.rint(means * sizes).astype(np.int64)
        rate = hits.sum() / sizes.sum()
        if rate in (0.0, 1.0):
            return 1.0, float(rate)
        spread = rate * (1 - rate)
    else:
        # Pooled: a skewed outcome ties a group's own error to its mean.
        spread = sum((one.n * one.error) ** 2 for one in groups) / sizes.sum()
        freedom = sum(one.freedom for one in groups)
    errors = np.sqrt(spread / sizes)

    def distance(drawn: FloatArray) -> FloatArray:
        centre = (drawn * sizes).sum(axis=1, keepdims=True) / sizes.sum()
        return np.asarray((sign * (centre - drawn) / errors).max(axis=1))

    measured = distance(means[None, :])[0] * (1 - 1e-12)
    beyond, worst, common = 0, 0.0, float(means @ sizes / sizes.sum())
    for rows in _rows(len(groups)):
        if groups[0].binary:
            # Which hits fall to which group if the labels are shuffled.
            drawn = rng.multivariate_hypergeometric(sizes, int(hits.sum()), rows) / sizes
            worst += float((sign * drawn).min(axis=1).sum())
        else:
            scale = np.sqrt(rng.chisquare(freedom, (rows, 1)) / freedom)
            normal = rng.standard_normal((rows, len(groups))) * errors
            drawn = normal / scale
            worst += float((sign * (common + normal)).min(axis=1).sum())
        beyond += int((distance(drawn) >= measured).sum())
    return (beyond + 1) / (DRAWS + 1), sign * worst / DRAWS


def _rows(groups: int) -> Sequence[int]:
    step = max(1, _BLOCK // groups)
    return [min(step, DRAWS - start) for start in range(0, DRAWS, step)]


def _spanning(units: NDArray[np.int64] | None, codes: NDArray[np.int64]) -> bool:
    """Whether a cluster lies in several groups."""
    if units is None:
        return False
    return len(np.unique(np.stack([units, codes]), axis=1).T) > len(np.unique(units))
