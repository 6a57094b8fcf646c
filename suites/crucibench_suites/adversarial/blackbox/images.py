"""Attacks on images without gradients: by scores within balls, by labels for the nearest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.attack import Attack, Ball, Floats, Ints, Norm, Search
from crucibench.contracts.batch import Batch
from crucibench.contracts.scenario import MapContext, Work
from crucibench_suites.adversarial.answers import ScoreModule, leads, width
from crucibench_suites.adversarial.attacks.model import ImagePoints, ModuleOracle, attack_ball
from crucibench_suites.adversarial.blackbox.questions import Answer, BudgetedQuestions
from crucibench_suites.adversarial.confirm import AttackedBatch, Ledger
from crucibench_suites.adversarial.threat import ThreatModel, check_norm, sizes


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
        return sizes(points - self.clean[rows], self.norm)

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


class ImagesFound(NamedTuple):
    """What became of n images under an attack with a query budget.

    Attributes:
        ledger: what is confirmed.
        queries_to: questions until there was an example within each radius above 0, NaN without
            one, shape (n, radii).
        first: the distance of the first example, NaN where that is not known, shape (n,).
    """

    ledger: Ledger
    queries_to: Floats
    first: Floats


def attack_images(
    attack: Attack, threat: ThreatModel, work: Work, context: MapContext
) -> ImagesFound:
    """Attacks one batch by scores or by labels, as the attack does."""
    by = _attack_by_scores if attack.access == "score" else _attack_by_labels
    return by(attack, threat, AttackedBatch(threat, work, context), context)


def _attack_by_scores(
    attack: Attack, threat: ThreatModel, attacked: AttackedBatch, context: MapContext
) -> ImagesFound:
    """Attacks one batch, from the largest radius down to where the attack fails."""
    batch, ledger, grid = attacked.batch, attacked.ledger, attacked.grid
    radii = grid[grid > 0]
    queries_to = np.full((len(batch), len(radii)), np.nan)
    # Steps that are tried at once and taken back are questions that a served model would answer.
    many = 1 if context.adapter.remote else width(batch.inputs[0].numel() if len(batch) else 1)
    oracle = ModuleOracle(ScoreModule(context.adapter), threat.draws(context.draws), many)
    # The first question is about the start; the search counts those after it.
    budget = threat.model_copy(update={"queries": max(threat.queries - 1, 0)})
    rows = np.arange(len(batch))
    for at in reversed(range(len(radii))):
        if not len(rows):
            break
        points = ImagePoints(
            x=batch.inputs[torch.from_numpy(rows)],
            y=torch.from_numpy(attacked.targets[rows]),
            eps=torch.full((len(rows),), _below(radii[at])),
            ids=tuple(batch.ids[int(row)] for row in rows),
            norm=threat.norm,
        )
        found = attack_ball(attack, Ball(oracle, points, budget, radius=float(radii[at])))
        ledger.spend(rows, found)
        broken = found.broken.numpy()
        queries_to[rows[broken], at] = found.queries[broken]
        rows = rows[broken]
        if len(rows):
            examples, _ = attacked.snapped(rows, found.adversarial[torch.from_numpy(broken)])
            attacked.confirm(rows, examples)
        rows = rows[ledger.level[rows] <= at + len(grid) - len(radii)]
    return ImagesFound(ledger, queries_to, np.full(len(batch), np.nan))


def _below(radius: float) -> float:
    """Returns the greatest float32 that is not larger."""
    near = np.float32(radius)
    return float(near if float(near) <= radius else np.nextafter(near, np.float32(0)))


def _attack_by_labels(
    attack: Attack, threat: ThreatModel, attacked: AttackedBatch, context: MapContext
) -> ImagesFound:
    """Attacks one batch, looking for the nearest example of each sample."""
    batch, ledger, grid = attacked.batch, attacked.ledger, attacked.grid
    space = Pixels(batch.inputs, threat.norm)

    def lead(rows: Ints, images: torch.Tensor) -> Floats:
        asked = Batch(tuple(batch.ids[int(row)] for row in rows), images)
        return leads(context.adapter, asked, attacked.targets[rows], labels=True)

    answer = space.answered(lead, width(space.clean.shape[1]))
    questions = BudgetedQuestions(space, answer, grid[grid > 0], threat.queries)
    attack.run(
        Search(
            questions=questions, ids=batch.ids, draws=threat.draws(context.draws),
            radii=grid[grid > 0], targets=attacked.targets,
        )
    )  # fmt: skip
    ledger.forwards += questions.queries
    ledger.queries += questions.queries
    rows = np.flatnonzero(np.isfinite(questions.distance))
    if len(rows):
        attacked.confirm(rows, space.images(questions.best[rows]))
    return ImagesFound(ledger, questions.queries_to, questions.first)
