"""Two-way components: how far a number of several trainings varies by training and by sample.

Trainings and samples are both drawn at random, and crossed: every training answers every sample. In
a table of (S, G) numbers, a row a training and a column a sample (or a group of them), the number
of training s is the mean of its row. What the mean of all rows would be of other trainings and
other samples is told by three mean squares: between rows, between columns, and the rest.

What is no mean of samples comes as pseudo-values (`crucibench.metrics.trainings`), so that the same
arithmetic is a two-way jackknife.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, ndtri, stdtrit

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks
from crucibench.stats.roots import root

METHOD = "two-way-t"

_FEW = 2
"""So many trainings show their spread too badly to take off what samples add to it."""


class Components(NamedTuple):
    """The variance of one training's number by its source, in the number's unit, squared.

    Attributes:
        training: between trainings, at least 0.
        training_lower: its interval's lower end.
        training_upper: its upper end.
        samples: of the samples that are drawn, alike for all trainings; at least 0.
        residual: of what samples and trainings do together.
    """

    training: float
    training_lower: float
    training_upper: float
    samples: float
    residual: float


class TwoSources(NamedTuple):
    """The variance of an estimate by trainings and by samples, and its t interval.

    Attributes:
        training: the part of trainings.
        degrees: of freedom of that part.
        samples: the part of samples.
        columns: how many samples, or groups of them, that part is known by.
    """

    training: float
    degrees: float
    samples: float
    columns: int

    @property
    def standard_error(self) -> float:
        """The square root of both."""
        return math.sqrt(self.training + self.samples)

    def half(self, level: float) -> float:
        """Returns the interval's half-width: that of each part by its own t, squared and added."""
        of_trainings = float(stdtrit(self.degrees, (1.0 + level) / 2.0)) ** 2 * self.training
        of_samples = float(stdtrit(self.columns - 1, (1.0 + level) / 2.0)) ** 2 * self.samples
        return math.sqrt(of_trainings + of_samples)

    def interval(self, estimate: float, level: float) -> Interval | None:
        """Returns the interval about an estimate; None where nothing varies."""
        if not self.standard_error > 0.0:
            return None
        half = self.half(level)
        return Interval(estimate - half, estimate + half, level, METHOD)

    def p(self, distance: float) -> float:
        """Returns the two-sided p-value of a distance: the level whose interval ends there."""
        if not self.standard_error > 0.0:
            return math.nan
        least = 1e-9

        def beyond(p: float) -> float:
            return self.half(1.0 - p) - abs(distance)

        if beyond(least) <= 0.0:
            return least
        return 1.0 if distance == 0.0 else root(beyond, least, 1.0, tolerance=1e-12)

    def detectable(self, power: float, level: float = 0.95) -> float:
        """Returns the smallest difference from 0 that is shown with so much power."""
        return self.half(level) + float(ndtri(power)) * self.standard_error


class TwoWay(NamedTuple):
    """A table of trainings by samples, as mean squares.

    Attributes:
        trainings: S, at least 2.
        columns: G, at least 2.
        estimate: the mean over all.
        between: mean square of trainings, S - 1 degrees of freedom.
        columnwise: mean square of samples, G - 1 degrees.
        residual: mean square of the rest, (S - 1) (G - 1) degrees.
    """

    trainings: int
    columns: int
    estimate: float
    between: float
    columnwise: float
    residual: float

    @property
    def sources(self) -> TwoSources:
        """Where the variance of the mean comes from, for trainings and samples drawn again."""
        cells = self.trainings * self.columns
        return TwoSources(
            _of_trainings(self) / cells, self.trainings - 1, self.columnwise / cells, self.columns
        )

    def components(self, level: float = 0.95) -> Components:
        """Splits the variance of one training's number.

        The interval of the training's part is the chi-square interval of `between` less the
        residual mean square, which has many degrees of freedom and is taken for known.
        """
        tail = (1.0 - _checks.level(level)) / 2.0
        degrees = self.trainings - 1
        lower, upper = (
            max(0.0, degrees * self.between / float(chdtri(degrees, share)) - self.residual)
            for share in (tail, 1.0 - tail)
        )
        return Components(
            max(0.0, self.between - self.residual) / self.columns,
            lower / self.columns, upper / self.columns,
            max(0.0, self.columnwise - self.residual) / self.trainings / self.columns,
            self.residual / self.columns,
        )  # fmt: skip


