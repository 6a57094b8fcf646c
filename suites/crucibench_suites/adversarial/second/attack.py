"""The attack of the second opinion: ascents by several gradients, from where each has come to."""

from __future__ import annotations

from collections.abc import Sequence

from typing import Any
import numpy as np
import torch
from numpy.typing import NDArray

from crucibench_suites.adversarial.attacks.apgd import apgd, apgd_targeted
from crucibench_suites.adversarial.attacks.losses import dlr, log_odds, margin
from crucibench_suites.adversarial.attacks.model import (
    Counting,
    Found,
    ImagePoints,
    ModuleOracle,
    Region,
    along,
)
from crucibench_suites.adversarial.second.standins import DifferencesOracle, SmoothedOracle, stand_ins

_LEFT = 0.1
"""Of the way to the boundary: what differences may still gain where gradients have ended."""

_MOVED = 1e-3
_LONGEST = 100
"""Steps of a run."""

_RUNS = ((0, 0.3), (4, 0.7))
"""Without a target, and towards the likeliest other classes: with their share of the steps."""

_USEFUL = 0.5
"""Of what the best gradient gains with a step, what another must to be followed as well."""

import os
_NEAR = float(os.environ.get('NEAR','.4'))
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
        steps: gradients of each sample, of all ascents by them.
        queries: passes of each sample for the ascent by differences.
        eot: gradients averaged in each step, of stand-ins whose gradients vary.
        start: where the first ascent begins; at random if None.
    """
    module = oracle.module._model if isinstance(oracle.module, Counting) else oracle.module
    bare = ModuleOracle(module, oracle.draws, oracle.width)
    found = Found(points)
    best = torch.full_like(points.eps, -torch.inf)
    found.reached = points.x.clone()

    def ascend(
        by: ModuleOracle,
        name: str,
        rows: torch.Tensor,
        *,
        steps: int,
        begin: torch.Tensor | None = None,
        targets: int = 0,
        asks: int = 0,
        times: int = 1,
        target: torch.Tensor | None = None,
        loss: Any = dlr,
    ) -> None:
        steps //= times
        if not len(rows) or steps < 1:
            return
        mine = points.take(rows)
        names = f"second-opinion/{name}"
        if targets:
            one = apgd_targeted(by, mine, steps=steps, targets=targets, eot=times, name=names)
        else:
            given = None if begin is None else begin[rows]
            one = apgd(by, mine, loss, steps=steps, eot=times, name=names, start=given, target=None if target is None else target[rows])
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

    oracles = stand_ins(bare, points.x.shape[1:])
    clean = margin(bare.logits(points.x), points.y)
    leads = _first_steps(oracles, points, found)
    useful = leads >= _USEFUL * leads.max(dim=0, keepdim=True).values.clamp(min=0)
    # The model's own gradient has had its turn before.
    useful[0] &= ~useful[1:].any(dim=0)
    counts = useful.sum(dim=0)
    for number, by in enumerate(oracles):
        for count in range(1, len(oracles) + 1):
            mine, room = useful[number] & (counts == count), steps // count
            for targets, share in _RUNS:
                ascend(
                    by, f"{number}/{targets}", (mine & ~found.broken).nonzero()[:, 0],
                    steps=min(int(share * room) // max(targets, 1), _LONGEST),
                    begin=start if number == 0 else None, targets=targets,
                    times=eot if by.varies else 1,
                )  # fmt: skip
    import os
    R,ST=int(os.environ.get('R','12')),int(os.environ.get('ST','16'))
    still = best - clean <= _MOVED * clean.abs()
    for number, by in enumerate(oracles):
        for radius in points.eps.unique():
            for restart in range(R):
                loss = (dlr, log_odds, dlr)[restart % 3]
                tt = None
                if restart % 3 == 2:
                    with torch.no_grad(): ranked = by.scored(points.x)[1].argsort(dim=1, descending=True)
                    ranked = ranked[ranked != points.y[:, None]].view(len(points), -1)
                    tt = ranked[:, (restart // 3) % ranked.shape[1]]
                near = best >= -_NEAR * (1 - restart / R) * clean.abs()
                rows = ((near & by.rough | still) & useful[number] & ~found.broken & (points.eps == radius)).nonzero()[:, 0]
                one = SmoothedOracle(module, oracle.draws, oracle.width, inner=by, size=float(radius)*float(os.environ.get('SIG','1')))
                ascend(one, f"{number}/near/{restart}", rows, steps=ST, times=eot if by.varies else 1, target=tt, loss=loss)
    differences = DifferencesOracle(module, oracle.draws, oracle.width)
    asks = 2 * differences.directions
    ascend(
        differences, "differences", found.open, steps=queries // (asks + 1),
        begin=found.reached, asks=asks, times=eot,
    )  # fmt: skip
    return found


def _first_steps(
    oracles: Sequence[ModuleOracle], points: ImagePoints, found: Found
) -> torch.Tensor:
    """Returns what the margin gains by a step along each gradient, shape (oracles, m).

    Which gradient leads anywhere is a matter of each sample: the others are spared its steps.
    """

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return margin(logits, points.y)

    everyone = torch.arange(len(points), device=points.x.device)
    gains, clean = [], loss(oracles[0].logits(points.x))
    for oracle in oracles:
        slope = oracle.gradient(points.x, loss)[2]
        there = along(points.x, slope, _SHARE * points.eps, points.norm)
        gains.append(loss(oracle.logits(there)) - clean)
    found.cost(everyone, forwards=2 * len(oracles) + 1, backwards=len(oracles))
    return torch.stack(gains)


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
