"""Square on a model that gives scores and no gradients."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.answers import Scores, width
from crucibench_suites.adversarial.attacks.model import Oracle, Points
from crucibench_suites.adversarial.protocol import Native
from crucibench_suites.adversarial.search import Ledger
from crucibench_suites.adversarial.settle import settle, snapped
from crucibench_suites.adversarial.threat import ThreatModel


def squares(
    attack: Native, threat: ThreatModel, work: Work, context: MapContext
) -> tuple[Ledger, NDArray[np.float64]]:
    """Attacks one batch, from the largest radius down to where it fails.

    Returns:
        The ledger, and how many questions the search at each radius above 0 needed, NaN where it
        found nothing or was not made, shape (n, radii).
    """
    batch, targets = work.batch, work.samples.targets.astype(np.int64)
    grid = np.asarray(threat.eps, dtype=np.float64)
    ledger = Ledger.of(batch, np.full(len(batch), len(grid), dtype=np.int64))
    radii = grid[grid > 0]
    queries_to = np.full((len(batch), len(radii)), np.nan)
    draws = context.draws if threat.seed is None else Draws(threat.seed, context.draws.stream)
    # Steps that are tried at once and taken back are questions that a served model would answer.
    many = 1 if context.adapter.remote else width(batch.inputs[0].numel() if len(batch) else 1)
    oracle = Oracle(Scores(context.adapter), draws, many)
    budget = threat.model_copy(update={"queries": max(threat.queries - 1, 0)})
    rows = np.arange(len(batch))
    for at in reversed(range(len(radii))):
        if not len(rows):
            break
        where = torch.from_numpy(rows)
        points = Points(
            x=batch.inputs[where],
            y=torch.from_numpy(targets[rows]),
            eps=torch.full((len(rows),), _below(radii[at])),
            ids=tuple(batch.ids[int(row)] for row in rows),
            norm=threat.norm,
        )
        # The first question is about the start; the search counts those after it.
        found = attack.run(oracle, points, budget, None)
        ledger.forwards[rows] += found.forwards
        ledger.queries[rows] += found.queries
        broken = found.broken.numpy()
        queries_to[rows[broken], at] = found.queries[broken]
        mine = torch.from_numpy(np.flatnonzero(broken))
        rows = rows[broken]
        if len(rows):
            examples, _ = snapped(
                batch.inputs[where][mine], found.adversarial[mine], grid, threat.norm
            )
            settle(
                context.adapter, batch, targets, rows=rows, examples=examples, grid=grid,
                norm=threat.norm, ledger=ledger,
            )  # fmt: skip
        rows = rows[ledger.level[rows] <= at + len(grid) - len(radii)]
    return ledger, queries_to


def _below(radius: float) -> float:
    """Returns the greatest float32 that is not larger."""
    near = np.float32(radius)
    return float(near if float(near) <= radius else np.nextafter(near, np.float32(0)))
