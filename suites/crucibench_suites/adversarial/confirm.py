"""Examples confirmed by the plain model: none counts before it was asked about them again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.attack import Floats, Ints, Norm
from crucibench.contracts.batch import Batch
from crucibench.contracts.scenario import MapContext, Work
from crucibench_suites.adversarial.answers import labels_of
from crucibench_suites.adversarial.attacks.model import Found, by_sample, length
from crucibench_suites.adversarial.threat import COLUMN, ThreatModel

_ROUNDING = 1e-4
"""By how much, relatively, an L2 example may leave the ball before it is pulled back."""

_FLOAT_ROUNDING = 1e-5
"""The same for examples of which only float32 is known."""


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

    def spend(self, rows: Ints, found: Found) -> None:
        """Adds what an attack on some rows took."""
        self.forwards[rows] += found.forwards
        self.backwards[rows] += found.backwards
        self.queries[rows] += found.queries

    def note(
        self, rows: Ints, seen: Confirmed, holds: NDArray[np.bool_], *, grid: Floats, norm: Norm
    ) -> None:
        """Enters examples that the plain model was asked about.

        Args:
            rows: which samples they are of, shape (m,), each at most once.
            seen: what the model answered.
            holds: which of them count, shape (m,).
            grid: the radii, ascending.
            norm: of their distances.
        """
        self.confirmations[rows] += 1
        distance = seen.distances[:, COLUMN[norm]]
        better = holds & ~(self.distances[rows, COLUMN[norm]] <= distance)
        chosen = rows[better]
        self.distances[chosen] = seen.distances[better]
        self.prediction[chosen] = seen.prediction[better]
        self.nearest[torch.from_numpy(chosen)] = seen.examples[torch.from_numpy(better)]
        # The first radius that is no smaller than the distance.
        level = np.searchsorted(grid, distance, side="left")
        self.level[rows[holds]] = np.minimum(self.level[rows[holds]], level[holds])


@dataclass(frozen=True)
class Confirmed:
    """What the plain model says of examples.

    Attributes:
        holds: whether each is finite, within the box, and misclassified, shape (m,).
        prediction: the class it is taken for, shape (m,).
        distances: from the original in Linf, L2 and L1, exact, shape (m, 3).
        examples: what was asked about, float32 on the CPU, shape (m, C, H, W).
    """

    holds: NDArray[np.bool_]
    prediction: NDArray[np.int32]
    distances: NDArray[np.float64]
    examples: torch.Tensor


def confirm(
    adapter: Adapter, clean: Batch, targets: NDArray[np.int64], examples: torch.Tensor
) -> Confirmed:
    """Asks the plain model about `examples` of the samples of `clean`, in float32, as they are."""
    found = examples.detach().to("cpu", torch.float32)
    moved = (found.double() - clean.inputs.double()).flatten(1)
    finite = torch.isfinite(found).flatten(1).all(1)
    boxed = ((found >= 0) & (found <= 1)).flatten(1).all(1)
    fit = (finite & boxed).numpy()
    predicted = np.full(len(clean), -1, dtype=np.int32)
    rows = np.flatnonzero(fit)
    if len(rows):
        asked = clean.take([int(row) for row in rows]).with_inputs(found[torch.from_numpy(rows)])
        predicted[rows] = labels_of(adapter, asked)
    distances = torch.stack(
        [moved.abs().amax(1), moved.norm(dim=1), moved.abs().sum(1)], dim=1
    ).numpy()
    return Confirmed(fit & (predicted != targets), predicted, distances, found)


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


class AttackedBatch:
    """Images under attack, each with the nearest example that the plain model confirmed.

    Attributes:
        adapter: the model.
        batch: the clean samples, n of them.
        targets: their true classes, shape (n,).
        grid: the radii, ascending.
        norm: of distances.
        ledger: what is known of the samples.
    """

    def __init__(self, threat: ThreatModel, work: Work, context: MapContext) -> None:
        self.adapter, self.batch = context.adapter, work.batch
        self.targets = work.samples.targets.astype(np.int64)
        self.grid, self.norm = threat.grid, threat.norm
        self.ledger = Ledger.of(work.batch, np.full(len(work.batch), len(self.grid)))

    @property
    def unbroken(self) -> Ints:
        """The rows that no radius is known to break."""
        return np.flatnonzero(self.ledger.level == len(self.grid))

    def confirm(self, rows: Ints, examples: torch.Tensor) -> None:
        """Asks the plain model about examples, whose distances say what they break.

        Args:
            rows: which samples the examples are of, shape (m,), each at most once.
            examples: shape (m, C, H, W).
        """
        clean = self.batch.take([int(row) for row in rows])
        seen = confirm(self.adapter, clean, self.targets[rows], examples)
        self.ledger.unconfirmed[rows] += ~seen.holds
        self.ledger.note(rows, seen, seen.holds, grid=self.grid, norm=self.norm)

    def snapped(self, rows: Ints, examples: torch.Tensor) -> tuple[torch.Tensor, NDArray[np.bool_]]:
        """Returns examples, those that left a ball of the grid by rounding moved back, and which.

        Args:
            rows: which samples the examples are of, shape (m,).
            examples: shape (m, C, H, W).
        """
        x = self.batch.inputs.cpu()[torch.from_numpy(rows)]
        found, radii = examples.detach().to("cpu", torch.float32), torch.from_numpy(self.grid)
        size = length(found.double() - x.double(), self.norm)
        at = torch.bucketize(size * (1 - _FLOAT_ROUNDING), radii).clamp(max=len(radii) - 1)
        moved = (size > radii[at]) & (size <= radii[at] * (1 + _FLOAT_ROUNDING))
        eps = torch.where(moved, radii[at], torch.inf)
        return pull_back(x, found, eps, self.norm), moved.numpy()
