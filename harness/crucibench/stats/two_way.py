"""Two-way components: how far a number of several trainings varies by training, sample and asking.

Trainings and samples are both drawn at random, and crossed: every training answers every sample. In
a table of (S, G) numbers, a row a training and a column a sample (or a group of them), the number
of training s is the mean of its row. What the mean of all rows would be of other trainings and
other samples is told by three mean squares: between rows, between columns, and the rest.

Where each training answered each sample several times, cells hold means over its answers, and these
answers, nested in trainings and samples, tell what is theirs of what is left.

What is no mean of samples comes as pseudo-values (`crucibench.metrics.trainings`), so that the same
arithmetic is a two-way jackknife.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, fdtrc, ndtri, stdtrit

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks
from crucibench.stats.roots import root

METHOD = "two-way-t"

_FEW = 2
"""So many trainings show their spread too badly to take off what samples add to it."""


class Components(NamedTuple):
    """The variance of one training's number by its source, in the number's unit, squared.

    Of a training that answers each sample once. Each part is at least 0 and has the ends of its
    interval; None where it can't be told from another part.

    Attributes:
        training: between trainings.
        training_lower: its interval's lower end.
        training_upper: its upper end.
        samples: of the samples that are drawn, alike for all trainings.
        samples_lower: likewise.
        samples_upper: likewise.
        residual: of what samples and trainings do together; with what askings do, where `repeat` is
            None.
        residual_lower: likewise.
        residual_upper: likewise.
        repeat: of what is drawn when a training is asked about a sample.
        repeat_lower: likewise.
        repeat_upper: likewise.
    """

    training: float | None
    training_lower: float | None
    training_upper: float | None
    samples: float
    samples_lower: float
    samples_upper: float
    residual: float | None
    residual_lower: float | None
    residual_upper: float | None
    repeat: float | None = None
    repeat_lower: float | None = None
    repeat_upper: float | None = None


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
        by_column: what each column adds, (2, G), to the mean squares of samples (G - 1 degrees) and
            of the rest ((S - 1) (G - 1)).
        askings: variances between askings, (A, G), a row a training that was asked several times.
        held: how much of these is in the rest: the mean over trainings of 1 / R for R askings.
    """

    trainings: int
    columns: int
    estimate: float
    between: float
    by_column: NDArray[np.float64]
    askings: NDArray[np.float64]
    held: float

    @property
    def columnwise(self) -> float:
        """The mean square of samples."""
        return float(self.by_column[0].mean())

    @property
    def residual(self) -> float:
        """The mean square of the rest."""
        return float(self.by_column[1].mean())

    @property
    def sources(self) -> TwoSources:
        """Where the variance of the mean comes from, for trainings and samples drawn again."""
        cells = self.trainings * self.columns
        return TwoSources(
            _of_trainings(self) / cells, self.trainings - 1, self.columnwise / cells, self.columns
        )

    @property
    def training(self) -> float:
        """The variance between trainings of one training's number."""
        return max(0.0, self.between - self.residual) / self.columns

    def components(self, level: float = 0.95) -> Components:
        """Splits the variance of one training's number.

        The interval of the training's part is the chi-square interval of `between` less the
        residual mean square, which has many degrees of freedom and is taken for known. Those of
        samples and of the rest are Student's t intervals of means of what each sample adds. Askings
        vary by what a training makes of a sample, so that their part is a two-way mean itself.
        """
        tail = (1.0 - _checks.level(level)) / 2.0
        degrees = self.trainings - 1
        lower, upper = (
            max(0.0, degrees * self.between / float(chdtri(degrees, share)) - self.residual)
            for share in (tail, 1.0 - tail)
        )
        samples, rest = self.by_column
        again = self.askings.mean(axis=0) if len(self.askings) else np.zeros(self.columns)
        return Components(
            self.training, lower / self.columns, upper / self.columns,
            *_part((samples - rest) / self.trainings, level),
            *_part(rest - self.held * again, level),
            *(_of_askings(self.askings, level) if len(self.askings) else ()),
        )  # fmt: skip


def _part(
    by_column: NDArray[np.float64], level: float, half: float | None = None
) -> tuple[float, float, float]:
    """Returns a part of the variance of a mean over columns, and its interval, none below 0."""
    n, mean = len(by_column), float(by_column.mean())
    if half is None:
        error = float(by_column.std(ddof=1)) / math.sqrt(n)
        half = float(stdtrit(n - 1, (1.0 + level) / 2.0)) * error
    return max(0.0, mean) / n, max(0.0, mean - half) / n, max(0.0, mean + half) / n


def _of_askings(variances: NDArray[np.float64], level: float) -> tuple[float, float, float]:
    """Returns the part of askings from their variances, (A, G)."""
    half = two_way(variances).sources.half(level) if len(variances) > 1 else None
    return _part(variances.mean(axis=0), level, half)


def components_of_one(askings: ArrayLike, level: float = 0.95) -> Components:
    """Return what several askings tell of a single training: samples apart from askings.

    Args:
        askings: (R, G), a row an asking, R at least 2.
        level: of the intervals.
    """
    table = np.asarray(askings, dtype=np.float64)
    means, variances = table.mean(axis=0), table.var(axis=0, ddof=1)
    (r, g), nothing = table.shape, (None, None, None)
    samples = np.square(means - means.mean()) * (g / (g - 1)) - variances / r
    return Components(
        *nothing, *_part(samples, level), *nothing, *_of_askings(variances[None], level)
    )


def two_way(values: ArrayLike, askings: Sequence[NDArray[np.float64]] = ()) -> TwoWay:
    """Return the mean squares of a table.

    Args:
        values: (S, G) finite numbers, a row a training and a column a sample, S and G at least 2.
        askings: of each training, (R, G), what `values` has the mean of; R may differ. Empty where
            each was asked once.

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
    by_column = np.stack([
        s * np.square(columns - mean) * (g / (g - 1)),
        np.einsum("sg,sg->g", rest, rest) * (g / ((s - 1) * (g - 1))),
    ])  # fmt: skip
    again = [one.var(axis=0, ddof=1) for one in askings if len(one) > 1]
    held = float(np.mean([1.0 / len(one) for one in askings])) if again else 0.0
    between = g * _squares(rows - mean) / (s - 1)
    return TwoWay(s, g, mean, between, by_column, np.array(again).reshape(-1, g), held)


def rows_alike(table: TwoWay) -> float:
    """Return the p-value of rows that differ by no more than their cells do.

    Source: the F test of a two-way table with one observation a cell; of zeros and ones its
    statistic is a function of Cochran's Q (Cochran 1950, Biometrika 37:256).
    """
    if not table.residual > 0.0:
        return float(not table.between > 0.0)
    degrees = table.trainings - 1
    ratio = table.between / table.residual
    return float(fdtrc(degrees, degrees * (table.columns - 1), ratio))


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
