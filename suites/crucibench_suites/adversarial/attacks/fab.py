"""FAB-T, the targeted fast adaptive boundary attack (Croce and Hein 2020), for Linf and L2.

It looks for the nearest example, whatever eps: linearise the difference of two logits, step onto
its zero from the current point and from the original one, go between the two, and pull back
towards the original once the class has changed. Parameters as in AutoAttack: alpha_max 0.1, eta
1.05, beta 0.9, one run a target, from the point itself. A point leaves as soon as its example lies
within ``points.eps``: that is as near as anyone asks for.
"""

from __future__ import annotations

import torch

from crucibench.contracts.attack import Norm
from crucibench_suites.adversarial.attacks.losses import margin
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    ModuleOracle,
    by_sample,
    length,
    pairs,
    runners_up,
)

ALPHA_MAX = 0.1
ETA = 1.05
BETA = 0.9


def fab_targeted(oracle: ModuleOracle, points: ImagePoints, *, steps: int, targets: int) -> Found:
    """Looks for the nearest example towards each of the `targets` likeliest other classes.

    What it returns as an example may be further away than ``points.eps``.
    """
    found = Found(points)
    nearest = torch.full_like(points.eps, torch.inf)
    others = runners_up(oracle, points, found)[:, :targets]
    everyone = torch.arange(len(points), device=points.x.device)

    def far(rows: torch.Tensor) -> torch.Tensor:
        return nearest[rows] > points.eps[rows]

    for rows, ranks in pairs(everyone, others.shape[1], oracle.width, far):
        aim = others[rows, ranks]
        _run(oracle, points, rows, aim, nearest=nearest, found=found, steps=steps)
    return found


def _run(
    oracle: ModuleOracle,
    points: ImagePoints,
    rows: torch.Tensor,
    aim: torch.Tensor,
    *,
    nearest: torch.Tensor,
    found: Found,
    steps: int,
) -> None:
    """Takes the steps of runs that begin at the points at `rows`, each towards its own class."""
    norm = points.norm
    origin, y = points.x[rows], points.y[rows]
    x = origin
    forwards = backwards = 0
    for _ in range(steps):
        w, gap, to_origin = _linearise(oracle, x, origin, y, aim)
        backwards += 1
        flat, flat_origin = x.flatten(1), origin.flatten(1)
        both = onto_hyperplane(
            torch.cat((flat, flat_origin)), torch.cat((w, w)), torch.cat((gap, to_origin)), norm
        )
        here, there = both[: len(x)].view_as(x), both[len(x) :].view_as(x)
        size, other = length(here, norm).clamp(min=1e-8), length(there, norm).clamp(min=1e-8)
        alpha = by_sample((size / (size + other)).clamp(max=ALPHA_MAX))
        x = ((x + ETA * here) * (1 - alpha) + (origin + ETA * there) * alpha).clamp_(0, 1)
        fooled = oracle.logits(x).argmax(1) != y
        forwards += 2
        if not bool(fooled.any()):
            continue
        distance = torch.where(fooled, length(x - origin, norm), torch.inf)
        before = nearest[rows]
        nearest.scatter_reduce_(0, rows, distance, "amin")
        after = nearest[rows]
        better = (distance < before) & (distance == after)
        found.put(rows[better], x[better])
        x = torch.where(by_sample(fooled), origin + (x - origin) * BETA, x)
        near = after <= points.eps[rows]
        if bool(near.any()):
            found.cost(rows[near], forwards=forwards, backwards=backwards)
            left = ~near
            rows, x, origin, y, aim = rows[left], x[left], origin[left], y[left], aim[left]
            if not len(rows):
                return
    found.cost(rows, forwards=forwards, backwards=backwards)


def _linearise(
    oracle: ModuleOracle, x: torch.Tensor, origin: torch.Tensor, y: torch.Tensor, aim: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns normals (m, d) of target - true logit, and how much is to be gained from each end."""
    _, lead, gradient = oracle.gradient(x, lambda logits: margin(logits, y, aim))
    w = gradient.flatten(1)
    return w, -lead, -lead + (w * (x - origin).flatten(1)).sum(1)


_TINY = 1e-8


def onto_hyperplane(
    x: torch.Tensor, w: torch.Tensor, gap: torch.Tensor, norm: Norm
) -> torch.Tensor:
    """Returns the step d of least norm with w.d = gap and 0 <= x + d <= 1.

    Where no point of the box lies on the hyperplane, the step goes as far as the box allows.

    Args:
        x: points in the box, shape (m, d).
        w: normals, shape (m, d).
        gap: b - w.x, shape (m,).
        norm: which norm is least.
    """
    # In units of the steepest pixel, so that the scale of logits makes no pixel flat.
    size = w.abs().amax(1, keepdim=True).clamp(min=1e-30)
    w, gap = w / size, gap / size[:, 0]
    steep = w.abs()
    direction = w.sign() * torch.where(gap < 0, -1.0, 1.0)[:, None]
    flat = steep < _TINY
    direction = direction.masked_fill(flat, 0.0)
    room = torch.where(direction > 0, 1 - x, x)
    speed = torch.ones_like(steep) if norm == "linf" else steep
    times = (room / speed).masked_fill(flat, 0.0)
    rate = (steep * speed).masked_fill(flat, 0.0)
    ordered, order = times.sort(dim=1)
    rates = rate.gather(1, order)
    # What is still moving after each break point, and what the others have covered by then.
    moving = rates.flip(1).cumsum(1).flip(1) - rates
    ended = (rates * ordered).cumsum(1)
    reached = ended + moving * ordered
    need = gap.abs()[:, None]
    # The last break point that is passed before the gap is closed; -1 is the start.
    last = (reached < need).sum(1, keepdim=True) - 1
    before = last.clamp(min=0)
    started = last < 0
    covered = ended.gather(1, before).masked_fill(started, 0.0)
    slope = torch.where(started, rates.sum(1, keepdim=True), moving.gather(1, before))
    t = torch.where(slope > 0, (need - covered) / slope.clamp(min=1e-30), ordered[:, -1:])
    # No later than the next break point, so that rounding of small slopes can't run away.
    following = ordered.gather(1, (last + 1).clamp(max=ordered.shape[1] - 1))
    t = torch.minimum(t, following)
    return direction * torch.minimum(t * speed, room)
