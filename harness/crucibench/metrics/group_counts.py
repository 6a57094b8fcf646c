"""Decisions counted by group, and the rates of each group: rows of a small table of counts.

A table of two-class decisions has four cells a group, whatever the number of samples. So tables of
parts of the data add up, and resampling the table is exact for every rate and costs the same for a
thousand samples as for a hundred million.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crucibench.metrics._inputs import BoolArray, FloatArray, IntArray, flags, require_same_length

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


@final
@dataclass(frozen=True, kw_only=True)
class GroupCounts:
    """Decisions by group.

    Attributes:
        names: of the groups, shape (G,).
        table: shape (G, 4), int64: samples by `CELLS`.
    """

    names: tuple[str, ...]
    table: IntArray

    def __len__(self) -> int:
        return len(self.names)

    def __add__(self, other: GroupCounts) -> GroupCounts:
        """Adds the counts of other samples: groups by name, in the order of the names."""
        both = pd.concat(
            [pd.DataFrame(part.table, index=list(part.names)) for part in (self, other)]
        )
        summed = both.groupby(level=0, sort=True).sum()
        return GroupCounts(
            names=tuple(str(name) for name in summed.index),
            table=summed.to_numpy(dtype=np.int64),
        )

    @property
    def n(self) -> IntArray:
        """Samples by group, shape (G,)."""
        return np.asarray(self.table.sum(axis=1), dtype=np.int64)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> GroupCounts:
        """Returns the groups at `rows`."""
        chosen = [int(row) for row in rows]
        return GroupCounts(
            names=tuple(self.names[row] for row in chosen),
            table=self.table[np.array(chosen, dtype=np.int64)],
        )

    def rate(self, metric: str) -> tuple[IntArray, IntArray]:
        """Returns successes and trials of a rate by group, shape (G,) each.

        Raises:
            KeyError: if `metric` is none of `RATES`.
        """
        hits, among = _masks(RATES[metric])
        return self.table @ hits.astype(np.int64), self.table @ among.astype(np.int64)


def group_counts(groups: ArrayLike, targets: ArrayLike, predictions: ArrayLike) -> GroupCounts:
    """Counts two-class decisions by group.

    Args:
        groups: (n,) str, each sample's group.
        targets: (n,) bool, whether each sample is positive.
        predictions: (n,) bool, whether each is predicted as positive.

    Returns:
        The groups that occur, in the order of their names.

    Raises:
        ValueError: if lengths differ, or a target or prediction is neither 0 nor 1.
    """
    labels = np.asarray(groups, dtype=object)
    truth, answers = flags("targets", targets), flags("predictions", predictions)
    require_same_length(groups=labels, targets=truth, predictions=answers)
    codes, names = pd.factorize(labels, sort=True)
    return GroupCounts(
        names=tuple(str(name) for name in names),
        table=count_cells(np.asarray(codes), truth, answers, len(names)),
    )


def count_cells(codes: IntArray, targets: BoolArray, predictions: BoolArray, k: int) -> IntArray:
    """Counts decisions by group code (0 to k - 1): shape (k, 4), in the order of `CELLS`."""
    cells = 4 * codes + 2 * targets + predictions
    return np.bincount(cells, minlength=4 * k).reshape(k, 4)


def rates(counts: ArrayLike, metric: str) -> FloatArray:
    """Returns a rate of every group.

    Args:
        counts: shape (..., 4), in the order of `CELLS`.
        metric: one of `RATES`.

    Returns:
        Shape (...,); nan where the denominator is 0: an undefined rate is no rate of 0.

    Raises:
        KeyError: if `metric` is none of `RATES`.
    """
    table = np.asarray(counts, dtype=np.float64)
    hits, among = _masks(RATES[metric])
    with np.errstate(divide="ignore", invalid="ignore"):
        # Not by BLAS: four numbers are not worth a call.
        share = np.einsum("...c,c->...", table, hits) / np.einsum("...c,c->...", table, among)
    return np.asarray(share)


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


def _masks(rate: Rate) -> tuple[FloatArray, FloatArray]:
    return np.array(rate.hits, dtype=np.float64), np.array(rate.among, dtype=np.float64)
