"""The attack of the second opinion: ascents by several gradients, from where each has come to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench_suites.adversarial.attacks.apgd import apgd, apgd_targeted
from crucibench_suites.adversarial.attacks.losses import dlr, log_odds, margin
from crucibench_suites.adversarial.attacks.model import (
    Counting,
    Found,
    ImagePoints,
    Loss,
    ModuleOracle,
    Region,
    along,
    runners_up,
)
from crucibench_suites.adversarial.second.standins import (
    DifferencesOracle,
    RewiredOracle,
    SmoothedOracle,
    StandIn,
    stand_ins,
)
from crucibench_suites.adversarial.threat import ORDERS

_LEFT = 0.1
"""Of the way to the boundary: what differences may still gain where gradients have ended."""

_MOVED = 1e-3
_LONGEST = 100
"""Steps of a run."""

_RUNS = ((0, 0.3), (4, 0.7))
"""Without a target, and towards the likeliest other classes: with their share of the steps."""

_USEFUL = 0.5
"""Of what the best gradient gains with a step, what another must to be followed as well."""

_RESTARTS, _RESTART_STEPS = 9, 16
"""Of ascents by smoothed gradients."""

_NEAR = 0.35
"""Of the way to the boundary: what a sample may lack to begin anew; with each restart less."""

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
        steps: gradients of each sample, of ascents that all samples have.
        queries: passes of each sample for the ascent by differences.
        eot: gradients averaged in each step, of stand-ins whose gradients vary.
        start: where the first ascent begins; at random if None.
    """
    module = oracle.module._model if isinstance(oracle.module, Counting) else oracle.module
    bare = ModuleOracle(module, oracle.draws, oracle.width)
    oracles = stand_ins(bare, points.x.shape[1:])
    opinion = _Opinion(bare, points, eot)
    found = opinion.found
    useful = opinion.useful(oracles)
    counts = useful.sum(dim=0)
    for number, by in enumerate(oracles):
        for count in range(1, len(oracles) + 1):
            mine, room = useful[number] & (counts == count), steps // count
            for targets, share in _RUNS:
                opinion.ascend(
                    by, f"{number}/{targets}", (mine & ~found.broken).nonzero()[:, 0],
                    steps=min(int(share * room) // max(targets, 1), _LONGEST),
                    begin=start if number == 0 else None, targets=targets,
                )  # fmt: skip
    for number, by in enumerate(oracles):
        opinion.begin_anew(by, f"{number}/anew", useful[number])
    differences = DifferencesOracle(module, oracle.draws, oracle.width, varies=True)
    opinion.ascend(
        differences, "differences", found.open, steps=queries // (differences.extra[0] + 1),
        begin=found.reached,
    )  # fmt: skip
    return found


class _Opinion:
    """What has been found, and how near each sample has come."""

    def __init__(self, bare: ModuleOracle, points: ImagePoints, eot: int) -> None:
        self._bare, self._points, self._eot = bare, points, eot
        self.found = Found(points)
        self._best = torch.full_like(points.eps, -torch.inf)
        self._clean = margin(bare.logits(points.x), points.y).to(self._best)

    def useful(self, oracles: Sequence[StandIn]) -> torch.Tensor:
        """Returns by which gradients a step gains about as much as by the best, (oracles, m).

        Which leads anywhere is a matter of each sample: the others are spared its steps.
        """
        points, y = self._points, self._points.y
        gains = []
        for oracle in oracles:
            slope = oracle.gradient(points.x, lambda logits: margin(logits, y))[2]
            there = along(points.x, slope, _SHARE * points.eps, points.norm)
            gains.append(margin(oracle.logits(there), y) - self._clean)
        everyone = torch.arange(len(points), device=points.x.device)
        self.found.cost(everyone, forwards=2 * len(oracles) + 1, backwards=len(oracles))
        leads = torch.stack(gains)
        found = leads >= _USEFUL * leads.max(dim=0, keepdim=True).values.clamp(min=0)
        # The model's own gradient has had its turn before.
        found[0] &= ~found[1:].any(dim=0)
        return found

    def ascend(
        self,
        by: StandIn,
        name: str,
        rows: torch.Tensor,
        *,
        steps: int,
        loss: Loss = dlr,
        begin: torch.Tensor | None = None,
        targets: int = 0,
        rank: int | None = None,
    ) -> None:
        """Goes up from `begin`, towards so many `targets` at once or the one of a `rank`."""
        times = self._eot if by.varies else 1
        steps //= times
        if not len(rows) or steps < 1:
            return
        found, mine = self.found, self._points.take(rows)
        name = f"second-opinion/{name}"
        if targets:
            one = apgd_targeted(by, mine, steps=steps, targets=targets, eot=times, name=name)
        else:
            target = None
            if rank is not None:
                others = runners_up(by, mine, Found(mine))
                target = others[:, rank % others.shape[1]]
            given = None if begin is None else begin[rows]
            one = apgd(
                by, mine, loss, steps=steps, eot=times, name=name, start=given, target=target
            )
        cells, (forwards, backwards) = rows.cpu().numpy(), by.extra
        found.forwards[cells] += one.forwards + forwards * one.backwards + 1 + (rank is not None)
        found.backwards[cells] += (1 + backwards) * one.backwards
        if one.broken.any():
            found.put(rows[one.broken], one.adversarial[one.broken])
        lead = margin(self._bare.logits(one.reached), mine.y)
        better = ~one.broken & (lead > self._best[rows])
        self._best[rows[better]] = lead[better].to(self._best)
        found.reached[rows[better]] = one.reached[better]

    def begin_anew(self, by: RewiredOracle, name: str, useful: torch.Tensor) -> None:
        """Goes up by smoothed gradients from elsewhere, where luck decides.

        That is where nothing has come nearer to the boundary than the sample is; and, by gradients
        that say little of the steps ahead, for samples that have come near it.
        """
        eps, size = self._points.eps, self._clean.abs()
        still = self._best - self._clean <= _MOVED * size
        pixels = self._points.x[0].numel() ** (1 / ORDERS[self._points.norm])
        for radius in sorted(set(eps.tolist())):
            for restart in range(_RESTARTS):
                near = self._best >= -_NEAR * (1 - restart / _RESTARTS) * size
                chosen = useful & ((near & by.rough) | still) & (eps == radius)
                rank, aimed = divmod(restart, len(_LOSSES))
                smoothed = SmoothedOracle(
                    by.module, by.draws, by.width, by.varies, inner=by, size=radius / pixels
                )
                self.ascend(
                    smoothed, f"{name}/{restart}", (chosen & ~self.found.broken).nonzero()[:, 0],
                    steps=_RESTART_STEPS, loss=_LOSSES[aimed], rank=None if aimed else rank,
                )  # fmt: skip


_LOSSES: tuple[Loss, ...] = (dlr, dlr, log_odds)
"""Of restarts in turn: the first of them towards a target."""


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
