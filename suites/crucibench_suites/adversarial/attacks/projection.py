"""The smallest step from a point onto a hyperplane that stays in the box, in Linf or L2.

Every pixel moves towards the hyperplane, by as much as its room to the edge of the box allows:
min(t * s_j, room_j), with speed s_j = 1 in Linf and |w_j| in L2. What is covered,
f(t) = sum_j |w_j| min(t s_j, room_j), is concave and piecewise linear in t; its break points, where
pixels reach the edge, are sorted once, and t with f(t) = |w.x - b| is read off. This is the exact
solution of the problems in Croce and Hein (2020), "Minimally distorted adversarial examples with a
fast adaptive boundary attack", section 2.2.
"""

from __future__ import annotations

import torch

from crucibench.contracts.attack import Norm

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
