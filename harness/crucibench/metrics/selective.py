"""Selective prediction: what the error is if only the most confident samples are answered.

Tied confidences have no order of their own; every number here is the expectation over all orders of
the tied samples, so that it doesn't depend on the order of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from crucibench.contracts.statistic import Interval, Statistic, Sums
from crucibench.metrics._inputs import (
    BoolArray,
    FloatArray,
    flags,
    float_vector,
    require_same_length,
)
from crucibench.metrics._rows import row_steps, row_sums
from crucibench.metrics._ties import TieGroups
from crucibench.metrics.ranking import running_sums
from crucibench.metrics.statistic import SharedParts
from crucibench.stats.intervals import normal_quantile, share_interval

_FEWEST_ABOUT = 10
"""Samples on either side of a cut whose accuracy stands for that at the cut."""


@final
@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """The risk-coverage curve.

    Attributes:
        coverage: k / n for k = 1..n, shape (n,).
        risk: the expected share of errors among the k most confident samples, shape (n,).
    """

    coverage: FloatArray
    risk: FloatArray


def risk_coverage_curve(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Returns the risk at every coverage.

    Args:
        confidence: any score, higher meaning answered first, shape (n,).
        correct: whether the prediction is right, shape (n,).

    Raises:
        ValueError: if a confidence is nan, `correct` isn't yes or no, or lengths differ.
    """
    level, wrong = _checked(confidence, correct)
    n = len(level)
    if n == 0:
        return RiskCoverage(coverage=np.zeros(0), risk=np.zeros(0))
    groups = TieGroups(level, descending=True)
    size = groups.sums(np.ones((1, n)))[0]
    errors = groups.sums(np.ones((1, n)), wrong)[0]
    # Inside a group of ties errors are expected at an even rate.
    expected = np.repeat(errors / size, size.astype(np.int64)).cumsum()
    answered = np.arange(1, n + 1)
    return RiskCoverage(coverage=answered / n, risk=expected / answered)


