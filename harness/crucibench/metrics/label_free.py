"""Accuracy where there are no labels, estimated from confidences at home and away.

Each of these rests on an assumption that no unlabelled data can prove; the intervals that
resampling gives cover the samples, not the assumption.

- average confidence: the model is calibrated away from home.
- difference of confidences: it errs away from home by as much more as its confidence falls
  (Guillory et al., "Predicting with Confidence on Unseen Distributions", ICCV 2021).
- average thresholded confidence: it errs wherever its confidence is below the one threshold that
  gives its error at home (Garg et al., "Leveraging Unlabeled Data to Predict Out-of-Distribution
  Performance", ICLR 2022, section 4).

Home is a labelled sample, away an unlabelled one. The statistics take a weight for each row of home
and then for each row of away: to resample, keep the two apart as strata.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from crucibench.contracts.statistic import Statistic
from crucibench.metrics._inputs import (
    BoolArray,
    FloatArray,
    flags,
    float_vector,
    require_same_length,
)
from crucibench.metrics._rows import row_sums, weighted_sum

_EMPTY = "no samples at home or away"


def average_confidence_statistic(home: ArrayLike, correct: ArrayLike, away: ArrayLike) -> Statistic:
    """Returns the mean confidence away from home.

    Args:
        home: the confidence of each prediction at home, shape (n,); it plays no part.
        correct: whether it is right, shape (n,); it plays no part.
        away: the confidence of each prediction away, shape (m,).

    Returns:
        A statistic of n + m rows; values in [0, 1] for confidences in [0, 1].

    Raises:
        ValueError: if a confidence isn't finite, `correct` isn't yes or no, or lengths differ.
    """
    here, _, there = _checked(home, correct, away)
    n = len(here)

    def compute(weights: FloatArray) -> FloatArray:
        return weighted_sum(weights[:, n:], there) / row_sums(weights[:, n:])

    return Statistic(n=_rows(here, there), compute=compute, undefined=_EMPTY)


def difference_of_confidences_statistic(
    home: ArrayLike, correct: ArrayLike, away: ArrayLike
) -> Statistic:
    """Returns the accuracy at home less the fall of the mean confidence, clipped to [0, 1].

    Arguments and errors as for `average_confidence_statistic`.
    """
    here, right, there = _checked(home, correct, away)
    n = len(here)

    def compute(weights: FloatArray) -> FloatArray:
        ours, theirs = weights[:, :n], weights[:, n:]
        total = row_sums(ours)
        accuracy = weighted_sum(ours, right) / total
        fall = weighted_sum(ours, here) / total - weighted_sum(theirs, there) / row_sums(theirs)
        return np.asarray((accuracy - fall).clip(0, 1))

    return Statistic(n=_rows(here, there), compute=compute, undefined=_EMPTY)


def average_thresholded_confidence_statistic(
    home: ArrayLike, correct: ArrayLike, away: ArrayLike
) -> Statistic:
    """Returns the share of confidences away that are above the threshold learnt at home.

    The threshold leaves as much of home below it as the model gets wrong there. Confidences at home
    that tie with it are counted by the part of them that is above; ties away by the same part, so
    that the estimate for home itself is always its accuracy.

    Arguments and errors as for `average_confidence_statistic`; any score that rises with confidence
    will do.
    """
    here, right, there = _checked(home, correct, away)
    n = len(here)
    order, away_order = np.argsort(here, kind="stable"), np.argsort(there, kind="stable")
    ordered, away_ordered = here[order], there[away_order]
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")
    away_first = np.searchsorted(away_ordered, ordered, side="left")
    away_last = np.searchsorted(away_ordered, ordered, side="right")

    def compute(weights: FloatArray) -> FloatArray:
        below = _before(weights[:, :n][:, order])
        away_below = _before(weights[:, n:][:, away_order])
        wrong = weighted_sum(weights[:, :n], ~right)
        everything = away_below[:, -1]
        # A row that has no weight is never the threshold: what is up to it is up to the one before.
        reached = below[:, 1:] > wrong[:, None]
        place = reached.argmax(axis=1)
        row = np.arange(len(weights))
        tied = below[row, last[place]] - below[row, first[place]]
        above = np.divide(
            below[row, last[place]] - wrong, tied, out=np.zeros_like(tied), where=tied > 0
        )
        more = everything - away_below[row, away_last[place]]
        same = away_below[row, away_last[place]] - away_below[row, away_first[place]]
        share = (more + above * same) / everything
        # Nothing is right at home: the threshold is above all confidences.
        return np.where(reached.any(axis=1), share, np.where(below[:, -1] > 0, 0.0, np.nan))

    return Statistic(n=_rows(here, there), compute=compute, undefined=_EMPTY)


def _before(weights: FloatArray) -> FloatArray:
    """Returns the sums of weights (b, n) before each row, and of all: shape (b, n + 1)."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _checked(
    home: ArrayLike, correct: ArrayLike, away: ArrayLike
) -> tuple[FloatArray, BoolArray, FloatArray]:
    here, there = float_vector("home", home), float_vector("away", away)
    right = flags("correct", correct)
    require_same_length(home=here, correct=right)
    return here, right, there


def _rows(here: FloatArray, there: FloatArray) -> int:
    # A statistic of no rows is undefined whatever the other side holds.
    return len(here) + len(there) if len(here) and len(there) else 0
