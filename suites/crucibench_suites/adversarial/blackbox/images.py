"""Attacks on images without gradients: by scores within balls, by labels for the nearest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.attack import Attack, Ball, Floats, Ints, Norm, Search
from crucibench.contracts.batch import Batch
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.answers import ScoreModule, leads, width
from crucibench_suites.adversarial.attacks.model import GradientOracle, LossPoints, attack_ball
from crucibench_suites.adversarial.blackbox.questions import Answer, BudgetedQuestions
from crucibench_suites.adversarial.confirm import Ledger, settle, snapped
from crucibench_suites.adversarial.threat import ThreatModel, check_norm


class Pixels:
    """The box of all images.

    Attributes:
        clean: float64, shape (n, d).
        low: 0.
        high: 1.
        norm: of distances.
    """

    def __init__(self, x: torch.Tensor, norm: Norm) -> None:
        check_norm(norm)
        self.shape = tuple(x.shape[1:])
        self.clean: Floats = x.detach().cpu().double().flatten(1).numpy()
        self.low, self.high = np.zeros_like(self.clean), np.ones_like(self.clean)
        self.norm = norm

    def allowed(self, rows: Ints, points: Floats) -> Floats:
        """Returns what float32 holds of the points."""
        return np.clip(points, 0.0, 1.0).astype(np.float32).astype(np.float64)

    def distance(self, rows: Ints, points: Floats) -> Floats:
        """Returns the norm of the change, (k,)."""
        moved = points - self.clean[rows]
        if self.norm == "linf":
            return np.asarray(np.abs(moved).max(axis=1))
        return np.asarray(np.linalg.norm(moved, axis=1))

    def images(self, points: Floats) -> torch.Tensor:
        """Returns points as float32 images, (k, C, H, W)."""
        return torch.from_numpy(points.astype(np.float32)).view(-1, *self.shape)

    def answered(
        self, lead: Callable[[Ints, torch.Tensor], NDArray[np.float64]], many: int
    ) -> Answer:
        """Returns an answer made of `lead`, which gets rows and images, `many` at once at most."""

        def answer(rows: Ints, points: Floats) -> Floats:
            found = [
                lead(rows[at : at + many], self.images(points[at : at + many]))
                for at in range(0, len(rows), many)
            ]
            return np.concatenate(found)

        return answer


def attack_by_scores(
    attack: Attack, threat: ThreatModel, work: Work, context: MapContext
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
    oracle = GradientOracle(ScoreModule(context.adapter), draws, many)
    budget = threat.model_copy(update={"queries": max(threat.queries - 1, 0)})
    rows = np.arange(len(batch))
    for at in reversed(range(len(radii))):
        if not len(rows):
            break
        where = torch.from_numpy(rows)
        points = LossPoints(
            x=batch.inputs[where],
            y=torch.from_numpy(targets[rows]),
            eps=torch.full((len(rows),), _below(radii[at])),
            ids=tuple(batch.ids[int(row)] for row in rows),
            norm=threat.norm,
        )
        # The first question is about the start; the search counts those after it.
        given = Ball(oracle, points, budget, radius=float(radii[at]))
        found = attack_ball(attack, given)
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


def attack_by_labels(
    attack: Attack, threat: ThreatModel, work: Work, context: MapContext
) -> tuple[Ledger, BudgetedQuestions]:
    """Attacks one batch; returns what is confirmed, and what was asked."""
    batch, targets = work.batch, work.samples.targets.astype(np.int64)
    grid = np.asarray(threat.eps, dtype=np.float64)
    ledger = Ledger.of(batch, np.full(len(batch), len(grid), dtype=np.int64))
    space = Pixels(batch.inputs, threat.norm)

    def lead(rows: Ints, images: torch.Tensor) -> Floats:
        asked = Batch(tuple(batch.ids[int(row)] for row in rows), images)
        return leads(context.adapter, asked, targets[rows], labels=True)

    answer = space.answered(lead, width(space.clean.shape[1]))
    questions = BudgetedQuestions(space, answer, grid[grid > 0], threat.queries)
    draws = context.draws if threat.seed is None else Draws(threat.seed, context.draws.stream)
    attack.run(
        Search(
            questions=questions, ids=batch.ids, draws=draws, radii=grid[grid > 0], targets=targets
        )
    )  # fmt: skip
    ledger.forwards += questions.queries
    ledger.queries += questions.queries
    rows = np.flatnonzero(np.isfinite(questions.distance))
    if len(rows):
        settle(
            context.adapter, batch, targets, rows=rows, examples=space.images(questions.best[rows]),
            grid=grid, norm=threat.norm, ledger=ledger,
        )  # fmt: skip
    return ledger, questions
