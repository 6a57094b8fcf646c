"""No example counts before the plain model has seen it again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.attack import Norm
from crucibench.contracts.batch import Batch
from crucibench_suites.adversarial.answers import labels_of
from crucibench_suites.adversarial.attacks.model import by_sample, length

_ROUNDING = 1e-4
"""By how much, relatively, an L2 example may leave the ball before it is pulled back."""


@dataclass(frozen=True)
class Confirmed:
    """What the plain model says of examples.

    Attributes:
        holds: whether each is finite, within the box, and misclassified, shape (m,).
        prediction: the class it is taken for, shape (m,).
        distances: from the original in Linf, L2 and L1, exact, shape (m, 3).
    """

    holds: NDArray[np.bool_]
    prediction: NDArray[np.int32]
    distances: NDArray[np.float64]


def confirm(
    adapter: Adapter, clean: Batch, targets: NDArray[np.int64], examples: torch.Tensor
) -> Confirmed:
    """Asks the plain model about `examples` of the samples of `clean`, in float32, as they are."""
    found = examples.detach().to("cpu", torch.float32)
    moved = (found.double() - clean.inputs.double()).flatten(1)
    finite = torch.isfinite(found).flatten(1).all(1)
    boxed = ((found >= 0) & (found <= 1)).flatten(1).all(1)
    fit = (finite & boxed).numpy()
    said = np.full(len(clean), -1, dtype=np.int32)
    rows = np.flatnonzero(fit)
    if len(rows):
        asked = clean.take([int(row) for row in rows]).with_inputs(found[torch.from_numpy(rows)])
        said[rows] = labels_of(adapter, asked)
    distances = torch.stack(
        [moved.abs().amax(1), moved.norm(dim=1), moved.abs().sum(1)], dim=1
    ).numpy()
    return Confirmed(fit & (said != targets), said, distances)


def pull_back(
    x: torch.Tensor, examples: torch.Tensor, eps: torch.Tensor, norm: Norm
) -> torch.Tensor:
    """Returns the examples, those that left the ball by rounding moved back into it."""
    moved = examples.double() - x.double()
    size = length(moved, norm)
    radius = eps.double()
    over = (size > radius) & (size <= radius * (1 + _ROUNDING))
    if not bool(over.any()):
        return examples
    shrunk = x.double() + moved * by_sample(radius / size * (1 - 1e-6))
    return torch.where(by_sample(over), shrunk.to(examples.dtype), examples)
