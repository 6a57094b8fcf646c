"""Examples put down in a ledger, once the plain model has seen them again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.attack import Norm
from crucibench.contracts.batch import Batch
from crucibench_suites.adversarial.attacks.model import length
from crucibench_suites.adversarial.confirm import confirm, pull_back
from crucibench_suites.adversarial.search import Ledger
from crucibench_suites.adversarial.threat import COLUMN

_ROUNDING = 1e-5


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
    at = torch.bucketize(size * (1 - _ROUNDING), radii).clamp(max=len(grid) - 1)
    moved = (size > radii[at]) & (size <= radii[at] * (1 + _ROUNDING))
    return pull_back(x, found, torch.where(moved, radii[at], torch.inf), norm), moved.numpy()
