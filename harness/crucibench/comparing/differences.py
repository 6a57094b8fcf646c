"""Paired differences of outcomes: what changed, which samples flipped, what n could have shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crucibench.comparing.pairing import pair
from crucibench.contracts.evidence import OutcomeView
from crucibench.stats import (
    Interval,
    detectable_paired_proportions,
    mcnemar_asymptotic,
    mcnemar_exact,
    newcombe_paired,
    wilson,
)

_EXACT_UP_TO = 100_000


@dataclass(frozen=True)
class Flips:
    """The samples on which exactly one of two models is right, by the user's names where given.

    Attributes:
        lost: ids that the first gets right and the second wrong.
        gained: ids that the first gets wrong and the second right.
    """

    lost: NDArray[np.object_]
    gained: NDArray[np.object_]


@dataclass(frozen=True, kw_only=True)
class OutcomeDifference:
    """Second minus first in the share of right answers, at one point.

    Attributes:
        point: the scenario's point.
        n: pairs.
        first: accuracy of the first on the pairs.
        second: of the second.
        difference: second minus first.
        interval: of the difference (Newcombe 1998, method 10).
        p: two-sided McNemar, exact up to 100,000 pairs.
        test: which test.
        flips: the samples that tell them apart.
        detectable: the smallest difference that n pairs of this discordance show with a power of
            80 % at 5 %; None where even all pairs would not.
        only_first: samples without a partner.
        only_second: likewise.
    """

    point: str
    n: int
    first: float
    second: float
    difference: float
    interval: Interval
    p: float
    test: str
    flips: Flips
    detectable: float | None
    only_first: int
    only_second: int


def compare_outcomes(
    first: OutcomeView, second: OutcomeView, *, level: float = 0.95, intersect: bool = False
) -> list[OutcomeDifference]:
    """Compares two models sample by sample at every point that both have.

    Raises:
        NotComparableError: if the samples differ and `intersect` is not set.
    """
    points = [point for point in dict.fromkeys(first.point) if (second.point == point).any()]
    return [_at(first, second, point, level, intersect) for point in points]


def _at(
    first: OutcomeView, second: OutcomeView, point: str, level: float, intersect: bool
) -> OutcomeDifference:
    rows_a, rows_b = np.flatnonzero(first.point == point), np.flatnonzero(second.point == point)
    paired = pair(first.ids[rows_a], second.ids[rows_b], intersect=intersect)
    ids = first.ids[rows_a][paired.rows_a]
    right_a = first.correct[rows_a][paired.rows_a] == 1.0
    right_b = second.correct[rows_b][paired.rows_b] == 1.0
    lost, gained = right_a & ~right_b, ~right_a & right_b
    b, c, n = int(lost.sum()), int(gained.sum()), len(ids)
    both = int((right_a & right_b).sum())
    exact = b + c <= _EXACT_UP_TO
    discordance = (b + c) / n if b + c else wilson(0, n, level).upper
    return OutcomeDifference(
        point=point,
        n=n,
        first=float(right_a.mean()),
        second=float(right_b.mean()),
        difference=float(right_b.mean() - right_a.mean()),
        interval=newcombe_paired(both, c, b, n - both - b - c, level),
        p=mcnemar_exact(b, c) if exact else mcnemar_asymptotic(b, c),
        test="mcnemar-exact" if exact else "mcnemar-asymptotic",
        flips=Flips(ids[lost], ids[gained]),
        detectable=detectable_paired_proportions(n, discordance),
        only_first=paired.only_a,
        only_second=paired.only_b,
    )
