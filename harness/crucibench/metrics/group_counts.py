"""Rates of a group's two-class decisions, and indices of inequality, from its table of counts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crucibench.metrics._inputs import FloatArray

CELLS = ("true negatives", "false positives", "false negatives", "true positives")
"""The cells of a group's table, in order: targets by predictions, row by row."""


class Rate(NamedTuple):
    """A proportion of a group's samples.

    Attributes:
        id: the metric's id.
        hits: which of the four `CELLS` are successes.
        among: which of them are the denominator.
        undefined: why there is no rate where the denominator is 0.
    """

    id: str
    hits: tuple[int, int, int, int]
    among: tuple[int, int, int, int]
    undefined: str


RATES: Mapping[str, Rate] = MappingProxyType(
    {
        rate.id: rate
        for rate in (
            Rate("top-1", (1, 0, 0, 1), (1, 1, 1, 1), "no samples"),
            Rate("base-rate", (0, 0, 1, 1), (1, 1, 1, 1), "no samples"),
            Rate("selection-rate", (0, 1, 0, 1), (1, 1, 1, 1), "no samples"),
            Rate("tpr", (0, 0, 0, 1), (0, 0, 1, 1), "no positive samples"),
            Rate("fnr", (0, 0, 1, 0), (0, 0, 1, 1), "no positive samples"),
            Rate("fpr", (0, 1, 0, 0), (1, 1, 0, 0), "no negative samples"),
            Rate("tnr", (1, 0, 0, 0), (1, 1, 0, 0), "no negative samples"),
            Rate("ppv", (0, 0, 0, 1), (0, 1, 0, 1), "no positive predictions"),
            Rate("npv", (1, 0, 0, 0), (1, 0, 1, 0), "no negative predictions"),
        )
    }
)
"""Every rate by its id."""


def generalized_entropy(counts: ArrayLike) -> FloatArray:
    """Returns the generalized entropy index (alpha = 2) of the benefits prediction - target + 1.

    Half the squared coefficient of variation of benefits 0 (a false negative), 1 (right) and 2 (a
    false positive).

    Args:
        counts: shape (..., 4), in the order of `CELLS`.

    Returns:
        Shape (...,), at least 0; nan where all benefits are 0.

    Source:
        Speicher et al., KDD 2018, equation 2; AIF360's ``generalized_entropy_index``.
    """
    n, mean, square = _benefits(np.asarray(counts, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((square / n / (mean / n) ** 2 - 1) / 2)


def theil_index(counts: ArrayLike) -> FloatArray:
    """Returns the Theil index of the benefits prediction - target + 1 (alpha = 1).

    Args:
        counts: shape (..., 4), in the order of `CELLS`.

    Returns:
        Shape (...,), at least 0, in nats; nan where all benefits are 0.

    Source:
        Speicher et al., KDD 2018, section 3; AIF360's ``theil_index``.
    """
    table = np.asarray(counts, dtype=np.float64)
    n, total, _ = _benefits(table)
    right, raised = table[..., 0] + table[..., 3], table[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / n
        # Benefits of 0 count nothing: x ln x goes to 0.
        return np.asarray((right * -np.log(mean) + 2 * raised * np.log(2 / mean)) / total)


def _benefits(table: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns the number of benefits, their sum and the sum of their squares."""
    right, raised = table[..., 0] + table[..., 3], table[..., 1]
    return table.sum(axis=-1), right + 2 * raised, right + 4 * raised
