"""Auto-PGD (Croce and Hein 2020, section 3, algorithm 1), for Linf and L2; APGD-L1 (2021).

As published: steps of 2 eps, momentum 0.75, checkpoints at 22 % of the steps and then ever closer
(by 3 %, at least 6 %), halving where fewer than 75 % of the steps since the last one went up, or
where nothing was gained since it, and then going on from the best point. Three differences from the
authors' code, none of which weakens it: a point leaves at the step that breaks it, the gradient
after the last step is not computed, and the first comparison of losses at the first checkpoint is
with the start, as in the paper, not with 0.

In L1 (Croce and Hein 2021, "Mind the box", section 3) steps go along the signs of the steepest
pixels alone, as many as the best point so far suggests, and end at the nearest point of ball and
box; they begin within three radii, go on within two, and only what the last of them find counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from crucibench_suites.adversarial.attacks.losses import dlr
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    Loss,
    ModuleOracle,
    Region,
    ascending,
    by_sample,
    chosen,
    length,
    pairs,
    runners_up,
    unit,
)

MOMENTUM = 0.75
_FEW = 20
"""Steps in L1, below which all are within the radius."""

RHO = 0.75


def apgd(
    oracle: ModuleOracle,
    points: ImagePoints,
    loss: Loss,
    *,
    steps: int,
    restarts: int = 1,
    eot: int = 1,
    name: str = "apgd",
    start: torch.Tensor | None = None,
    target: torch.Tensor | None = None,
) -> Found:
    """Drives `loss` up from random starts.

    Args:
        oracle: the model.
        points: what to attack; all are taken to be right as they are.
        loss: e.g. `losses.ce` or `losses.dlr`.
        steps: in each restart.
        restarts: each begins elsewhere; they run side by side, and a point leaves with the first
            that breaks it.
        eot: gradients averaged in each step (expectation over transformation), for models that are
            random.
        name: of the draws.
        start: where the first restart begins, shape as ``points.x``; at random if None.
        target: a class for each point, shape (m,), that the loss is told of.
    """
    found = Found(points)
    for rows, numbers in _restarted(points, restarts, oracle, found):
        begin = _starts(oracle, points, rows, [f"{name}/{at}" for at in range(restarts)], numbers)
        if start is not None:
            begin[numbers == 0] = start[rows[numbers == 0]]
        aim = None if target is None else target[rows]
        _climb(
            oracle, points.take(rows), loss, begin, steps=steps, eot=eot, target=aim,
            into=(rows, found),
        )  # fmt: skip
    return found


def _restarted(
    points: ImagePoints, restarts: int, oracle: ModuleOracle, found: Found
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields rows, and which run each begins: of L1, where runs end late, the first by itself."""
    alone = 1 if points.norm == "l1" else restarts
    yield from pairs(found.open, alone, oracle.width, found.left)
    if restarts > alone:
        for rows, numbers in pairs(found.open, restarts - alone, oracle.width, found.left):
            yield rows, numbers + alone


def apgd_targeted(
    oracle: ModuleOracle,
    points: ImagePoints,
    *,
    steps: int,
    targets: int,
    restarts: int = 1,
    eot: int = 1,
    name: str = "apgd-t",
) -> Found:
    """Drives the targeted DLR up towards each of the `targets` likeliest other classes.

    Towards all of them at once: where few points are left, one step of nine runs takes little more
    time than one step of one.
    """
    found = Found(points)
    others = runners_up(oracle, points, found)[:, :targets]
    for restart in range(restarts):
        names = [f"{name}/{rank}/{restart}" for rank in range(others.shape[1])]
        for rows, ranks in pairs(found.open, others.shape[1], oracle.width, found.left):
            left, begin = points.take(rows), _starts(oracle, points, rows, names, ranks)
            aim = others[rows, ranks]
            _climb(oracle, left, dlr, begin, steps=steps, eot=eot, target=aim, into=(rows, found))
    return found


