"""What samples are asked that withstand a radius: does anything else break them within it?"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks.apgd import apgd
from crucibench_suites.adversarial.attacks.model import Found, Oracle, Points, Region
from crucibench_suites.adversarial.probing.asking import Asker
from crucibench_suites.adversarial.probing.costs import (
    NOISE_DRAWS,
    PLANTED_STEPS,
    UNBOUNDED_STEPS,
)
from crucibench_suites.adversarial.probing.points import along, noise
from crucibench_suites.adversarial.threat import ThreatModel

Columns = dict[str, NDArray[np.int64]]

_NOT_ASKED = -1
_PLANTED_SHARE = 0.95
"""Of the way to the planted point, in logits, that must be covered."""


def probe_deeply(
    asker: Asker,
    oracle: Oracle,
    points: Points,
    *,
    rows: NDArray[np.int64],
    logits: torch.Tensor,
    threat: ThreatModel,
) -> Columns:
    """Asks about some samples of a batch, at radii that no attack broke them at.

    Args:
        asker: the model.
        oracle: the same, as attacks ask it.
        points: all samples of the batch.
        rows: of those that are asked about.
        logits: of all samples as they are, (n, K).
        threat: of the attacks.

    Returns:
        Columns of n rows: 1 or 0, or a count; -1 for those that were not asked about.
    """
    names = ("noise_breaks", "planted", "planted_found", "longer_breaks", "unbounded_breaks")
    columns = {name: np.full(len(points), _NOT_ASKED, dtype=np.int64) for name in names}
    if not len(rows):
        return columns
    where = torch.from_numpy(rows).to(points.x.device)
    mine, clean = points.take(where), logits[where]
    broken = np.zeros(len(rows), dtype=np.int64)
    far, target = torch.zeros_like(mine.eps).double(), torch.zeros_like(clean).double()
    for draw in range(NOISE_DRAWS):
        there = noise(
            oracle.draws, mine.ids, mine.x, eps=mine.eps, norm=mine.norm,
            step=f"probe/noise/{draw}",
        )  # fmt: skip
        said = asker.logits(there, rows)
        broken += (said.argmax(1) != mine.y).cpu().numpy()
        moved = said.double() - clean.double()
        size = moved.norm(dim=1)
        farther = size > far
        far = torch.where(farther, size, far)
        target = torch.where(farther[:, None], moved, target)
    columns["noise_breaks"][rows] = broken
    plantable = (far > 0) & torch.isfinite(far)
    columns["planted"][rows] = plantable.cpu().numpy()
    columns["planted_found"][rows] = _find(asker, oracle, mine, rows=rows, clean=clean, to=target)
    longer = apgd(
        oracle,
        mine,
        losses.log_odds if threat.eot == 1 else losses.ce,
        steps=2 * threat.steps,
        eot=threat.eot,
        name="probe/longer",
    )
    columns["longer_breaks"][rows] = _account(asker, longer, rows)
    radius = 1.0 if mine.norm == "linf" else math.sqrt(mine.x[0].numel())
    everywhere = Points(
        x=mine.x, y=mine.y, eps=torch.full_like(mine.eps, radius), ids=mine.ids, norm=mine.norm
    )
    unbounded = apgd(
        oracle, everywhere, losses.log_odds, steps=UNBOUNDED_STEPS, name="probe/unbounded",
        start=mine.x,
    )  # fmt: skip
    columns["unbounded_breaks"][rows] = _account(asker, unbounded, rows)
    return columns


def _account(asker: Asker, found: Found, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    asker.forwards[rows] += found.forwards
    asker.backwards[rows] += found.backwards
    broken: NDArray[np.bool_] = found.broken.cpu().numpy()
    return broken


def _find(
    asker: Asker,
    oracle: Oracle,
    points: Points,
    *,
    rows: NDArray[np.int64],
    clean: torch.Tensor,
    to: torch.Tensor,
) -> NDArray[np.int64]:
    """Looks, by gradients, for what is planted: returns 1 where it is found, else 0.

    A random point of the ball moves the logits by `to`, (m, K). A class of its own is planted
    there: whatever moves them as far in this direction, less 5 %, is of that class. So an example
    exists within the radius, and random points hardly hit it, but gradients that mean something
    lead there (the idea of Zimmermann et al. 2022, "Increasing confidence in adversarial
    robustness evaluations").
    """
    found = np.zeros(len(points), dtype=np.int64)
    left = torch.arange(len(points), device=points.x.device)
    direction = to / to.norm(dim=1, keepdim=True).clamp(min=1e-30)
    needed = _PLANTED_SHARE * to.norm(dim=1)
    region = Region(points)
    x = noise(
        oracle.draws, points.ids, points.x, eps=points.eps / 2, norm=points.norm,
        step="probe/planted",
    )  # fmt: skip
    x = region.inside(x)
    for step in range(PLANTED_STEPS + 1):
        towards, start = direction[left], clean[left].double()

        def covered(
            logits: torch.Tensor, towards: torch.Tensor = towards, start: torch.Tensor = start
        ) -> torch.Tensor:
            return ((logits - start) * towards).sum(1)

        where = left.cpu().numpy()
        if step == PLANTED_STEPS:
            reached = covered(asker.logits(x, rows[where]).double())
        else:
            slope = asker.slope(x, rows[where], covered)
            reached = slope.loss
        there = reached >= needed[left]
        found[where[there.cpu().numpy()]] = 1
        stay = ~there
        if step == PLANTED_STEPS or not bool(stay.any()):
            break
        left = left[stay]
        region.keep(stay)
        size = 2 * points.eps[left] * (1 - step / PLANTED_STEPS)
        x = region.inside(along(x[stay], slope.gradient[stay], size, points.norm))
    return found
