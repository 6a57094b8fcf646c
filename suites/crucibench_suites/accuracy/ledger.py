"""Where numbers are put down: on a sheet of rows, or recorded as statistics of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from crucibench.contracts.statistic import Form, Statistic, TableStatistic
from crucibench.stats import Interval, WeightedStatistic
from crucibench_suites.accuracy.answers import Bools, Floats, Ints
from crucibench_suites.accuracy.rows import Bias, Number


class Ledger(Protocol):
    """Takes numbers one by one, so that rows and comparables come from the same lines of code."""

    def without(self, metric: str, reason: str, *, n: int | None = None) -> None:
        """Puts down that a number is undefined, and why."""

    def share(
        self,
        metric: str,
        hits: Bools,
        among: Ints | None,
        *,
        missing: str,
        group: str = "",
        same_samples: bool = True,
    ) -> None:
        """Puts down a proportion.

        Args:
            metric: its id.
            hits: whether each sample counts as a success, shape (n,).
            among: the samples in the denominator; None for all.
            missing: the reason where there are none.
            group: the class.
            same_samples: whether the denominator depends on the samples alone, not on the model.
        """

    def ranking(self, metric: str, scores: Floats, positives: Bools) -> None:
        """Puts down an area under the ROC curve."""

    def closed(
        self,
        number: Number,
        interval: Callable[[float], Interval],
        statistic: Callable[[], WeightedStatistic],
        *,
        cost: int = 1,
        form: Callable[[], Form] | None = None,
    ) -> None:
        """Puts down a number with a closed-form interval.

        Args:
            number: what it is.
            interval: from a level to its interval, if samples are independent.
            statistic: returns the number as a function of weights.
            cost: of the statistic, as for `resampled`.
            form: returns the number in a form of its own, in place of the statistic.
        """

    def resampled(
        self,
        metric: str,
        build: Callable[[], Statistic],
        *,
        cost: int = 1,
        bias: Bias = "none",
        suffix: str = "",
    ) -> None:
        """Puts down a number whose interval comes from resampling.

        Args:
            metric: its id.
            build: returns the number as a function of weights.
            cost: about how many times a plain mean's time it takes.
            bias: of its bootstrap replicates.
            suffix: what the interval's method should say beyond.
        """

    def table(
        self, metric: str, statistic: TableStatistic, counts: Ints, truth: Ints, said: Ints
    ) -> None:
        """Puts down a number read off the confusion table.

        Args:
            metric: its id.
            statistic: the number as a function of tables.
            counts: the table, shape (K, K), the same for every call.
            truth: what the table counts by row, shape (n,).
            said: what it counts by column, shape (n,).
        """
