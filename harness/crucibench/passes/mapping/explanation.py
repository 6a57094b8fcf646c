"""What an explanation of wrong answers would give, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.stats import mcnemar_exact

ALPHA = 1e-3
"""Of all explanations of a pass together: Bonferroni's correction for the number tried."""
GAIN = 0.10
"""An explanation gives at least this share of the samples, or of the targets' variance, more."""
_ASSOCIATION = 0.05
"""So much more often right than answers drawn without looking must it be, too: otherwise always
answering the commonest class would explain any model that finds a rare one."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One change that, undone, makes answers right.

    Attributes:
        cause: its kind: ``classes swapped``, ``unit``, ...
        words: what is undone, after "with".
        as_mapped: accuracy, or R² (which may be far below 0), as things are.
        undone: with the change undone.
        p: the p-value, after correction for the number tried.
        n: samples that it was judged on.
        more: further evidence, plain data.
    """

    cause: str
    words: str
    as_mapped: float
    undone: float
    p: float
    n: int
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gain(self) -> float:
        """How much is explained; an R² below that of the mean counts as 0."""
        return self.undone - max(0.0, self.as_mapped)


def of_predictions(
    cause: str, words: str, *, before: Ints, after: Ints, targets: Ints, classes: int, tried: int
) -> Explanation | None:
    """Returns an explanation of wrong classes, or None where it does not hold.

    Args:
        cause: as of `Explanation`.
        words: as of `Explanation`.
        before: predictions, shape (n,).
        after: predictions with the change undone, shape (n,).
        targets: class indices, shape (n,).
        classes: how many there are.
        tried: how many explanations are tried.
    """
    right, then = before == targets, after == targets
    accuracy, undone = float(right.mean()), float(then.mean())
    if undone - accuracy < GAIN:
        return None
    gained = undone - by_chance(after, targets, classes)[0]
    gained -= accuracy - by_chance(before, targets, classes)[0]
    if gained < _ASSOCIATION:
        return None
    p = mcnemar_exact(int((right & ~then).sum()), int((~right & then).sum())) * tried
    if p >= ALPHA:
        return None
    return Explanation(
        cause=cause, words=words, as_mapped=accuracy, undone=undone, p=p, n=len(targets)
    )


def by_chance(predictions: Ints, targets: Ints, classes: int) -> tuple[float, float]:
    """Returns the accuracy of the same answers in random order, and its standard error.

    Source:
        Fleiss, Cohen and Everitt 1969, Psychological Bulletin 72:323 (the variance of kappa).
    """
    n = len(targets)
    p = np.bincount(targets, minlength=classes) / n
    q = np.bincount(predictions, minlength=classes) / n
    chance = float(p @ q)
    variance = chance + chance**2 - float((p * q * (p + q)).sum())
    return chance, float(np.sqrt(max(0.0, variance) / n))


def of_numbers(
    cause: str, words: str, *, before: Floats, after: Floats, targets: Floats, tried: int
) -> Explanation | None:
    """Returns an explanation of wrong numbers, as `of_predictions`; a fifth of the absolute error
    must go, and on most samples there must be less of it.
    """
    error, then = np.abs(before - targets), np.abs(after - targets)
    if not then.mean() <= 0.8 * error.mean():
        return None
    as_mapped, undone = r_squared(before, targets), r_squared(after, targets)
    if not undone - max(0.0, as_mapped) >= GAIN:
        return None
    p = mcnemar_exact(int((then > error).sum()), int((then < error).sum())) * tried
    if p >= ALPHA:
        return None
    return Explanation(
        cause=cause, words=words, as_mapped=as_mapped, undone=undone, p=p, n=len(targets)
    )


def r_squared(predictions: Floats, targets: Floats) -> float:
    """Returns 1 less the squared error over the targets' variance; NaN where there is none."""
    spread = float(((targets - targets.mean()) ** 2).sum())
    return 1.0 - float(((predictions - targets) ** 2).sum()) / spread if spread else float("nan")


def ranked(found: list[Explanation]) -> list[Explanation]:
    """Returns explanations, that which gives most first.

    Of those that give nearly as much as the best, the one tried first comes first: they are tried
    from the plainest on.
    """
    enough = 0.95 * max((one.gain for one in found), default=0.0)
    best = [one for one in found if one.gain >= enough]
    others = [one for one in found if one.gain < enough]
    return [*best, *sorted(others, key=lambda one: -one.gain)]
