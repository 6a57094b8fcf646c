"""Mean corruption errors (Hendrycks and Dietterich, ICLR 2019, section 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from crucibench.stats import SumStatistic
from crucibench_suites.shift.corruptions.catalogue import COMMON

Floats = NDArray[np.float64]

ALEXNET_ERRORS: Mapping[str, float] = dict(
    zip(
        COMMON,
        (
            0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816,
            0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500,
        ),
        strict=True,
    )
)  # fmt: skip
"""AlexNet's top-1 errors on ImageNet-C, means over severities 1 to 5, as its authors published."""

ALEXNET_CLEAN_ERROR = 0.435
"""AlexNet's top-1 error on ImageNet's validation set, in their table 1."""


def corruption_error_statistic(
    errors: Floats, reference: Floats, *, relative: bool
) -> SumStatistic:
    """Returns a mean corruption error as a function of the weights of samples.

    Args:
        errors: (1 + C, n): whether each sample is wrong clean, then the share of severities at
            which it is wrong under each corruption.
        reference: the same of the reference on the same samples, or (1 + C,) published errors.
        relative: whether errors count less those on clean samples.

    Returns:
        The statistic, in per cent; nan where the reference loses nothing under a corruption.
    """
    count, n = errors.shape
    sampled = reference.ndim == 2
    columns = [np.ones((1, n)), errors] + ([reference] if sampled else [])

    def finish(sums: Floats) -> Floats:
        mine = sums[:, 1 : 1 + count] / sums[:, :1]
        theirs = sums[:, 1 + count :] / sums[:, :1] if sampled else reference[None, :]
        mine_lost, theirs_lost = mine[:, 1:], theirs[:, 1:]
        if relative:
            mine_lost, theirs_lost = mine_lost - mine[:, :1], theirs_lost - theirs[:, :1]
        ratios = mine_lost / np.where(theirs_lost > 0, theirs_lost, np.nan)
        return np.asarray(100.0 * ratios.mean(axis=1))

    return SumStatistic(np.concatenate(columns), finish)
