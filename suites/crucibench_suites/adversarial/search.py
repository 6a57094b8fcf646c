"""One search for a whole grid of eps: attacks are asked only where the answer is still open.

What breaks a sample within some radius breaks it within every larger one, and what a sample
withstands it withstands, in this search, at every smaller one. So a sample's state is one number:
the smallest radius of the grid that is known to break it. The first attack bisects the grid; then
each stronger one is asked at the largest radius that nothing has broken yet, and again below when
it succeeds. A robust sample thus costs one full series of attacks, as at a single eps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.attack import Ball, attacks
from crucibench.contracts.batch import Batch
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks.apgd import random_start
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    ModuleOracle,
    attack_ball,
    by_sample,
    device_of,
    frozen,
)
from crucibench_suites.adversarial.confirm import Ledger, confirm, pull_back
from crucibench_suites.adversarial.probing.choosing import settling_cost
from crucibench_suites.adversarial.protocol import SECOND, Precision
from crucibench_suites.adversarial.second.attack import unsettled
from crucibench_suites.adversarial.threat import COLUMN, ThreatModel

Ints = NDArray[np.int64]

_CLOSE = 1.1
_CLOSE_ATTACKS: tuple[str, ...] = ("apgd-dlr", "apgd-ce")

_MANY = 4096
_PIXELS = 2**18
"""So many inputs, or so many pixels, are asked about at once where the batch is smaller than that:
runs towards several targets, and steps of Square."""


class RadiusSearch:
    """Attacks one batch of samples that the model gets right, over the whole grid of radii.

    What breaks a sample within a radius breaks it within every larger one, so that one number says
    all that is known of it: its level, the place in the grid of the smallest radius that breaks it.
    An attack is asked only at radii below the level, and each success lowers it.
    """

    def __init__(
        self,
        adapter: Adapter,
        batch: Batch,
        targets: Ints,
        threat: ThreatModel,
        draws: Draws,
        *,
        precision: Precision = "fp32",
    ) -> None:
        self._adapter, self._batch, self._targets, self._threat = adapter, batch, targets, threat
        module = adapter.module()
        device = device_of(module)
        self._x = batch.inputs.to(device)
        pixels = self._x[0].numel() if len(batch) else 1
        width = max(len(batch), min(_MANY, _PIXELS // pixels))
        self.reached = self._x.clone()
        self._module, self._exact = module, ModuleOracle(module, threat.draws(draws), width)
        self._oracle = replace(self._exact, lowered=precision == "bf16")
        self._y = torch.from_numpy(targets).to(device)
        self._grid = threat.grid
        self._radii = _rounded_down(self._grid)
        # At radius 0 a sample is what it was: nothing is asked.
        self._floor = int((self._grid == 0).sum())

    def bisect(self, attack: str, ledger: Ledger) -> None:
        """Finds, by bisection, the largest radius at which `attack` fails."""
        low = np.full(len(self._batch), self._floor - 1)
        while True:
            rows = np.flatnonzero(ledger.level - low > 1)
            if not len(rows):
                return
            at = (low[rows] + ledger.level[rows]) // 2
            broken = self._ask(attack, rows, at, ledger, warm=True)
            low[rows[~broken]] = at[~broken]

    def descend(
        self, attack: str, ledger: Ledger, rows: Ints | None = None, restarts: int | None = None
    ) -> None:
        """Asks `attack` at the largest radius that nothing broke, then below, until it fails.

        Of several `restarts`, the first begins from the nearest example that is known.
        """
        rows = np.arange(len(self._batch)) if rows is None else rows
        rows = rows[ledger.level[rows] > self._floor]
        while len(rows):
            broken = self._ask(
                attack, rows, ledger.level[rows] - 1, ledger, warm=restarts is not None,
                restarts=restarts,
            )  # fmt: skip
            rows = rows[broken]
            rows = rows[ledger.level[rows] > self._floor]

    def nearest(self, attack: str, ledger: Ledger) -> None:
        """Looks for the nearest example, whatever the radius, by FAB-T; then for those nearby.

        Where it lies just beyond a radius, one run of an attack within that radius is a matter of
        luck: APGD is asked again from the example itself and from more random starts.
        """
        rows = np.flatnonzero(ledger.level > self._floor)
        if not len(rows):
            return
        self._ask(attack, rows, np.full(len(rows), self._floor), ledger)
        restarts = self._threat.close_restarts
        for other in _CLOSE_ATTACKS if restarts else ():
            rows = rows[ledger.level[rows] > self._floor]
            reach = _CLOSE * self._grid[ledger.level[rows] - 1]
            close = ledger.distances[rows, COLUMN[self._threat.norm]] <= reach
            self.descend(other, ledger, rows[close], restarts=restarts)

    def again(self, series: Sequence[str], ledger: Ledger) -> None:
        """Asks all attacks of a series below what a later one broke, until none succeeds."""
        rows = np.arange(len(self._batch))
        while len(rows):
            before = ledger.level.copy()
            for attack in series:
                if not attacks().get(attack).nearest:  # which answered for every radius
                    self.descend(attack, ledger, rows)
            rows = rows[ledger.level[rows] < before[rows]]

    def second_opinion(self, ledger: Ledger, *, steps: int, queries: int, eot: int) -> None:
        """Asks once more what survived.

        Args:
            ledger: what is known.
            steps: gradients of each sample, of all ascents by them.
            queries: for the ascent by differences.
            eot: answers averaged, of models that are random.
        """
        budget = {"steps": steps, "queries": queries, "eot": eot}
        self._threat = self._threat.model_copy(update=budget)
        self.descend(SECOND, ledger, restarts=1)

    def unsettled(self, ledger: Ledger, asked: NDArray[np.bool_], *, eot: int) -> NDArray[np.int64]:
        """Returns 1 for samples of which nothing is settled, 0 for others, -1 if not `asked`."""
        open_ = np.where(asked, 0, -1)
        rows = np.flatnonzero(asked & (ledger.level > self._floor))
        if len(rows):
            reached = self.reached[torch.from_numpy(rows).to(self._x.device)]
            points = self._points(rows, ledger.level[rows] - 1)
            with frozen(self._module):
                open_[rows] = unsettled(self._exact, points, reached, eot=eot)
            ledger.forwards[rows] += settling_cost(eot)
        return open_

    def _points(self, rows: Ints, at: Ints) -> ImagePoints:
        """Returns the samples at `rows` with the radii at `at`."""
        where = torch.from_numpy(rows).to(self._x.device)
        return ImagePoints(
            x=self._x[where],
            y=self._y[where],
            eps=torch.from_numpy(self._radii[at]).to(self._x.device),
            ids=tuple(self._batch.ids[row] for row in rows),
            norm=self._threat.norm,
        )

    def _ask(
        self,
        attack: str,
        rows: Ints,
        at: Ints,
        ledger: Ledger,
        *,
        warm: bool = False,
        restarts: int | None = None,
        exact: bool = False,
    ) -> NDArray[np.bool_]:
        """Attacks the samples at `rows` within the radii at `at`; returns whether it broke each."""
        # FAB-T lives on exact differences of logits.
        known = attacks().get(attack)
        oracle = self._exact if exact or known.nearest else self._oracle
        where = torch.from_numpy(rows).to(self._x.device)
        points = self._points(rows, at)
        start = self._warm(attack, points, rows, ledger) if warm else None
        threat = self._threat
        if restarts is not None:
            threat = threat.model_copy(update={"restarts": restarts})
        with frozen(self._module):
            found = attack_ball(known, Ball(oracle, points, threat, start))
        ledger.spend(rows, found)
        self.reached[where] = found.reached
        before = ledger.level[rows]
        refused = self._take(attack, points, found, rows, at, ledger=ledger)
        if oracle.lowered and refused.any():
            # Broken in bfloat16 only: float32 has the last word, and an attack of its own.
            self._ask(
                attack, rows[refused], at[refused], ledger, warm=warm, restarts=restarts, exact=True
            )
        elif len(refused):
            ledger.unconfirmed[rows] += refused
        return np.asarray(ledger.level[rows] < before)

    def _warm(self, attack: str, points: ImagePoints, rows: Ints, ledger: Ledger) -> torch.Tensor:
        """Starts from examples of larger radii, drawn into the smaller ball, where there is one."""
        start = random_start(self._oracle, points, f"{attack}/0")
        known = np.flatnonzero(ledger.prediction[rows] >= 0)
        mine = torch.from_numpy(known).to(points.x.device)
        examples = ledger.nearest[torch.from_numpy(rows[known])].to(points.x.device)
        size = np.maximum(ledger.distances[rows[known], COLUMN[points.norm]], 1e-12)
        share = by_sample(points.eps[mine] / torch.from_numpy(size).to(points.eps))
        start[mine] = points.x[mine] + (examples - points.x[mine]) * share
        return start

    def _take(
        self,
        attack: str,
        points: ImagePoints,
        found: Found,
        rows: Ints,
        at: Ints,
        *,
        ledger: Ledger,
    ) -> NDArray[np.bool_]:
        """Notes the examples that the plain model gets wrong; returns which it does not."""
        broken = found.broken.cpu().numpy()
        refused = np.zeros(len(rows), dtype=np.bool_)
        if not broken.any():
            return refused
        mine = torch.from_numpy(np.flatnonzero(broken)).to(points.x.device)
        rows, at = rows[broken], at[broken]
        radius = torch.from_numpy(self._grid[at]).to(points.x.device)
        examples = pull_back(points.x[mine], found.adversarial[mine], radius, points.norm).cpu()
        clean = self._batch.take([int(row) for row in rows])
        seen = confirm(self._adapter, clean, self._targets[rows], examples)
        distance = seen.distances[:, COLUMN[points.norm]]
        # An attack within a radius that ends outside it has not shown anything about it.
        holds = seen.holds & (attacks().get(attack).nearest | (distance <= self._grid[at]))
        ledger.note(rows, seen, holds, grid=self._grid, norm=points.norm)
        refused[broken] = ~holds
        return refused


def _rounded_down(grid: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns radii in float32, none larger than what was asked for."""
    nearest = grid.astype(np.float32)
    below = np.nextafter(nearest, np.float32(0))
    return np.where(nearest.astype(np.float64) > grid, below, nearest)
