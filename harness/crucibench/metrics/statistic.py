"""The mean of a column as a statistic."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from crucibench.contracts.statistic import Statistic
from crucibench.metrics._inputs import FloatArray, float_vector
from crucibench.metrics._rows import row_sums, weighted_sum


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