@final
class Risks:
    """Answers in falling order of confidence: what AURC and excess AURC are made of."""

    def __init__(self, confidence: ArrayLike, correct: ArrayLike) -> None:
        """Takes the answers; arguments as for `risk_coverage_curve`."""
        level, self._wrong = _checked(confidence, correct)
        self._groups = TieGroups(level, descending=True)
        self._parts = SharedParts(self._of_weights)
        self.n = len(level)

    def area(self, weights: FloatArray) -> FloatArray:
        """Returns AURC under weights (b, n)."""
        return self._parts(weights)[0]

    def excess(self, weights: FloatArray) -> FloatArray:
        """Returns the excess AURC under weights (b, n)."""
        area, total, errors = self._parts(weights)
        return area - _best_aurc(total, errors)

    @cached_property
    def area_influence(self) -> FloatArray:
        """The derivative of AURC by each weight, (n,), not to be changed."""
        # AURC = the sum over groups of T = errors + (E - rate N) (H_{N + m} - H_N), over n, of
        # m ties after N samples with E errors; H' is the trigamma function.
        ones = np.ones((1, self.n))
        upto, errors_upto = (each[0] for each in self._groups.cumulated(ones, self._wrong))
        size, errors = np.diff(upto, prepend=0.0), np.diff(errors_upto, prepend=0.0)
        before, errors_before, rate = upto - size, errors_upto - errors, errors / size
        steps, slope = _harmonic_between(before, upto), _slope(upto)
        slope_before = np.append(_slope(np.zeros(1)), slope[:-1])
        ahead = errors_before - rate * before
        # What a sample does to the groups after its own, by its error and without it.
        by_error = _after(steps)
        without = _after(ahead * (slope - slope_before) - rate * steps)
        row, wrong = self._groups.rows(), self._wrong
        own = wrong - (wrong - rate[row]) / size[row] * (before * steps)[row]
        own += (ahead * slope)[row]
        later = wrong * by_error[row] + without[row]
        # Of twice as many samples AURC is slightly another number: that is no influence.
        return _centred(own + later) / self.n

    def excess_influence(self) -> FloatArray:
        """Returns the derivative of the excess AURC by each weight, (n,)."""
        wrong, n = self._wrong, float(self.n)
        errors = float(wrong.sum())
        right = n - errors
        past = float(_harmonic_between(np.array([right]), np.array([n]))[0])
        at_n, at_right = _slope(np.array([n, right]))
        own = wrong - (1.0 - wrong) * past - right * (at_n - (1.0 - wrong) * at_right)
        return np.asarray(self.area_influence - _centred(own) / n)

    def sums(self, *, excess: bool) -> Sums | None:
        """Returns AURC, or its excess, as a function of sums; None where errors are many.

        Of right answers that follow each other the order is nothing, and likewise of wrong ones.
        """
        if not self.n:
            return None
        ones = np.ones((1, self.n))
        size, errors = (self._groups.sums(ones, part)[0] for part in (None, self._wrong))
        kind = np.where(errors == 0, 0, np.where(errors == size, 1, 2))
        split = np.append(True, (kind[1:] != kind[:-1]) | (kind[1:] == 2))

        def value(upto: FloatArray, errors_upto: FloatArray) -> FloatArray:
            area = _aurc(upto, errors_upto)
            return area - _best_aurc(upto[:, -1], errors_upto[:, -1]) if excess else area

        return running_sums(self._groups, self._wrong, split, value)

    def _of_weights(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        upto, errors_upto = self._groups.cumulated(weights, self._wrong)
        return _aurc(upto, errors_upto), row_sums(weights), row_sums(weights[:, self._wrong])


def aurc_statistic(
    confidence: ArrayLike, correct: ArrayLike, *, risks: Risks | None = None
) -> Statistic:
    """Returns the area under the risk-coverage curve: the mean of its risk over k = 1..n.

    Geifman, Uziel and El-Yaniv, ICLR 2019, with ties by expectation. Arguments as for
    `risk_coverage_curve`, and their `Risks` where several share them; values in [0, 1].
    """
    made = risks or Risks(confidence, correct)
    return Statistic(
        n=made.n, compute=made.area, undefined="no samples",
        influence=lambda: made.area_influence,
        sums=cache(partial(made.sums, excess=False)),
    )  # fmt: skip


def e_aurc_statistic(
    confidence: ArrayLike, correct: ArrayLike, *, risks: Risks | None = None
) -> Statistic:
    """Returns the excess AURC: AURC less that of the same errors in the best order.

    The best order of E errors among n has AURC* = (E - (n - E) (H_n - H_{n-E})) / n, H being
    harmonic numbers, which tends to e + (1 - e) ln(1 - e). Arguments as for `aurc_statistic`;
    values in [0, 1].
    """
    made = risks or Risks(confidence, correct)
    return Statistic(
        n=made.n, compute=made.excess, undefined="no samples", influence=made.excess_influence,
        sums=cache(partial(made.sums, excess=True)),
    )  # fmt: skip


def accuracy_at_coverage_statistic(
    confidence: ArrayLike, correct: ArrayLike, *, percent: int
) -> Statistic:
    """Returns the accuracy of the k = ceil(percent n / 100) most confident samples.

    Args:
        confidence: any score, higher meaning answered first, shape (n,).
        correct: whether the prediction is right, shape (n,).
        percent: the coverage, 1 to 100.

    Returns:
        Values in [0, 1].

    Raises:
        ValueError: if `percent` is outside 1..100, or as `risk_coverage_curve`.
    """
    if not 1 <= percent <= 100:
        raise ValueError(f"percent: expected 1..100, got {percent}")
    level, wrong = _checked(confidence, correct)
    groups = TieGroups(level, descending=True)

    def compute(weights: FloatArray) -> FloatArray:
        size = groups.sums(weights)
        hits = groups.sums(weights, ~wrong)
        upto = size.cumsum(axis=1)
        answered = np.ceil(percent * upto[:, -1] / 100)
        last = (upto >= answered[:, None]).argmax(axis=1)
        row = np.arange(len(weights))
        whole = hits.cumsum(axis=1)[row, last] - hits[row, last]
        left = answered - (upto[row, last] - size[row, last])
        return np.asarray((whole + hits[row, last] * left / size[row, last]) / answered)

    def influence() -> FloatArray:
        # A sample above the cut counts by how much better it is answered than those about the cut,
        # and every sample moves the cut.
        answered = math.ceil(percent * len(level) / 100)
        cut = np.partition(level, -answered)[-answered]
        among = (level > cut).astype(np.float64)
        tied = level == cut
        among[tied] = (answered - among.sum()) / tied.sum()
        above = among * (~wrong - _about_cut(level, wrong, answered))
        return np.asarray((above - above.mean()) / answered)

    return Statistic(n=len(level), compute=compute, undefined="no samples", influence=influence)


def _about_cut(level: FloatArray, wrong: BoolArray, answered: int) -> float:
    """Returns the share of right answers about the cut that `answered` samples lie above.

    Tied samples count all or none, so that their order does not matter.
    """
    about = max(_FEWEST_ABOUT, round(len(level) ** (2 / 3) / 2))
    ordered = np.sort(level)[::-1]
    highest = ordered[max(0, answered - about)]
    lowest = ordered[min(len(level), answered + about) - 1]
    return float(1.0 - wrong[(level >= lowest) & (level <= highest)].mean())


def accuracy_at_coverage_interval(
    confidence: ArrayLike, correct: ArrayLike, level: float, *, percent: int
) -> Interval:
    """Returns an interval of `accuracy_at_coverage_statistic`.

    A share's interval of the samples answered, with what the cut adds to it: it lies elsewhere in
    another sample, and those about it are right less often than the others. The variance of a
    quantile times the squared difference, by the delta method.

    Args:
        confidence: as of the statistic.
        correct: likewise.
        level: confidence level, in (0, 1).
        percent: the coverage, 1 to 100.

    Returns:
        The interval, within [0, 1]; method of the share's, and ``; the cut moves``.
    """
    score, wrong = _checked(confidence, correct)
    n = len(score)
    answered = math.ceil(percent * n / 100)
    statistic = accuracy_at_coverage_statistic(score, correct, percent=percent)
    value = float(statistic(np.ones((1, n)))[0])
    found = share_interval(round(value * answered), answered, level)
    local = _about_cut(score, wrong, answered)
    moves = (local - value) ** 2 * (n - answered) / (answered * n) * normal_quantile(level) ** 2
    lower = value - math.sqrt((value - found.lower) ** 2 + moves)
    upper = value + math.sqrt((found.upper - value) ** 2 + moves)
    method = f"{found.method}; the cut moves"
    return Interval(max(0.0, lower), min(1.0, upper), float(level), method)


def _aurc(upto: FloatArray, errors_upto: FloatArray) -> FloatArray:
    size, errors = row_steps(upto), row_steps(errors_upto)
    before, errors_before = upto - size, errors_upto - errors
    rate = np.divide(errors, size, out=np.zeros_like(size), where=size > 0)
    # A group of m ties after N samples with E errors adds the sum over j = 1..m of
    # (E + rate j) / (N + j) = rate m + (E - rate N) (H_{N+m} - H_N).
    risk = errors + (errors_before - rate * before) * _harmonic_steps(size, before, upto)
    return np.asarray(row_sums(risk) / upto[:, -1])


def _best_aurc(total: FloatArray, errors: FloatArray) -> FloatArray:
    right = total - errors
    return (errors - right * _harmonic_between(right, total)) / total


def _slope(count: FloatArray) -> FloatArray:
    """Returns the derivative of H at whole numbers: pi^2 / 6 less the sum of 1 / k^2."""
    table = np.zeros(int(count.max(initial=0.0)) + 1)
    np.cumsum(1.0 / np.arange(1, len(table)) ** 2.0, out=table[1:])
    return np.asarray(math.pi**2 / 6 - table[count.astype(np.int64)])


def _centred(values: FloatArray) -> FloatArray:
    return np.asarray(values - values.mean())


def _after(values: FloatArray) -> FloatArray:
    """Returns the sum of all values after each."""
    return np.asarray(values[::-1].cumsum()[::-1] - values)


def _harmonic_steps(size: FloatArray, before: FloatArray, upto: FloatArray) -> FloatArray:
    """Returns H_upto - H_before of groups that follow each other, (b, G)."""
    if not np.array_equal(size, np.rint(size)):
        return _harmonic_between(before, upto)
    # Of whole numbers, as a bootstrap draws them, a table has them all.
    table = np.zeros(int(upto[:, -1].max()) + 1)
    np.cumsum(1.0 / np.arange(1, len(table)), out=table[1:])
    return row_steps(table.take(upto.astype(np.int64)))


def _harmonic_between(start: FloatArray, end: FloatArray) -> FloatArray:
    """Returns H_end - H_start, H being harmonic numbers."""
    single = end - start == 1
    between = np.zeros_like(end)
    np.divide(1.0, end, out=between, where=single)
    many = ~single & (end > start)
    between[many] = digamma(end[many] + 1) - digamma(start[many] + 1)
    return between


def _checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[FloatArray, BoolArray]:
    level = float_vector("confidence", confidence, infinite=True)
    right = flags("correct", correct)
    require_same_length(confidence=level, correct=right)
    return level, ~right
