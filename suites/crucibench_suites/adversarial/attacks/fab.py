"""FAB-T, the targeted fast adaptive boundary attack (Croce and Hein 2020), for Linf, L2
and L1.

It looks for the nearest example, whatever eps: linearise the difference of two logits, step onto
its zero from the current point and from the original one, go between the two, and pull back
towards the original once the class has changed. Parameters as in AutoAttack: alpha_max 0.1, eta
1.05, beta 0.9, one run a target, from the point itself. A point leaves as soon as its example lies
within ``points.eps``: that is as near as anyone asks for.
"""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.functional import hardshrink

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
    steepest_first,
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
    y = points.y[rows]
    x = origin = points.x[rows]
    # Both ends of each step, the current point and the original one, lie side by side.
    ends = torch.stack((x, origin))
    moved = torch.zeros_like(x)
    forwards = backwards = 0
    for _ in range(steps):
        x, origin = ends
        # Normals (m, d) of target - true logit, and what is to be gained from both ends.
        _, lead, gradient = oracle.gradient(x, partial(margin, y=y, target=aim))
        backwards += 1
        w = gradient.flatten(1)
        gaps = torch.stack((-lead, (w * moved.flatten(1)).sum(1) - lead))
        move = onto_hyperplane(ends.flatten(2), w, gaps, norm).view_as(ends)
        size, other = length(move.flatten(0, 1), norm).clamp_(min=1e-8).view(2, -1)
        alpha = by_sample((size / (size + other)).clamp_(max=ALPHA_MAX))
        ahead, back = torch.add(ends, move, alpha=ETA)
        torch.lerp(ahead, back, alpha, out=x).clamp_(0, 1)
        fooled = oracle.logits(x).argmax(1) != y
        forwards += 2
        moved = x - origin
        if not bool(fooled.any()):
            continue
        distance = torch.where(fooled, length(moved, norm), torch.inf)
        before = nearest[rows]
        nearest.scatter_reduce_(0, rows, distance, "amin")
        after = nearest[rows]
        better = (distance < before) & (distance == after)
        if bool(better.any()):
            found.put(rows[better], x[better])
        moved.mul_(by_sample(torch.where(fooled, BETA, 1.0)))
        torch.add(origin, moved, out=x)
        near = after <= points.eps[rows]
        if bool(near.any()):
            found.cost(rows[near], forwards=forwards, backwards=backwards)
            left = ~near
            rows, ends, moved, y, aim = rows[left], ends[:, left], moved[left], y[left], aim[left]
            if not len(rows):
                return
    found.cost(rows, forwards=forwards, backwards=backwards)


_TINY = 1e-8
"""Relative to the steepest pixel: what is flatter does not move."""

_ROUNDING, _NEVER = 1e-6, 1e30


def onto_hyperplane(
    x: torch.Tensor, w: torch.Tensor, gap: torch.Tensor, norm: Norm
) -> torch.Tensor:
    """Returns the step d of least norm with w.d = gap and 0 <= x + d <= 1.

    Where no point of the box lies on the hyperplane, the step goes as far as the box allows.

    Args:
        x: points in the box, shape (..., m, d).
        w: normals, shape (m, d).
        gap: b - w.x, shape (..., m).
        norm: which norm is least.
    """
    # In units of the steepest pixel, so that the scale of logits makes no pixel flat.
    size = w.abs().amax(1, keepdim=True).clamp_(min=1e-30)
    w, need = hardshrink(w / size, _TINY), (gap / size[:, 0]).abs()
    direction, steep = w.sign() * gap.sign()[..., None], w.abs_()
    room = (direction + 1).mul_(0.5).addcmul_(direction, x, value=-1)  # 1 - x up, x down
    gain = steep * room
    if norm == "l1":
        return direction.mul_(room).mul_(steepest_first(steep, gain, need))
    if norm == "linf":
        t = _time(room, steep, gain, need)
        return direction.mul_(torch.minimum(t[..., None], room))
    times = room / steep.clamp(min=_TINY)
    t = _time(times, steep.square(), gain, need)
    return direction.mul_(torch.minimum(t[..., None] * steep, room))


def _time(
    times: torch.Tensor, rate: torch.Tensor, gain: torch.Tensor, need: torch.Tensor
) -> torch.Tensor:
    """Returns by when pixels have gained `need` together, (...); very late where they never do.

    What is gained by a time t, when a pixel has gone t (in L2 t times as far as it is steep) or
    as far as the box lets it, is concave in t: Newton's steps from 0 come to the root from below,
    each past at least one more of the times at which a pixel meets the box. No sort is needed.

    Args:
        times: when each pixel meets the box, (..., d).
        rate: what it gains in a unit of time until then, (m, d).
        gain: what it has gained by then, (..., d).
        need: shape (...).
    """
    slope = (times.sign() * rate).sum(-1)
    t = torch.where(slope > 0, need / slope.clamp(min=1e-30), _NEVER)
    left, reached = need - gain.sum(-1), t.view(-1)
    open_: torch.Tensor | None = None
    for _ in range(times.shape[-1]):
        moving = (times - t[..., None]).sign_().clamp_(min=0)
        slope = (rate * moving).sum(-1)
        further = (left + moving.mul_(gain).sum(-1)) / slope.clamp(min=1e-30)
        further = torch.where(slope > 0, further, _NEVER)
        late = (further > t * (1 + _ROUNDING)).view(-1).nonzero()[:, 0]
        if not len(late):
            break
        # Most are there after two steps: the others go on by themselves.
        open_ = late if open_ is None else open_.index_select(0, late)
        rate = rate.index_select(0, late % len(rate))
        times, gain = (one.flatten(0, -2).index_select(0, late) for one in (times, gain))
        left, t = (one.view(-1).index_select(0, late) for one in (left, further))
        reached.index_copy_(0, open_, t)
    return reached.view_as(need)
