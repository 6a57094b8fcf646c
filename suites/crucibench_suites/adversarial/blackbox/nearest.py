"""Attacks on labels: the nearest image that the model gets wrong, within a budget."""

from __future__ import annotations

import numpy as np
import torch

from crucibench.contracts.batch import Batch
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.answers import leads, width
from crucibench_suites.adversarial.blackbox.attacks import OnLabels
from crucibench_suites.adversarial.blackbox.books import Books, Floats, Ints
from crucibench_suites.adversarial.blackbox.images import Pixels
from crucibench_suites.adversarial.search import Ledger
from crucibench_suites.adversarial.settle import settle
from crucibench_suites.adversarial.threat import ThreatModel


def nearest(
    attack: OnLabels, threat: ThreatModel, work: Work, context: MapContext
) -> tuple[Ledger, Books]:
    """Attacks one batch; returns what is confirmed, and what was asked."""
    batch, targets = work.batch, work.samples.targets.astype(np.int64)
    grid = np.asarray(threat.eps, dtype=np.float64)
    ledger = Ledger.of(batch, np.full(len(batch), len(grid), dtype=np.int64))
    ground = Pixels(batch.inputs, threat.norm)

    def lead(rows: Ints, images: torch.Tensor) -> Floats:
        asked = Batch(tuple(batch.ids[int(row)] for row in rows), images)
        return leads(context.adapter, asked, targets[rows], labels=True)

    answer = ground.answered(lead, width(ground.clean.shape[1]))
    books = Books(ground, answer, grid[grid > 0], threat.queries)
    draws = context.draws if threat.seed is None else Draws(threat.seed, context.draws.stream)
    attack.run(books, batch.ids, draws, threat.norm)
    ledger.forwards += books.queries
    ledger.queries += books.queries
    rows = np.flatnonzero(np.isfinite(books.distance))
    if len(rows):
        settle(
            context.adapter, batch, targets, rows=rows, examples=ground.images(books.best[rows]),
            grid=grid, norm=threat.norm, ledger=ledger,
        )  # fmt: skip
    return ledger, books