def two_way(values: ArrayLike) -> TwoWay:
    """Return the mean squares of a table.

    Args:
        values: (S, G) finite numbers, a row a training and a column a sample, S and G at least 2.

    Raises:
        ValueError: another shape, or a number that is not finite.

    Source:
        Searle, Casella and McCulloch 1992, Variance Components, section 4.3 (two-way crossed
        classification, one observation a cell). The interval by `TwoSources` applies a t quantile
        to each component, as the modified large-sample intervals of Burdick and Graybill 1992,
        Confidence Intervals on Variance Components, do: one t by Satterthwaite's degrees of freedom
        covers 92 % where three trainings bear all the variance, since these grow as it is missed.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"values: expected shape (S, G) of at least (2, 2), got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("values: expected finite numbers")
    s, g = table.shape
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), float(table.mean())
    rest = table - rows[:, None] - columns[None, :] + mean
    return TwoWay(
        s, g, mean, g * _squares(rows - mean) / (s - 1), s * _squares(columns - mean) / (g - 1),
        _squares(rest.ravel()) / ((s - 1) * (g - 1)),
    )  # fmt: skip


def difference_of_recipes(
    baseline: ArrayLike, candidate: ArrayLike, *, shared: int = 0
) -> tuple[float, TwoSources]:
    """Return the difference of two means over trainings that answered the same samples.

    Args:
        baseline: (S, G), as of `two_way`.
        candidate: (T, G), over the same samples in the same order.
        shared: the first so many rows of both were trained with one seed, row by row; 0, or 2 or
            more.

    Returns:
        Candidate less baseline, and where its variance comes from: the trainings that share a seed
        by what each pair adds, the others by their side's spread, with the degrees of freedom of
        Welch 1947, Biometrika 34:28; and the samples, by the difference of the two means in each.

    Raises:
        ValueError: shapes that do not fit.
    """
    was, now = (np.asarray(side, dtype=np.float64) for side in (baseline, candidate))
    if was.ndim != 2 or now.ndim != 2 or was.shape[1] != now.shape[1]:
        raise ValueError(f"expected (S, G) and (T, G), got {was.shape} and {now.shape}")
    if shared == 1 or not 0 <= shared <= min(len(was), len(now)):
        raise ValueError(f"shared: expected 0, or 2 to {min(len(was), len(now))}, got {shared}")
    g = was.shape[1]
    parts, degrees = [], []
    if shared:
        pairs = two_way(now[:shared] / len(now) - was[:shared] / len(was))
        parts, degrees = [shared * _of_trainings(pairs) / g], [shared - 1]
    for side in (was, now):
        count = len(side)
        if count > shared:
            parts.append((count - shared) / count**2 * _of_trainings(two_way(side)) / g)
            degrees.append(count - 1)
    change = now.mean(axis=0) - was.mean(axis=0)
    return float(now.mean() - was.mean()), TwoSources(
        sum(parts), _welch(parts, degrees), _squares(change - change.mean()) / (g - 1) / g, g
    )


def _welch(variances: list[float], degrees: list[int]) -> float:
    """Returns the degrees of freedom of a sum of variances.

    Never more than two with those of the least would have: of three trainings against eight,
    Welch's would let the interval cover 93 %.
    """
    whole, fewest = sum(variances), min(degrees)
    if not whole > 0.0:
        return fewest
    found = whole**2 / sum(v**2 / d for v, d in zip(variances, degrees, strict=True))
    return min(found, min(len(degrees), 2) * fewest)


def _of_trainings(table: TwoWay) -> float:
    """Returns the mean square of trainings without what samples add to it."""
    if table.trainings <= _FEW:
        return table.between
    return max(0.0, table.between - table.residual)


def _squares(values: NDArray[np.float64]) -> float:
    return float(np.einsum("i,i->", values, values))
