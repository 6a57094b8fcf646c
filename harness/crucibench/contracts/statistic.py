"""A number as a statistic of samples: one definition gives its value, interval and difference.

A scenario lists its numbers once (`Scenario.numbers`), a metric makes one (`Metric.statistic`).
From a number's *form* follow its value and its interval (`crucibench.metrics.scoring`), the paired
difference of two models (`crucibench.comparing`), and the joint replicates behind ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from crucibench.contracts.data import Samples

Floats: TypeAlias = NDArray[np.float64]

OfRows: TypeAlias = Callable[[NDArray[Any]], Floats]
"""Weights of n samples, shape (B, n), to B values."""

Influence: TypeAlias = Callable[[], "Floats | None"]
"""The derivative of a value by each of n weights, shape (n,); None where there is none."""

Bias = Literal["none", "up", "corrected"]
"""What resampling does to a number: nothing; it shifts it up, as a binned error, which grows with
noise; or it is corrected for that shift once, but not for the shift of the replicates."""

Form: TypeAlias = "Share | Ranking | TableMetric | RowMetric"

_BLOCK = 1 << 20
"""Floats that one pass over the weights may hold at a time (8 MiB)."""


class Interval(NamedTuple):
    """A two-sided confidence interval.

    Attributes:
        lower: lower bound, in the unit of the estimate.
        upper: upper bound, at least ``lower``.
        level: confidence level, in (0, 1).
        method: name of what was computed, e.g. ``wilson`` or ``bca-bootstrap-2000``. It names the
            method really used, so a fall-back shows here.
    """

    lower: float
    upper: float
    level: float
    method: str


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """A metric's value, or the reason why it has none.

    Attributes:
        value: the number, finite; None where it is undefined.
        n: how many samples stand behind it: its denominator.
        reason: why `value` is None; empty where it is not.
        note: what a reader of the number should know, e.g. which classes an average leaves out.

    Raises:
        ValueError: if both or neither of `value` and `reason` are given, or the value isn't finite.
    """

    value: float | None
    n: int
    reason: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.reason):
            raise ValueError(
                f"Value: expected a value or a reason, got value={self.value!r} and "
                f"reason={self.reason!r}"
            )
        if self.value is not None and not np.isfinite(self.value):
            raise ValueError(f"Value: expected a finite value, got {self.value!r}")


@lru_cache(maxsize=1)
def plain_weights(n: int) -> Floats:
    """Returns the weights of n samples as they are, (1, n) ones, read-only.

    The same array to all who ask, so that statistics share what they make of it.
    """
    ones = np.ones((1, n))
    ones.flags.writeable = False
    return ones


def value_of(number: float, n: int, *, reason: str, note: str = "") -> Value:
    """Returns a number as a `Value`: `reason` is used only if the number is nan."""
    if np.isnan(number):
        return Value(value=None, n=n, reason=reason)
    if np.isinf(number):
        return Value(value=None, n=n, reason="too large for a 64-bit float")
    return Value(value=float(number), n=n, note=note)


@final
@dataclass(frozen=True)
class Sums:
    """A number as a function of sums over samples: then its interval costs one pass over them.

    Attributes:
        count: how many sums there are, M.
        by_group: from each sample's group, (n,) integers from 0, and the number of groups G to the
            sums of each group, (G, M) float64.
        value: from sums (B, M) to values (B,), nan where undefined. Of the sums of all samples it
            is the number itself; of others it may hold fixed what hardly moves, such as the edges
            of bins.
    """

    count: int
    by_group: Callable[[NDArray[np.intp], int], Floats]
    value: Callable[[Floats], Floats]


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Statistic:
    """A metric as a function of row weights, with sorting and gathering done once.

    A weight says how often a row counts: row i with weight 2 is the same as row i twice, weight 0
    the same as no row i. The metric itself is the statistic at weights of one.

    Attributes:
        n: the number of rows.
        compute: maps weights (b, n), float64, to values (b,); nan where undefined.
        undefined: why the value is undefined, where it is.
        note: what a reader of the value should know.
        width: floats that `compute` holds for each row of weights, if more than `n`.
        influence: returns the derivative of the value by each weight, at weights of one, shape
            (n,); it sums to 0. None where there is none worth having.
        sums: returns the same as a function of sums over samples, where it is one of few enough.
    """

    n: int
    compute: Callable[[Floats], Floats]
    undefined: str = "not defined for these samples"
    note: str = ""
    width: int = 0
    influence: Callable[[], Floats] | None = None
    sums: Callable[[], Sums | None] | None = None

    def __call__(self, weights: ArrayLike) -> Floats:
        """Computes the metric for every row of weights.

        Args:
            weights: how often each sample counts, shape (B, n), numbers >= 0.

        Returns:
            Shape (B,), float64; nan where the metric is undefined.

        Raises:
            ValueError: if `weights` has another shape or a number is negative or nan.
        """
        counts = np.asarray(weights)
        if counts.ndim != 2 or counts.shape[1] != self.n:
            raise ValueError(f"weights: expected shape (B, {self.n}), got {counts.shape}")
        values = np.full(len(counts), np.nan)
        if self.n == 0:
            return values
        step = max(1, _BLOCK // max(self.n, self.width))
        for start in range(0, len(counts), step):
            chunk = np.ascontiguousarray(counts[start : start + step], dtype=np.float64)
            if not chunk.min() >= 0:
                raise ValueError(f"weights: expected numbers >= 0, got {chunk.min()}")
            with np.errstate(divide="ignore", invalid="ignore"):
                values[start : start + step] = self.compute(chunk)
        return values

    def value(self) -> Value:
        """Returns the metric of the rows as they are, or why it is undefined."""
        number = self(plain_weights(self.n))[0]
        reason = self.undefined if self.n else "no samples"
        return value_of(number, self.n, reason=reason, note=self.note)


@final
@dataclass(frozen=True, kw_only=True)
class TableStatistic:
    """A metric as a function of the confusion table.

    Where samples are drawn independently the table can be resampled exactly (a multinomial over its
    cells), whatever the number of samples.

    Attributes:
        compute: maps tables (b, K, K), float64, to values (b,); nan where undefined.
        undefined: says of one table (K, K) why the value is undefined.
        note: says of one table what a reader of the value should know; may be empty.
        of_margins: the same of right answers, samples and predictions by class, (b, K) each, where
            no other cell matters.
    """

    compute: Callable[[Floats], Floats]
    undefined: Callable[[Floats], str]
    note: Callable[[Floats], str] = lambda _: ""
    of_margins: Callable[[Floats, Floats, Floats], Floats] | None = None

    def __call__(self, tables: ArrayLike) -> Floats:
        """Computes the metric of every table.

        Args:
            tables: counts, shape (B, K, K), numbers >= 0.

        Returns:
            Shape (B,), float64; nan where the metric is undefined.

        Raises:
            ValueError: if `tables` has another shape or a count is negative or nan.
        """
        counts = np.asarray(tables, dtype=np.float64)
        if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or counts.shape[1] < 2:
            raise ValueError(f"tables: expected shape (B, K, K) with K >= 2, got {counts.shape}")
        if counts.size and not counts.min() >= 0:
            raise ValueError(f"tables: expected counts >= 0, got {counts.min()}")
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.compute(counts)

    def value(self, table: ArrayLike) -> Value:
        """Returns the metric of one table, shape (K, K), or why it is undefined."""
        counts = np.asarray(table, dtype=np.float64)
        if counts.ndim != 2:
            raise ValueError(f"table: expected shape (K, K), got {counts.shape}")
        reason = self.undefined(counts) if counts.any() else "no samples"
        return value_of(
            self(counts[None])[0], int(counts.sum()), reason=reason, note=self.note(counts)
        )


@dataclass(frozen=True)
class Share:
    """A proportion: how many of some samples are a hit. Its interval is Wilson's.

    Attributes:
        hits: shape (n,), bool.
        among: shape (n,), bool: the denominator; None for all. Where it depends on the model (as
            of precision), the two proportions are of different samples.
        same_samples: whether `among` depends on the samples alone, not on the model.
        of_share: from shares to the numbers themselves, increasing, where they are a function of
            the share, as F1 is of J = TP / (TP + FP + FN); the bounds of the share are mapped.
        share_name: what the method of such an interval calls the share, e.g. ``jaccard``.
        closed_by_cluster: as `RowMetric.closed`, for samples in clusters; None to resample there.
    """

    hits: NDArray[np.bool_]
    among: NDArray[np.bool_] | None = None
    same_samples: bool = True
    of_share: Callable[[Floats], Floats] | None = None
    share_name: str = ""
    closed_by_cluster: Callable[[float], Interval | str] | None = None


@dataclass(frozen=True)
class Ranking:
    """An area under the ROC curve. Its interval is DeLong's.

    Attributes:
        scores: shape (n,).
        positives: shape (n,), bool.
    """

    scores: NDArray[np.float64]
    positives: NDArray[np.bool_]


@dataclass(frozen=True)
class TableMetric:
    """A function of the confusion table of predictions and targets (class indices).

    Attributes:
        predictions: shape (n,).
        targets: shape (n,).
        classes: how many classes there are, K.
        of_tables: the number as a function of tables.
    """

    predictions: NDArray[np.int64]
    targets: NDArray[np.int64]
    classes: int
    of_tables: TableStatistic


@dataclass(frozen=True)
class GroupMeans:
    """A mean of each of some groups.

    Attributes:
        codes: shape (n,), integers: each sample's group from 0 to `groups` - 1; -1 for none.
        numbers: shape (n,), what the mean is taken of; of a proportion True and False.
        among: shape (n,), bool: the denominator.
        groups: how many there are.
        proportion: whether the numbers are 0 and 1.
    """

    codes: NDArray[np.signedinteger]
    numbers: NDArray[np.float64] | NDArray[np.bool_]
    among: NDArray[np.bool_]
    groups: int
    proportion: bool


@dataclass(frozen=True)
class Extreme:
    """The largest difference between two groups of one part, or the lowest or highest mean.

    Such a number is not smooth where groups are alike, so that resampling its difference between
    two models covers too seldom; it is compared by bounds of what it is made of.
    """

    parts: tuple[GroupMeans, ...]
    largest: Literal["difference", "lowest", "highest"]


@dataclass(frozen=True)
class BoundedMean:
    """Numbers within known bounds, of which a mean is taken. Its interval is Gaffke's.

    Attributes:
        values: shape (n,).
        lower: the smallest that any of them can be.
        upper: the largest. Of a log loss it is the largest that these answers would have had if
            other labels had been right: a larger one is possible, and not in the sample.
        by_label: returns what the numbers would be under each label, shape (n, L): two models'
            numbers then differ by no more than these do.
    """

    values: Floats
    lower: float
    upper: float
    by_label: Callable[[], Floats] | None = None


@dataclass(frozen=True)
class RowMetric:
    """Anything else: a function of weighted samples. Its interval is resampled.

    Attributes:
        of_rows: weights (B, n) to (B,); a weight of 0 leaves a sample out. A `Statistic`, a
            `crucibench.stats.SumStatistic` (the fast kind), or any function.
        influence: returns the value's derivative by each weight, at weights of one, shape (n,), or
            None; with it, large n costs one pass. That of a `Statistic` need not be given.
        bias: what resampling does to it.
        cost: about how many times a plain mean's time it takes.
        parts: of how many numbers it is the mean: of each of them a few samples then do.
        extreme: the same as an extreme of means of groups, where it is one.
        closed: returns the interval of a level in closed form, where samples are independent, or
            why there is none.
        closed_by_cluster: whether `closed` holds for samples in clusters, too.
        bounded: the same as a mean of bounded numbers, where it is one.
        rare: how many samples have the rarer of the outcomes that it is made of, e.g. errors: with
            few of them resampling shows too little. None where there is no such outcome.
        by_sample: how well each sample is answered, shape (n,), higher being better, where the
            number is no mean over samples: says on which of them one model is better.
        askings: of a mean over several askings of the same samples, the form of each.
        value: the number itself, where it is known without a pass over the samples.
    """

    of_rows: OfRows
    influence: Influence | None = None
    bias: Bias = "none"
    cost: int = 1
    parts: int = 1
    extreme: Extreme | None = None
    closed: Callable[[float], Interval | str] | None = None
    closed_by_cluster: bool = False
    bounded: BoundedMean | None = None
    rare: int | None = None
    by_sample: Floats | None = None
    askings: tuple[Form, ...] = ()
    value: float | None = None

    def __post_init__(self) -> None:
        if self.influence is None and isinstance(self.of_rows, Statistic):
            object.__setattr__(self, "influence", self.of_rows.influence)


@dataclass(frozen=True, eq=False)
class Units:
    """What numbers are drawn over, where that is not the samples of the evidence as they are.

    One object for all numbers that share it: they are resampled under the same draws.

    Attributes:
        samples: ids that tell each from all others, and clusters.
        stream: names the draws, beyond the scenario's own stream.
        strata: codes within which is drawn, shape (n,), or None.
        estimand: what intervals speak of; see `crucibench.contracts.rows.Row`.
    """

    samples: Samples
    stream: str
    strata: NDArray[np.int64] | None = None
    estimand: str = "model/population"


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number of a cell, in a form that can be computed for any weighting of samples.

    Attributes:
        metric: the id of a metric that the scenario declares.
        make: returns the form; called when the number is asked for, and once. None where the number
            is undefined.
        point: the scenario's point.
        group: the class or group.
        undefined: the reason where there is no form, or where its value is undefined.
        n: its denominator, where the form does not say it.
        note: what the interval's method says beyond, e.g. "it is gaussian_noise".
        exact: why no sampling moves the value; then it has no interval.
        units: what it is drawn over; None for the samples of the evidence.
        effort: what was spent on it that not every model gets, in words; "" for nothing.
        common: returns its form at the effort that every model gets: by that it is compared with a
            number of another effort. None where they don't differ.
    """

    metric: str
    make: Callable[[], Form] | None = None
    point: str = ""
    group: str = ""
    undefined: str = ""
    n: int | None = None
    note: str = ""
    exact: str = ""
    units: Units | None = None
    effort: str = ""
    common: Callable[[], Form] | None = None

    @property
    def samples(self) -> Samples | None:
        """What it is drawn over, where that is not the evidence's samples."""
        return None if self.units is None else self.units.samples

    @cached_property
    def form(self) -> Form:
        """How it is made of samples, in the order of its units' samples.

        Raises:
            ValueError: if the number is undefined.
        """
        if self.make is None:
            raise ValueError(f"{self.metric}: expected a form, got none: {self.undefined}")
        return self.make()

    @cached_property
    def common_form(self) -> Form:
        """The same at the effort that every model gets."""
        return self.form if self.common is None else self.common()


def at_common_effort(numbers: Sequence[Number]) -> list[Form]:
    """Returns how one number of several models is made, at one effort where theirs differ."""
    same = len({number.effort for number in numbers}) == 1
    return [number.form if same else number.common_form for number in numbers]
