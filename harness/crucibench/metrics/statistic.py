"""Statistics: the mean of a column, and what several have in common."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike

from crucibench.contracts.statistic import Statistic, Sums
from crucibench.metrics._inputs import FloatArray, IntArray, float_vector
from crucibench.metrics._rows import row_sums, weighted_sum

T = TypeVar("T")


@final
class SharedParts(Generic[T]):
    """What several statistics compute of the same weights, computed once for all of them.

    Only of weights that nobody can change, as the blocks of a bootstrap are: others are computed
    each time.
    """

    def __init__(self, compute: Callable[[FloatArray], T]) -> None:
        """Takes the function of weights (b, n)."""
        self._compute = compute
        self._last: tuple[weakref.ref[FloatArray], object, T] | None = None

    def __call__(self, weights: FloatArray) -> T:
        base: Any = weights.base
        owner = weights if base is None else base
        if not isinstance(owner, np.ndarray) or owner.flags.writeable:
            return self._compute(weights)
        at = (weights.__array_interface__["data"], weights.shape, weights.strides)
        last = self._last
        if last is not None and last[0]() is owner and last[1] == at:
            return last[2]
        parts = self._compute(weights)
        self._last = (weakref.ref(owner), at, parts)
        return parts


def mean_statistic(values: ArrayLike) -> Statistic:
    """Returns the mean of a column as a statistic.

    Args:
        values: one finite number (or bool) per sample, shape (n,).

    Raises:
        ValueError: if a value isn't finite or `values` isn't a vector.
    """
    column = float_vector("values", values)

    def compute(weights: FloatArray) -> FloatArray:
        return weighted_sum(weights, column) / row_sums(weights)

    def influence() -> FloatArray:
        return np.asarray((column - column.mean()) / len(column))

    def by_group(codes: IntArray, groups: int) -> FloatArray:
        parts = [np.bincount(codes, weights, groups) for weights in (column, None)]
        return np.stack(parts, axis=1).astype(np.float64)

    return Statistic(
        n=len(column), compute=compute, undefined="no samples", influence=influence,
        sums=lambda: Sums(2, by_group, lambda sums: sums[:, 0] / sums[:, 1]),
    )  # fmt: skip
