"""One OOD set against the familiar samples, and its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.statistic import Statistic
from crucibench.metrics.ranking import (
    auroc_statistic,
    average_precision_statistic,
    fpr_at_tpr_statistic,
)
from crucibench_suites.ood import numbers
from crucibench_suites.ood.detector import Floats, Ints


class Number:
    """A statistic of the rows of a set, whose value and influences are computed but once."""

    def __init__(self, statistic: Statistic) -> None:
        self.statistic = statistic

    @cached_property
    def value(self) -> float:
        """The number itself; NaN where it is undefined."""
        found = self.statistic.value().value
        return np.nan if found is None else found

    @cached_property
    def influence(self) -> Floats:
        """Its derivative by each row's weight, shape (rows,)."""
        if self.statistic.influence is None:
            raise TypeError("expected a number with an influence function")
        return self.statistic.influence()


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One OOD set against the familiar samples: rows of these first, then those of the set.

    Attributes:
        scores: shape (n + m,).
        strange: which rows are of the set, shape (n + m,), bool.
        units: codes of rows that are of one sample, or of one cluster, shape (n + m,).
    """

    scores: Floats
    strange: NDArray[np.bool_]
    units: Ints

    @property
    def whole(self) -> bool:
        """Whether there are samples on both sides."""
        return bool(self.strange.any() and not self.strange.all())

    def number(self, metric: str) -> Number:
        """Returns a number of the set, by the id of its metric; computed but once."""
        if metric not in self._numbers:
            self._numbers[metric] = Number(BUILDERS[metric](self))
        return self._numbers[metric]

    @cached_property
    def _numbers(self) -> dict[str, Number]:
        return {}


_TPR = 0.95

Build = Callable[[Part], Statistic]


def _fpr_id(part: Part) -> Statistic:
    return fpr_at_tpr_statistic(-part.scores, ~part.strange, tpr=_TPR)


BUILDERS: dict[str, Build] = {
    numbers.AUROC.id: lambda part: auroc_statistic(part.scores, part.strange),
    numbers.AUPR_OUT.id: lambda part: average_precision_statistic(part.scores, part.strange),
    numbers.AUPR_IN.id: lambda part: average_precision_statistic(-part.scores, ~part.strange),
    numbers.FPR_OOD.id: lambda part: fpr_at_tpr_statistic(part.scores, part.strange, tpr=_TPR),
    numbers.FPR_ID.id: _fpr_id,
}
"""Metric id to the statistic of the rows of one set."""
