"""Projected gradient steps on a row, through what a model makes of it (`encode`).

How a column moves the encoding is read off small differences; what the encoding does to the loss is
the model's own gradient. Categories stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.attack import Floats, Ints, Search
from crucibench.contracts.batch import Batch
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks.losses import log_odds
from crucibench_suites.adversarial.attacks.model import frozen
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions
from crucibench_suites.adversarial.tables.space import INWARDS, RowSpace

_STEPS = 20
_RESTARTS = 3
_SIZE = 0.25
"""Of the radius, at first; it falls to nothing linearly."""

_DIFFERENCE = 1e-2
"""Of the spread; whole numbers move by 1."""


class Differentiable(Protocol):
    """What gradients are asked of: an adapter that has them."""

    def module(self) -> torch.nn.Module:
        """Returns the map from an encoding to logits."""

    def encode(self, batch: Batch) -> torch.Tensor:
        """Returns what it maps."""


class Slopes:
    """Gradients of the loss by the columns of numbers.

    Attributes:
        forwards: passes of each row, with those of gradients.
        backwards: gradients of each row.
    """

    def __init__(
        self, adapter: Differentiable, space: RowSpace, targets: NDArray[np.int64]
    ) -> None:
        self._adapter, self._space, self._targets = adapter, space, targets
        self.forwards = np.zeros(len(space), dtype=np.int64)
        self.backwards = np.zeros(len(space), dtype=np.int64)

    def at(self, rows: Ints, points: Floats) -> Floats:
        """Returns gradients in units of the spread, shape (k, d); 0 where there is none."""
        space, width = self._space, len(self._space.numbers)
        k, d = points.shape
        with torch.no_grad():
            here = self._encoded(rows, points)
        asked = here.detach().requires_grad_()
        module = self._adapter.module()
        y = torch.from_numpy(self._targets[rows]).to(asked.device)
        with frozen(module), torch.enable_grad():
            logits = module(asked)
            (slope,) = torch.autograd.grad(log_odds(logits, y).sum(), asked)
        self.forwards[rows] += 1
        self.backwards[rows] += 1
        slope = torch.nan_to_num(slope, 0.0, 0.0, 0.0).flatten(1).double()
        found, real = np.zeros((k, d)), np.zeros((k, width))
        moved = np.repeat(points[:, None], width, axis=1)
        for column in range(width):
            # Away from the nearer end of its range, so that there is room.
            up = space.high[rows, column] - points[:, column]
            down = points[:, column] - space.low[rows, column]
            least = 1 / space.unit[column] if space.whole[column] else 0.0
            step = max(least, _DIFFERENCE * space.scale[column])
            there = points[:, column] + np.where(up >= down, step, -step)
            moved[:, column, column] = np.clip(
                there, space.low[rows, column], space.high[rows, column]
            )
            real[:, column] = moved[:, column, column] - points[:, column]
        with torch.no_grad():
            many = self._encoded(np.repeat(rows, width), moved.reshape(k * width, d))
        change = many.view(k, width, *here.shape[1:]) - here[:, None]
        gained = (change.flatten(2).double() * slope[:, None]).sum(2).cpu().numpy()
        real = real / space.scale[:width]
        found[:, :width] = np.divide(gained, real, out=np.zeros((k, width)), where=real != 0)
        return found

    def _encoded(self, rows: Ints, points: Floats) -> torch.Tensor:
        frame = self._space.rows(rows, points)
        return self._adapter.encode(Batch(("asked",) * len(rows), frame))


def gradient(given: Search) -> None:
    """Asks at each radius, from the largest; a row goes on below while examples are found."""
    questions, slopes, radii = given.questions, given.slopes, given.radii
    ids, draws = given.ids, given.draws
    space: RowSpace = questions.space
    at = np.full(len(space), len(radii) - 1)
    rows = np.arange(len(space))
    while True:
        at = np.minimum(at, np.searchsorted(radii, questions.distance, side="left") - 1)
        rows = rows[questions.left[rows] & (at[rows] >= 0)]
        if not len(rows) or not space.numbers:
            return
        before = questions.distance[rows]
        for restart in range(_RESTARTS):
            left = rows[questions.left[rows] & (questions.distance[rows] >= before)]
            if len(left):
                radius = radii[at[left]]
                name = f"gradient/{restart}/"
                _descend(
                    questions, space, slopes, left, radius=radius,
                    ids=[ids[int(row)] for row in left], draws=draws, name=name,
                )  # fmt: skip
        rows = rows[questions.distance[rows] < before]


def _descend(
    questions: BudgetedQuestions, space: RowSpace, slopes: Slopes, rows: Ints, *, radius: Floats,
    ids: Sequence[str], draws: Draws, name: str,
) -> None:  # fmt: skip
    clean, d = space.clean[rows], space.clean.shape[1]
    x = clean.copy()
    if not name.startswith("gradient/0"):
        drawn = draws.uniform(ids, f"{name}start", (d,)).astype(np.float64) * 2 - 1
        x = _inside(space, rows, clean + drawn * space.scale * radius[:, None], radius)
    open_ = np.ones(len(rows), dtype=np.bool_)
    for step in range(_STEPS):
        at = np.flatnonzero(open_ & questions.left[rows])
        if not len(at):
            return
        size = 2 * _SIZE * radius[at] * (1 - step / _STEPS)
        slope = slopes.at(rows[at], x[at])
        if space.norm == "linf":
            direction = np.sign(slope)
        else:
            direction = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-30)
        there = x[at] + size[:, None] * direction * space.scale
        x[at] = _inside(space, rows[at], there, radius[at])
        asked = space.allowed(rows[at], x[at])
        fit = space.distance(rows[at], asked) <= radius[at]
        lead = np.full(len(at), -np.inf)
        if fit.any():
            lead[fit] = questions.lead(rows[at][fit], asked[fit])
        open_[at[lead > 0]] = False


def _inside(space: RowSpace, rows: Ints, x: Floats, radius: Floats) -> Floats:
    """Returns the nearest points within ball and range."""
    clean, scale, radius = space.clean[rows], space.scale, radius * INWARDS
    moved = (x - clean) / scale
    if space.norm == "linf":
        moved = np.clip(moved, -radius[:, None], radius[:, None])
    else:
        size = np.linalg.norm(moved, axis=1, keepdims=True)
        moved = moved * np.minimum(1.0, radius[:, None] / np.maximum(size, 1e-30))
    return np.asarray(np.clip(clean + moved * scale, space.low[rows], space.high[rows]))
