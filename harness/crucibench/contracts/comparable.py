"""A metric as a statistic of samples, so that two models can be compared on the same ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.data import Samples

OfRows: TypeAlias = Callable[[NDArray[Any]], NDArray[np.float64]]
"""Weights of n samples, shape (B, n), to B values."""

OfTables: TypeAlias = Callable[[NDArray[Any]], NDArray[np.float64]]
"""Confusion tables, shape (B, K, K) with a row a true class, to B values."""

OfShares: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Shares, shape (B,), to B values."""

Influence: TypeAlias = Callable[[], NDArray[np.float64] | None]
"""The derivative of a value by each of n weights, shape (n,); None where there is none."""

Form: TypeAlias = "Share | Ranking | TableMetric | RowMetric"


@dataclass(frozen=True)
class Share:
    """A proportion: how many of some samples are a hit.

    Attributes:
        hits: shape (n,), bool.
        among: shape (n,), bool: the denominator; None for all. Where it depends on the model (as
            of precision), the two proportions are of different samples.
        same_samples: whether `among` depends on the samples alone, not on the model.
        of_share: from shares to the numbers themselves, where they are a function of the share, as
            F1 is of TP / (TP + FP + FN).
    """

    hits: NDArray[np.bool_]
    among: NDArray[np.bool_] | None = None
    same_samples: bool = True
    of_share: OfShares | None = None


@dataclass(frozen=True)
class Ranking:
    """An area under the ROC curve: scores of all samples, and which of them are positive."""

    scores: NDArray[np.float64]
    positives: NDArray[np.bool_]


@dataclass(frozen=True)
class TableMetric:
    """A function of the confusion table of predictions and targets (class indices)."""

    predictions: NDArray[np.int64]
    targets: NDArray[np.int64]
    classes: int
    of_tables: OfTables


@dataclass(frozen=True)
class GroupMeans:
    """A mean of each of some groups.

    Attributes:
        codes: shape (n,), each sample's group from 0 to `groups` - 1; -1 for those of none.
        numbers: shape (n,), what the mean is taken of.
        among: shape (n,), bool: the denominator.
        groups: how many there are.
        proportion: whether the numbers are 0 and 1.
    """

    codes: NDArray[np.int64]
    numbers: NDArray[np.float64]
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
class RowMetric:
    """Anything else: a function of weighted samples.

    Attributes:
        of_rows: weights (B, n) to (B,); a weight of 0 leaves a sample out.
        influence: returns the value's derivative by each weight, at weights of one, shape (n,), or
            None; with it, large n costs one pass.
        biased: whether resampling shifts it, as it does a binned error, which grows with noise.
        cost: about how many times a plain mean's time it takes.
        extreme: the same as an extreme of means of groups, where it is one.
    """

    of_rows: OfRows
    influence: Influence | None = None
    biased: bool = False
    cost: int = 1
    extreme: Extreme | None = None


@dataclass(frozen=True, kw_only=True)
class Comparable:
    """One number of a cell, in a form that can be computed again for any weighting of samples.

    Attributes:
        metric: the id of a metric that the scenario declares.
        point: the scenario's point.
        group: the class or group.
        form: how it is made of samples, in the order of the evidence's samples.
        samples: of what it is made where these are not the evidence's, as where it is of two roles:
            ids that tell each from all others, and clusters; one object for all that share them.
    """

    metric: str
    point: str = ""
    group: str = ""
    form: Form
    samples: Samples | None = None