def _climb(
    oracle: ModuleOracle, points: ImagePoints, loss: Loss, begin: torch.Tensor, *, steps: int,
    eot: int, into: tuple[torch.Tensor, Found], target: torch.Tensor | None = None,
) -> None:  # fmt: skip
    """Goes up from where runs begin, `into` what is found at the positions of the points there."""
    rows, found = into
    if points.norm != "l1":
        _Ascent(oracle, points, loss, begin, eot=eot, target=target).run(steps, rows, found)
        return
    everyone = torch.arange(len(points), device=rows.device)
    wide = -(-3 * steps // 10) if steps >= _FEW else 0
    for times in (3, 2) if wide else ():
        larger = replace(points, eps=times * points.eps)
        aside = Found(larger)
        run = _SparseAscent(oracle, larger, loss, begin, eot=eot, target=target)
        run.run(wide, everyone, aside, leave=False)
        begin = aside.reached
        found.cost(rows, forwards=eot * (wide + 1), backwards=eot * wide)
    if not wide:
        begin = points.x  # which few steps leave along the steepest pixels
    run = _SparseAscent(oracle, points, loss, begin, eot=eot, target=target)
    run.run(steps - 2 * wide, rows, found)


def _starts(
    oracle: ModuleOracle,
    points: ImagePoints,
    rows: torch.Tensor,
    names: list[str],
    numbers: torch.Tensor,
) -> torch.Tensor:
    """Returns where runs begin, each at random by the draws that ``names[number]`` keys."""
    begin = torch.empty_like(points.x[rows])
    for number in sorted(set(numbers.tolist())):
        mine = numbers == number
        begin[mine] = random_start(oracle, points.take(rows[mine]), names[number])
    return begin


def random_start(oracle: ModuleOracle, points: ImagePoints, step: str) -> torch.Tensor:
    """Returns points on the edge of the ball, clipped to the box; in L1 far out: runs draw near."""
    if points.norm == "l1":
        return points.x + oracle.normal(points, step)
    drawn = oracle.uniform if points.norm == "linf" else oracle.normal
    edge = unit(drawn(points, step), points.norm) * by_sample(points.eps)
    return (points.x + edge).clamp_(0, 1)


def checkpoints(steps: int) -> Iterator[int]:
    """Returns after which steps the step size is looked at."""
    gap, shrink, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    at = gap
    while at <= steps:
        yield at
        gap = max(gap - shrink, least)
        at += gap


class _Ascent:
    """One run from one start; its tensors hold the points that are left, and no others."""

    def __init__(
        self,
        oracle: ModuleOracle,
        points: ImagePoints,
        loss: Loss,
        start: torch.Tensor,
        *,
        eot: int,
        target: torch.Tensor | None = None,
    ) -> None:
        self._oracle, self._loss, self._eot = oracle, loss, eot
        self._norm = points.norm
        self._region = Region(points)
        self._y, self._target = points.y, target
        self._x = self._old = self._region.inside(start)
        self._size = 2.0 * points.eps

    def run(self, steps: int, rows: torch.Tensor, found: Found, *, leave: bool = True) -> None:
        """Takes the steps; `rows` are the positions of the points in `found`.

        What is broken leaves; without `leave` nothing does, nothing counts, and costs are not told.
        """
        self._leave = leave
        losses, right = self._ask(last=False)
        forwards, backwards = self._eot, self._eot
        self._rows, self._found = rows, found
        self._best, self._best_x, self._best_gradient = losses, self._x, self._gradient
        self._before = self._last_best = losses
        self._rises = torch.zeros_like(losses)
        self._halved = torch.ones_like(losses, dtype=torch.bool)
        self._retire(right, forwards, backwards)
        due, previous = self._checkpoints(steps), 0
        check = next(due, 0)
        for step in range(1, steps + 1):
            if not len(self._rows):
                return
            self._move(1.0 if step == 1 else MOMENTUM)
            last = step == steps
            losses, right = self._ask(last=last)
            forwards += self._eot
            if not last:
                backwards += self._eot
                self._account(losses)
                if step == check:
                    self._check(step - previous)
                    previous, check = step, next(due, 0)
            self._retire(right, forwards, backwards)
        if leave:
            found.cost(self._rows, forwards=forwards, backwards=backwards)
        found.reached[self._rows] = self._best_x

    _checkpoints = staticmethod(checkpoints)

    def _move(self, share: float) -> None:
        x, old, size = self._x, self._old, by_sample(self._size)
        direction = (
            self._gradient.sign() if self._norm == "linf" else unit(self._gradient, self._norm)
        )
        z = self._region.inside(torch.addcmul(x, direction, size))
        if share < 1:
            ahead = torch.lerp(x, z, share)
            z = self._region.inside(ahead.add_(x, alpha=1 - share).sub_(old, alpha=1 - share))
        self._x, self._old = z, x

    def _ask(self, *, last: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns losses and whether the points are still right; sets the gradient."""

        def loss(logits: torch.Tensor) -> torch.Tensor:
            return self._loss(logits, self._y, self._target)

        self._asked = self._x
        if last:
            for _ in range(self._eot):
                logits = self._oracle.logits(self._x)
            return logits.new_zeros(len(logits)), logits.argmax(1) == self._y
        total: torch.Tensor | None = None
        for _ in range(self._eot):
            logits, losses, gradient = self._oracle.gradient(self._x, loss)
            total = gradient if total is None else total + gradient
        assert total is not None
        self._gradient = total / self._eot if self._eot > 1 else total
        return losses, logits.argmax(1) == self._y

    def _account(self, losses: torch.Tensor) -> None:
        self._rises = self._rises + (losses > self._before)
        self._before = losses
        better = losses > self._best
        shown = by_sample(better)
        self._best = torch.where(better, losses, self._best)
        self._best_x = chosen(shown, self._x, self._best_x)
        self._best_gradient = chosen(shown, self._gradient, self._best_gradient)

    def _check(self, taken: int) -> None:
        stuck = ~self._halved & (self._last_best >= self._best)
        halve = (self._rises <= RHO * taken) | stuck
        self._halved, self._last_best = halve, self._best
        self._rises = torch.zeros_like(self._rises)
        self._size = torch.where(halve, self._size / 2, self._size)
        shown = by_sample(halve)
        self._x = chosen(shown, self._best_x, self._x)
        self._gradient = chosen(shown, self._best_gradient, self._gradient)

    def _retire(self, right: torch.Tensor, forwards: int, backwards: int) -> None:
        """Lets go of the points that are broken: most are within the first few steps."""
        if not self._leave or bool(right.all()):
            return
        gone = ~right
        self._found.put(self._rows[gone], self._asked[gone])
        # With a point go its runs towards other targets.
        left = ~self._found.broken[self._rows]
        self._found.cost(self._rows[~left], forwards=forwards, backwards=backwards)
        self._rows = self._rows[left]
        self._region.keep(left)
        for name in (*self._state, *(("_target",) if self._target is not None else ())):
            setattr(self, name, getattr(self, name)[left])

    _state: tuple[str, ...] = (
        *("_x", "_old", "_gradient", "_best_x", "_best_gradient", "_y", "_size"),
        *("_best", "_before", "_last_best", "_rises", "_halved"),
    )
    """The tensors of a run that have a row a point."""


class _SparseAscent(_Ascent):
    """A run of APGD-L1, whose steps change as few pixels as its best point, less a third."""

    _state = (*_Ascent._state, "_eps", "_count", "_changed")

    def __init__(
        self, oracle: ModuleOracle, points: ImagePoints, *given: Any, **named: Any
    ) -> None:
        super().__init__(oracle, points, *given, **named)
        self._eps = self._size = points.eps
        self._changed = self._pixels(self._x)
        self._count = self._changed / _SPARSER

    @staticmethod
    def _checkpoints(steps: int) -> Iterator[int]:
        gap = max(int(_SPARSE_GAP * steps), 1)
        return iter(range(gap, steps + 1, gap))

    def _pixels(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self._region.x).flatten(1).sign_().abs_().sum(1)

    def _move(self, share: float) -> None:
        flat = self._gradient.flatten(1)
        count = self._count.ceil().long().clamp(1, flat.shape[1])
        steep = flat.abs()
        least = ascending(steep).gather(1, flat.shape[1] - count[:, None])
        flatter = (least - steep).sign_().clamp_(min=0)
        signs = flat.sign().addcmul_(flat.sign(), flatter, value=-1).view_as(self._x)
        size = self._size * (1 / (length(signs, "l1") + 1e-12))
        self._x = self._region.inside(torch.addcmul(self._x, signs, by_sample(size)))

    def _check(self, taken: int) -> None:
        changed = self._pixels(self._best_x)
        sparser = changed < _SPARSE_ENOUGH * self._changed
        smaller = torch.maximum(self._size / _SPARSER, self._eps / _SMALLEST)
        self._size = torch.where(sparser, self._eps, smaller)
        self._changed, self._count = changed, changed / _SPARSER
        shown = by_sample(sparser)
        self._x = chosen(shown, self._best_x, self._x)
        self._gradient = chosen(shown, self._best_gradient, self._gradient)


_SPARSE_GAP, _SPARSE_ENOUGH, _SPARSER, _SMALLEST = 0.04, 0.95, 1.5, 10
"""Of APGD-L1: between checks, as a share of the steps; what counts as sparser; by what pixels and
steps are divided; and the smallest step, as a divisor of the radius."""
