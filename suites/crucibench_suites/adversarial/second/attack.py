"""The attack of the second opinion: ascents by several gradients, from where each has come to."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench_suites.adversarial.attacks.apgd import apgd
from crucibench_suites.adversarial.attacks.losses import dlr, margin
from crucibench_suites.adversarial.attacks.model import (
    Counting,
    Found,
    ImagePoints,
    ModuleOracle,
    Region,
)
from crucibench_suites.adversarial.probing.collecting import along
from crucibench_suites.adversarial.second.standins import DifferencesOracle, stand_ins

_LEFT = 0.1
"""Of the way to the boundary: what differences may still gain where gradients have ended."""

_MOVED = 1e-3
_SHARE = 0.25
"""Of the radius: the step by which differences go on."""


def second_opinion(
    oracle: ModuleOracle,
    points: ImagePoints,
    *,
    steps: int,
    queries: int,
    eot: int,
    start: torch.Tensor | None = None,
) -> Found:
    """Goes up by each stand-in for the gradient in turn, and last by differences of answers.

    Args:
        oracle: the model.
        points: what to attack; all are right as they are.
        steps: of each ascent by a gradient.
        queries: passes of each sample for the ascent by differences.
        eot: gradients averaged in each step.
        start: where the first ascent begins; at random if None.
    """
    module = oracle.module._model if isinstance(oracle.module, Counting) else oracle.module
    bare = ModuleOracle(module, oracle.draws, oracle.width)
    found = Found(points)
    best = torch.full_like(points.eps, -torch.inf)
    found.reached = points.x.clone()

    def ascend(
        by: ModuleOracle, steps: int, begin: torch.Tensor | None, name: str, asks: int = 0
    ) -> None:
        rows = found.open
        if not len(rows) or steps < 1:
            return
        mine = points.take(rows)
        one = apgd(
            by, mine, dlr, steps=steps, eot=eot, name=f"second-opinion/{name}",
            start=None if begin is None else begin[rows],
        )  # fmt: skip
        cells = rows.cpu().numpy()
        # Differences make of each gradient so many passes.
        found.forwards[cells] += one.forwards + 1 + asks * one.backwards
        found.backwards[cells] += 0 if asks else one.backwards
        if one.broken.any():
            found.put(rows[one.broken], one.adversarial[one.broken])
        lead = margin(bare.logits(one.reached), mine.y)
        better = ~one.broken & (lead > best[rows])
        best[rows[better]] = lead[better].to(best)
        found.reached[rows[better]] = one.reached[better]

    for number, by in enumerate(stand_ins(bare, points.x.shape[1:])):
        ascend(by, steps, start if number == 0 else None, str(number))
    differences = DifferencesOracle(module, oracle.draws, oracle.width)
    asks = 2 * differences.directions
    ascend(differences, queries // (asks + 1) // eot, found.reached, "differences", asks)
    return found


def unsettled(
    oracle: ModuleOracle, points: ImagePoints, reached: torch.Tensor, *, eot: int
) -> NDArray[np.bool_]:
    """Whether attacks have said nothing of each sample, shape (m,).

    They have not where none came nearer to the boundary than the sample is; nor where differences
    of answers, which need no gradient, still lead a good part of the way from where they ended.
    """

    def lead(x: torch.Tensor) -> torch.Tensor:
        asked = [margin(oracle.logits(x).double(), points.y) for _ in range(eot)]
        return torch.stack(asked).mean(0)

    clean, ended = lead(points.x), lead(reached)
    differences = DifferencesOracle(oracle.module, oracle.draws, oracle.width)
    slope = differences.gradient(reached, lambda logits: margin(logits, points.y))[2]
    there = along(reached, slope, _SHARE * points.eps, points.norm)
    gained = lead(Region(points).inside(there)) - ended
    away = clean.abs()
    still: NDArray[np.bool_] = (
        ((ended - clean <= _MOVED * away) | (gained > _LEFT * away)).cpu().numpy()
    )
    return still


def settling_cost(eot: int) -> int:
    """Returns the passes of each sample that `unsettled` makes."""
    return 3 * eot + 2 * DifferencesOracle.directions + 1
