"""Do two forms of one model answer alike? Differences of probabilities, label flips, suspicions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.5, 0.99)
_HALF = 5e-2
_FEW_FLIPS = 0.02

Answers = NDArray[np.float64]
"""Probabilities (N, K), values (N, 1), or class indices (N, 1)."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far two models' answers to the same samples lie apart.

    Attributes:
        n: samples.
        flips: samples to which they give different labels; None for regression.
        largest: the largest difference of a probability, or of a value relative to the larger of
            it and 1; None where there are labels alone.
        quantiles: of the samples' largest differences: quantile to difference.
        tolerance: what was allowed.
        suspicion: what would explain a difference, as a sentence; "" if there is none or none is
            known.
        tried: what was tried to explain it, with the largest difference that it left.
    """

    n: int
    flips: int | None
    largest: float | None
    quantiles: Mapping[float, float] = field(default_factory=dict)
    tolerance: float
    suspicion: str = ""
    tried: Mapping[str, float] = field(default_factory=dict)

    @property
    def agree(self) -> bool:
        """Whether they are the same within the tolerance.

        Labels may then differ only between classes that are tied within it.
        """
        if self.largest is None:
            return not self.flips
        return self.largest <= self.tolerance


def probabilities(scores: NDArray[np.floating], kind: str) -> Answers:
    """Returns probabilities of scores, which are logits or probabilities already."""
    numbers = scores.astype(np.float64)
    if kind != "logits":
        return numbers
    powers = np.exp(numbers - numbers.max(axis=1, keepdims=True))
    shares: Answers = powers / powers.sum(axis=1, keepdims=True)
    return shares


def measure(first: Answers, second: Answers, tolerance: float, what: str) -> Parity:
    """Compares two models' answers to the same samples, row by row.

    Args:
        first: answers, shape (N, columns).
        second: answers of the other, same shape and order.
        tolerance: how far probabilities may differ.
        what: ``scores``, ``values`` or ``labels``.

    Raises:
        ValueError: if the shapes differ, or it is none of these.
    """
    if what not in {"scores", "values", "labels"}:
        raise ValueError(f"what: expected scores, values or labels, got {what!r}")
    if first.shape != second.shape:
        raise ValueError(f"expected answers of one shape, got {first.shape} and {second.shape}")
    apart = distances(first, second)
    flips = None
    if what == "labels":
        flips = int((first[:, 0] != second[:, 0]).sum())
        return Parity(n=len(first), flips=flips, largest=None, tolerance=tolerance)
    if what == "scores":
        flips = int((first.argmax(axis=1) != second.argmax(axis=1)).sum())
    return Parity(
        n=len(first), flips=flips, largest=float(apart.max(initial=0.0)),
        quantiles={q: float(np.quantile(apart, q)) for q in QUANTILES} if len(apart) else {},
        tolerance=tolerance,
    )  # fmt: skip


def distances(first: Answers, second: Answers) -> NDArray[np.float64]:
    """Returns each sample's largest difference; of values, relative where they are above 1."""
    scale = np.maximum(1.0, np.maximum(np.abs(first), np.abs(second)))
    apart: NDArray[np.float64] = (np.abs(first - second) / scale).max(axis=1)
    return apart


def other_order(
    first: Answers, second: Answers, classes: Sequence[str], tolerance: float
) -> str | None:
    """Says so if the second model's classes stand in another order than the first's."""
    from scipy.optimize import linear_sum_assignment  # for those that differ alone

    if first.shape[1] < 2:
        return None
    # The column of the second that lies nearest to each of the first's.
    cost = np.abs(first[:, :, None] - second[:, None, :]).mean(axis=0)
    _, columns = linear_sum_assignment(cost)
    if (columns == np.arange(len(columns))).all():
        return None
    if float(distances(first, second[:, columns]).max(initial=0.0)) > max(tolerance, 1e-3):
        return None
    moved = [at for at in range(len(columns)) if columns[at] != at]
    shown = ", ".join(
        f"{classes[at]!r} is the second's {classes[int(columns[at])]!r}" for at in moved[:3]
    )
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    return f"the classes stand in another order: the first's {shown}{more}"


def rounding(parity: Parity) -> str | None:
    """Says so if the difference looks like that of a number format with fewer digits."""
    if parity.agree or parity.largest is None or parity.largest > _HALF:
        return None
    if parity.flips is not None and parity.flips > _FEW_FLIPS * parity.n:
        return None
    return (
        f"the differences are small everywhere (largest {parity.largest:.2g}): one of the two "
        "computes in half precision, or is quantised"
    )
