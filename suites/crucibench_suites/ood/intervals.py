"""Numbers of OOD sets as functions of how often each unit counts, and their intervals.

A generated sample and the one that it was made of are one unit, drawn together: their scores are no
independent evidence. Sets of their own bring units of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.rows import Row
from crucibench.stats import (
    hoeffding_interval,
    linearised_interval,
    wilson,
)
from crucibench_suites.ood import numbers
from crucibench_suites.ood.detector import Floats, Ints
from crucibench_suites.ood.part import Number, Part

_RATES = (numbers.FPR_OOD.id, numbers.FPR_ID.id)


@dataclass(frozen=True)
class Mean:
    """The mean of one number over sets, as a statistic of weighted units.

    Attributes:
        parts: the sets.
        found: the number of each.
        count: how many units there are.
    """

    parts: tuple[Part, ...]
    found: tuple[Number, ...]
    count: int

    @classmethod
    def of(cls, metric: str, parts: Sequence[Part]) -> Mean:
        """Takes the sets of a point."""
        count = 1 + max(int(part.units.max()) for part in parts)
        return cls(tuple(parts), tuple(part.number(metric) for part in parts), count)

    def __call__(self, weights: Floats) -> Floats:
        """Returns the number under weights (B, units), shape (B,)."""
        values = [one.statistic(weights[:, part.units])
                  for part, one in zip(self.parts, self.found, strict=True)]  # fmt: skip
        return np.asarray(np.mean(values, axis=0))

    def value(self) -> float:
        """Returns the number itself; NaN where it is undefined."""
        return float(np.mean([one.value for one in self.found]))

    def influence(self) -> Floats:
        """Returns its derivative by each unit's weight, shape (units,)."""
        total = np.zeros(self.count)
        for part, one in zip(self.parts, self.found, strict=True):
            total += np.bincount(part.units, weights=one.influence, minlength=self.count)
        return total / len(self.parts)

    @property
    def n(self) -> int:
        """How many samples stand behind it: familiar ones, and those of all its sets."""
        known = int((~self.parts[0].strange).sum())
        return known + sum(int(part.strange.sum()) for part in self.parts)


def row_of(metric: str, point: str, mean: Mean, options: ScoringOptions) -> Row:
    """Returns the row of a number with its interval.

    Normally it is that of the influence functions, by units. Where these show no spread, an AUROC
    has Hoeffding's bound, a false positive rate of 0 or 1 Wilson's interval at its threshold, and
    an average precision none.
    """
    value = mean.value()
    if np.isnan(value):
        return Row(metric=metric, point=point, value=None, n=mean.n, reason="a side has no sample")
    interval = linearised_interval(value, mean.influence(), level=options.level)
    if interval is None and metric == numbers.AUROC.id:
        interval = hoeffding_interval(value, independent_pairs(mean.parts), options.level)
    elif interval is None and metric in _RATES and value in {0.0, 1.0}:
        trials = min(_trials(metric, part) for part in mean.parts)
        interval = wilson(round(value * trials), trials, options.level)
        interval = interval._replace(method="wilson; the threshold held fixed")
    if interval is None:
        reason = "no sample is ranked otherwise: there is no spread to go by"
        return Row(metric=metric, point=point, value=value, n=mean.n, reason=reason)
    return Row(
        metric=metric, point=point, value=value, n=mean.n, lower=min(interval.lower, value),
        upper=max(interval.upper, value), level=options.level, method=interval.method,
    )  # fmt: skip


def independent_pairs(parts: Sequence[Part]) -> int:
    """Returns how many pairs of a familiar sample and one of a set share no unit.

    Where a set is made of the familiar samples, it is half of them.
    """
    pairs = []
    for part in parts:
        known, strange = part.units[~part.strange], part.units[part.strange]
        shared = len(np.intersect1d(known, strange))
        most = min(len(np.unique(known)), len(np.unique(strange)))
        pairs.append(most if not shared else most // 2)
    return max(1, min(pairs))


def _trials(metric: str, part: Part) -> int:
    flagged = ~part.strange if metric == numbers.FPR_OOD.id else part.strange
    units: Ints = part.units[flagged]
    return len(np.unique(units))
