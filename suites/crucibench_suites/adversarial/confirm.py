"""No example counts before the plain model has seen it again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.attack import Ints, Norm
from crucibench.contracts.batch import Batch
from crucibench_suites.adversarial.answers import labels_of
from crucibench_suites.adversarial.attacks.model import by_sample, length
from crucibench_suites.adversarial.threat import COLUMN

_ROUNDING = 1e-4
"""By how much, relatively, an L2 example may leave the ball before it is pulled back."""


@dataclass
class Ledger:
    """What is known of the samples of a batch.

    Attributes:
        level: how many radii of the grid each sample withstands as far as is known: the index of
            the smallest that breaks it, or the grid's length, shape (n,).
        distances: of the nearest example in the threat's norm, in Linf, L2, L1; NaN without one.
        prediction: the class that the nearest example is taken for; -1 without one.
        forwards: passes that attacks made, shape (n,); `confirmations` come on top.
        backwards: gradients.
        queries: those of the forwards that saw scores alone (Square).
        confirmations: examples that the plain model was asked about.
        unconfirmed: those of them that it did not get wrong.
        nearest: the nearest example itself, shape (n, C, H, W); the clean input without one,
            and of tables none.
    """

    level: Ints
    distances: NDArray[np.float64]
    prediction: NDArray[np.int32]
    forwards: Ints
    backwards: Ints
    queries: Ints
    confirmations: Ints
    unconfirmed: Ints
    nearest: torch.Tensor = field(repr=False)

    @classmethod
    def of(cls, batch: Batch, level: Ints) -> Ledger:
        """Returns an empty account of samples that are known to withstand `level` radii."""
        n = len(batch)

        def zeros() -> Ints:
            return np.zeros(n, dtype=np.int64)

        return cls(
            level.astype(np.int64), np.full((n, 3), np.nan), np.full(n, -1, dtype=np.int32),
            zeros(), zeros(), zeros(), zeros(), zeros(),
            batch.inputs.clone() if isinstance(batch.inputs, torch.Tensor) else torch.zeros(n, 0),
        )  # fmt: skip


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


_FLOAT_ROUNDING = 1e-5


def settle(
    adapter: Adapter,
    batch: Batch,
    targets: NDArray[np.int64],
    *,
    rows: NDArray[np.int64],
    examples: torch.Tensor,
    grid: NDArray[np.float64],
    norm: Norm,
    ledger: Ledger,
) -> None:
    """Asks the plain model about examples, whose distances say what they break.

    Args:
        adapter: the model.
        batch: the clean samples, n of them.
        targets: their true classes, shape (n,).
        rows: which samples the examples are of, shape (m,), each at most once.
        examples: shape (m, C, H, W).
        grid: the radii, ascending.
        norm: of the distances.
        ledger: of all n samples.
    """
    clean = batch.take([int(row) for row in rows])
    found = examples.detach().to("cpu", torch.float32)
    seen = confirm(adapter, clean, targets[rows], found)
    distance = seen.distances[:, COLUMN[norm]]
    ledger.confirmations[rows] += 1
    ledger.unconfirmed[rows] += ~seen.holds
    better = seen.holds & ~(ledger.distances[rows, COLUMN[norm]] <= distance)
    chosen = rows[better]
    ledger.distances[chosen] = seen.distances[better]
    ledger.prediction[chosen] = seen.prediction[better]
    ledger.nearest[torch.from_numpy(chosen)] = found[torch.from_numpy(better)]
    # The first radius that is no smaller than the distance.
    level = np.searchsorted(grid, distance, side="left")
    held = rows[seen.holds]
    ledger.level[held] = np.minimum(ledger.level[held], level[seen.holds])


def snapped(
    x: torch.Tensor, examples: torch.Tensor, grid: NDArray[np.float64], norm: Norm
) -> tuple[torch.Tensor, NDArray[np.bool_]]:
    """Returns examples, those that left a ball of the grid by rounding moved back, and which.

    Args:
        x: the clean samples, shape (m, C, H, W).
        examples: of the same shape.
        grid: the radii, ascending.
        norm: of the balls.
    """
    found, radii = examples.detach().to("cpu", torch.float32), torch.from_numpy(grid)
    size = length(found.double() - x.double(), norm)
    at = torch.bucketize(size * (1 - _FLOAT_ROUNDING), radii).clamp(max=len(grid) - 1)
    moved = (size > radii[at]) & (size <= radii[at] * (1 + _FLOAT_ROUNDING))
    return pull_back(x, found, torch.where(moved, radii[at], torch.inf), norm), moved.numpy()
