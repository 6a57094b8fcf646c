"""A number and why it may be missing; a number as a function of how often each row counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from crucibench.metrics._inputs import FloatArray, float_vector
from crucibench.metrics._rows import row_sums, weighted_sum

_BLOCK = 1 << 20
"""Floats that one pass over the weights may hold at a time (8 MiB)."""


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


def value_of(number: float, n: int, *, reason: str, note: str = "") -> Value:
    """Returns a number as a `Value`: `reason` is used only if the number is nan."""
    if np.isnan(number):
        return Value(value=None, n=n, reason=reason)
    if np.isinf(number):
        return Value(value=None, n=n, reason="too large for a 64-bit float")
    return Value(value=float(number), n=n, note=note)


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
    """

    n: int
    compute: Callable[[FloatArray], FloatArray]
    undefined: str = "not defined for these samples"
    note: str = ""
    width: int = 0
    influence: Callable[[], FloatArray] | None = None

    def __call__(self, weights: ArrayLike) -> FloatArray:
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
        number = self(np.ones((1, self.n)))[0]
        reason = self.undefined if self.n else "no samples"
        return value_of(number, self.n, reason=reason, note=self.note)


def mean_statistic(values: ArrayLike, *, name: str = "values") -> Statistic:
    """Returns the mean of a column as a statistic.

    Args:
        values: one finite number (or bool) per sample, shape (n,).
        name: what error messages call it.

    Raises:
        ValueError: if a value isn't finite or `values` isn't a vector.
    """
    column = float_vector(name, values)

    def compute(weights: FloatArray) -> FloatArray:
        return weighted_sum(weights, column) / row_sums(weights)

    def influence() -> FloatArray:
        return np.asarray((column - column.mean()) / len(column))

    return Statistic(n=len(column), compute=compute, undefined="no samples", influence=influence)
