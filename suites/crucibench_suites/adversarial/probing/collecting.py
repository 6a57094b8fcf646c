"""Asks the model, after the attacks, what the audits need to know: the probe stage's records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.attack import Norm
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks.apgd import apgd
from crucibench_suites.adversarial.attacks.losses import log_odds
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    ModuleOracle,
    Region,
    along,
    by_sample,
    device_of,
    frozen,
    unit,
)
from crucibench_suites.adversarial.probing.choosing import (
    LATE_DRAWS,
    NEAR_DRAWS,
    NOISE_DRAWS,
    PLANTED_STEPS,
    SCALES,
    UNBOUNDED_STEPS,
)
from crucibench_suites.adversarial.threat import ORDERS, ThreatModel

_INSIDE = 1 - 1e-6
"""By how much radii are shrunk: what float32 makes of them is within what was asked for."""


def probe_batch(threat: ThreatModel, work: Work, context: MapContext) -> Arrays:
    """Returns what was asked about the samples of a batch, with forwards and backwards.

    Args:
        threat: of the attacks.
        work: carries `level`, and whether each sample is probed `deep`.
        context: the model and the draws.
    """
    module = context.adapter.module()
    draws = context.draws
    draws = draws if threat.seed is None else Draws(threat.seed, draws.stream)
    level = work.carry["level"].astype(np.int64)
    grid = np.asarray(threat.eps, dtype=np.float64)
    # The largest radius that a sample withstands, else the smallest there is.
    at = np.maximum(level - 1, min(int((grid == 0).sum()), len(grid) - 1))
    device = device_of(module)
    points = ImagePoints(
        x=work.batch.inputs.to(device),
        y=torch.from_numpy(work.samples.targets.astype(np.int64)).to(device),
        eps=torch.from_numpy((_INSIDE * grid[at]).astype(np.float32)).to(device),
        ids=work.batch.ids,
        norm=threat.norm,
    )
    counted = CountedModule(module, len(points))
    with frozen(module):
        columns, logits = probe_plainly(counted, draws, points, level <= at)
        deep = np.flatnonzero(work.carry["deep"])
        found = probe_deeply(
            counted,
            ModuleOracle(module, draws),
            points,
            rows=deep,
            logits=logits,
            threat=threat,
        )
    return {
        **columns,
        **found,
        "forwards": counted.forwards,
        "backwards": counted.backwards,
    }


@dataclass(frozen=True)
class Slope:
    """A loss and its gradient.

    Attributes:
        logits: shape (m, K).
        loss: float64, shape (m,).
        gradient: shape (m, C, H, W), not finite where the model's is not; 0 without a graph.
    """

    logits: torch.Tensor
    loss: torch.Tensor
    gradient: torch.Tensor


class CountedModule:
    """A module that is asked about samples of a batch, and counts passes by their rows."""

    def __init__(self, module: torch.nn.Module, samples: int) -> None:
        self.module = module
        self.forwards: NDArray[np.int64] = np.zeros(samples, dtype=np.int64)
        self.backwards: NDArray[np.int64] = np.zeros(samples, dtype=np.int64)

    def logits(self, x: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
        """Returns logits (m, K), without a graph."""
        self.forwards[rows] += 1
        with torch.no_grad():
            answer: torch.Tensor = self.module(x)
        return answer

    def slope(
        self,
        x: torch.Tensor,
        rows: NDArray[np.int64],
        loss: Callable[[torch.Tensor], torch.Tensor],
    ) -> Slope:
        """Returns the loss of logits at `x`, and its gradient."""
        self.forwards[rows] += 1
        self.backwards[rows] += 1
        asked = x.detach().requires_grad_()
        with torch.enable_grad():
            logits: torch.Tensor = self.module(asked)
            losses = loss(logits.double())
            gradient = torch.zeros_like(x)
            if losses.requires_grad:
                # None where the answer does not hang on the input, which torch's types leave out.
                found: torch.Tensor | None
                (found,) = torch.autograd.grad(losses.sum(), asked, allow_unused=True)
                if found is not None:
                    gradient = found
        return Slope(logits.detach(), losses.detach(), gradient)


def noise(
    draws: Draws, ids: Sequence[str], x: torch.Tensor, *, eps: torch.Tensor, norm: Norm, step: str
) -> torch.Tensor:
    """Returns a random corner of each Linf ball, or a random point on each L2 or L1 sphere."""
    shape = x.shape[1:]
    if norm == "linf":
        drawn = torch.from_numpy(draws.uniform(ids, step, shape)).to(x.device)
        direction = torch.where(drawn < 0.5, -1.0, 1.0)
    else:
        direction = unit(torch.from_numpy(draws.normal(ids, step, shape)).to(x.device), norm)
    return (x + direction * by_sample(eps)).clamp(0, 1)


def computes_gradients(module: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Returns logits (m, K) without a graph, and whether a gradient was computed on the way.

    What a backward pass reads was saved in the forward pass, and torch tells when it is unpacked;
    so any way to a gradient is seen, but for a forward pass without anything saved. Transforms
    (`torch.func.grad`) refuse to run while they are watched, which tells as much.
    """
    unpacked = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal unpacked
        unpacked += 1
        return tensor

    with torch.no_grad():
        try:
            with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
                logits: torch.Tensor = module(x)
        except RuntimeError as error:
            if "saved tensor hooks" not in str(error):
                raise
            return module(x), True
    return logits, unpacked > 0


Arrays = dict[str, NDArray[np.generic]]

_FLOAT32, _BFLOAT16 = 2.0**-20, 2.0**-7
"""What logits resolve, relative to the largest: a few last digits, with what sums have lost."""

_SPREAD = 30.0
"""Between the largest and the least logit, as losses are asked about: the scale of logits, which
says nothing of robustness, then moves no probe."""


class Scaled:
    """The log-odds against the true class, of logits in one scale whatever the model's.

    Attributes:
        factor: what each sample's logits are multiplied by, (m, 1).
    """

    def __init__(self, y: torch.Tensor, logits: torch.Tensor) -> None:
        self._y, exact = y, logits.double()
        spread = exact.amax(1, keepdim=True) - exact.amin(1, keepdim=True)
        self.factor = _SPREAD / spread.clamp(min=1e-300)
        self.factor[~torch.isfinite(self.factor) | (spread == 0)] = 1.0

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        return log_odds(logits.double() * self.factor, self._y)

    def resolution(self, logits: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Returns what the loss resolves, (m,), where answers are `coarse` or not."""
        largest = (logits.double() * self.factor).abs().amax(1)
        return largest * torch.where(coarse, _BFLOAT16, _FLOAT32)


def probe_plainly(
    counted: CountedModule, draws: Draws, points: ImagePoints, falls: NDArray[np.bool_]
) -> tuple[Arrays, torch.Tensor]:
    """Asks about all samples of a batch.

    Args:
        counted: the model.
        draws: keyed by sample.
        points: at radii that they withstand, or else at the smallest of the grid.
        falls: whether `points.eps` is a radius that each falls at.
    """
    x, y, eps = points.x, points.y, points.eps
    rows = np.arange(len(points))
    loss = Scaled(y, counted.logits(x, rows))
    first, again = counted.slope(x, rows, loss), counted.slope(x, rows, loss)
    beside = counted.slope(
        noise(draws, points.ids, x, eps=eps, norm=points.norm, step="probe/noise/0"), rows, loss
    )
    stepped = along(x, first.gradient, eps, points.norm)
    counted.forwards[rows] += 1
    after, inner = computes_gradients(counted.module, stepped)
    odd = counted.logits(
        noise(draws, points.ids, x, eps=torch.ones_like(eps), norm="linf", step="probe/odd"), rows
    )
    columns: Arrays = {
        "inner_gradients": np.full(len(points), inner),
        "step_breaks": _wrong(after, y),
        **_answers(first, again, loss),
        **_gradients(first, again, beside),
        **_first_logits(first=first.logits, noise=beside.logits, step=after, odd=odd),
        "abstains": np.sum(
            [
                _level(logits).cpu().numpy().astype(np.int64)
                for logits in (first.logits, beside.logits, after)
            ],
            axis=0,
        ),
        **_differences(counted, draws, points, first, loss),
        **_falling(counted, draws, points, falls),
    }
    return columns, first.logits


def _level(logits: torch.Tensor) -> torch.Tensor:
    """Returns whether each sample's scores name no class before another, (m,)."""
    return logits.amax(1) == logits.amin(1)


def _coarse(logits: torch.Tensor) -> torch.Tensor:
    """Returns whether each sample's logits have no more digits than 16 bits, (m,).

    Multiplied by a constant they may have more: their ratios to the largest tell as well.
    """
    shares = logits / logits.abs().amax(1, keepdim=True).clamp(min=1e-30)
    found = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    for kind in (torch.bfloat16, torch.float16):
        for numbers in (logits, shares):
            found |= (numbers.to(kind).to(numbers) == numbers).all(1)
    return found


def _answers(first: Slope, again: Slope, loss: Scaled) -> Arrays:
    logits = first.logits.double()
    scale = logits.abs().amax(1).clamp(min=1e-30)
    coarse = _coarse(first.logits)
    simplex = (logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < 1e-3)
    return {
        "resolution": _numbers(loss.resolution(logits, coarse)),
        "coarse": coarse.cpu().numpy(),
        "simplex": simplex.cpu().numpy(),
        "answer_apart": _numbers((logits - again.logits.double()).abs().amax(1) / scale),
    }


def _gradients(first: Slope, again: Slope, beside: Slope) -> Arrays:
    size = first.gradient.double().flatten(1).norm(dim=1)
    apart = (first.gradient.double() - again.gradient.double()).flatten(1).norm(dim=1)
    pixels = first.gradient[0].numel()
    return {
        "pixels": np.full(len(size), pixels, dtype=np.int64),
        "loss": _numbers(first.loss),
        "gradient": _numbers(size),
        "gradient_beside": _numbers(beside.gradient.double().flatten(1).norm(dim=1)),
        "gradient_apart": _numbers(apart / size.clamp(min=1e-30)),
    }


def _first_logits(**answers: torch.Tensor) -> Arrays:
    """The first two logits, which tell whether different inputs get the same answer."""
    return {
        f"{name}_logit_{column}": _numbers(logits[:, column].double())
        for name, logits in answers.items()
        for column in (0, 1)
    }


def _differences(
    counted: CountedModule, draws: Draws, points: ImagePoints, first: Slope, loss: Scaled
) -> Arrays:
    """Changes of the loss, as its gradient says and as they are, along it and at random."""
    x = points.x
    rows = np.arange(len(points))
    gradient = first.gradient.double()
    found: Arrays = {}

    def change(name: str, there: torch.Tensor) -> None:
        logits = counted.logits(there, rows)
        expected = (gradient * (there.double() - x.double())).flatten(1).sum(1)
        found[f"{name}_expected"] = _numbers(expected)
        found[f"{name}_seen"] = _numbers(loss(logits) - first.loss)
        found[f"{name}_still"] = (logits == first.logits).all(1).cpu().numpy()

    for name, size in zip(("fine", "grey", "wide"), SCALES, strict=True):
        change(name, along(x, gradient.float(), torch.full_like(points.eps, size), "linf"))
    coarse = torch.full_like(points.eps, SCALES[-1])
    change("random", noise(draws, points.ids, x, eps=coarse, norm="linf", step="probe/direction"))
    return found


def _falling(
    counted: CountedModule, draws: Draws, points: ImagePoints, falls: NDArray[np.bool_]
) -> Arrays:
    """How many random points break samples at a radius that the attacks broke them at."""
    rows = np.flatnonzero(falls)
    broken = np.full(len(points), -1, dtype=np.int64)
    if len(rows):
        mine = points.take(torch.from_numpy(rows).to(points.x.device))
        broken[rows] = 0
        for draw in range(NEAR_DRAWS):
            there = noise(
                draws, mine.ids, mine.x, eps=mine.eps, norm=mine.norm, step=f"probe/noise/{draw}"
            )
            broken[rows] += _wrong(counted.logits(there, rows), mine.y)
    return {"noise_breaks_too": broken}


def _wrong(logits: torch.Tensor, y: torch.Tensor) -> NDArray[np.bool_]:
    wrong: NDArray[np.bool_] = (logits.argmax(1) != y).cpu().numpy()
    return wrong


def _numbers(tensor: torch.Tensor) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = tensor.cpu().double().numpy()
    return numbers


_NOT_ASKED = -1
_RESOLVED = 8.0
"""Changes of the loss that are smaller, in units of what it resolves, say nothing."""

_PLANTED_SHARE = 0.95
"""Of the way to the planted point, in logits, that must be covered."""


def probe_deeply(
    counted: CountedModule,
    oracle: ModuleOracle,
    points: ImagePoints,
    *,
    rows: NDArray[np.int64],
    logits: torch.Tensor,
    threat: ThreatModel,
) -> Arrays:
    """Asks about some samples of a batch, at radii that no attack broke them at.

    Args:
        counted: the model.
        oracle: the same, as attacks ask it.
        points: all samples of the batch.
        rows: of those that are asked about.
        logits: of all samples as they are, (n, K).
        threat: of the attacks.

    Returns:
        Columns of n rows: 1 or 0, or a count; -1 for those that were not asked about. And the
        changes of the loss beside where APGD ended, (n, LATE_DRAWS), NaN for these.
    """
    names = (
        "late_abstains",
        "noise_breaks",
        "planted",
        "planted_found",
        "longer_breaks",
        "unbounded_breaks",
    )
    columns: Arrays = {name: np.full(len(points), _NOT_ASKED, dtype=np.int64) for name in names}
    late: Arrays = {
        name: np.full((len(points), LATE_DRAWS), np.nan) for name in ("late_expected", "late_seen")
    }
    if not len(rows):
        return columns | late
    where = torch.from_numpy(rows).to(points.x.device)
    mine, clean = points.take(where), logits[where]
    broken = np.zeros(len(rows), dtype=np.int64)
    far, target = torch.zeros_like(mine.eps).double(), torch.zeros_like(clean).double()
    for draw in range(NOISE_DRAWS):
        there = noise(
            oracle.draws, mine.ids, mine.x, eps=mine.eps, norm=mine.norm,
            step=f"probe/noise/{draw}",
        )  # fmt: skip
        logits = counted.logits(there, rows)
        broken += (logits.argmax(1) != mine.y).cpu().numpy()
        moved = logits.double() - clean.double()
        size = moved.norm(dim=1)
        farther = size > far
        far = torch.where(farther, size, far)
        target = torch.where(farther[:, None], moved, target)
    columns["noise_breaks"][rows] = broken
    plantable = (far > 0) & torch.isfinite(far)
    columns["planted"][rows] = plantable.cpu().numpy()
    columns["planted_found"][rows] = _find(counted, oracle, mine, rows=rows, clean=clean, to=target)
    longer = apgd(
        oracle,
        mine,
        losses.log_odds if threat.eot == 1 else losses.ce,
        steps=2 * threat.steps,
        eot=threat.eot,
        name="probe/longer",
    )
    columns["longer_breaks"][rows] = _account(counted, longer, rows)
    late["late_expected"][rows], late["late_seen"][rows], columns["late_abstains"][rows] = _late(
        counted, oracle.draws, mine, longer.reached, rows
    )
    ball: Norm = "linf" if mine.norm == "linf" else "l2"
    radius = mine.x[0].numel() ** (1 / ORDERS[ball])  # of the whole box
    everywhere = replace(mine, eps=torch.full_like(mine.eps, radius), norm=ball)
    unbounded = apgd(
        oracle, everywhere, losses.log_odds, steps=UNBOUNDED_STEPS, name="probe/unbounded",
        start=mine.x,
    )  # fmt: skip
    columns["unbounded_breaks"][rows] = _account(counted, unbounded, rows)
    return columns | late


def _late(
    counted: CountedModule,
    draws: Draws,
    points: ImagePoints,
    there: torch.Tensor,
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Returns changes of the loss beside where an attack ended, as its gradient says and as seen,
    and whether the model abstains there or beside.

    Gradients may be right beside the samples and wrong where it matters. What the loss does not
    resolve is NaN.
    """
    logits = counted.logits(there, rows)
    loss = Scaled(points.y, logits)
    slope = counted.slope(there, rows, loss)
    coarse = _coarse(logits)
    least = _RESOLVED * loss.resolution(logits, coarse)
    size = torch.where(coarse, SCALES[-1], SCALES[1]).to(points.eps)
    expected, seen, level = [], [], _level(logits)
    for draw in range(LATE_DRAWS):
        beside = noise(
            draws, points.ids, there, eps=size, norm="linf", step=f"probe/late/{draw}"
        )  # fmt: skip
        answer = counted.logits(beside, rows)
        level |= _level(answer)
        change = loss(answer) - slope.loss
        linear = (slope.gradient.double() * (beside.double() - there.double())).flatten(1).sum(1)
        clear = torch.maximum(change.abs(), linear.abs()) >= least
        expected.append(torch.where(clear, linear, torch.nan))
        seen.append(torch.where(clear, change, torch.nan))
    told_so: NDArray[np.int64] = level.cpu().numpy().astype(np.int64)
    return _numbers(torch.stack(expected, 1)), _numbers(torch.stack(seen, 1)), told_so


def _account(counted: CountedModule, found: Found, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    counted.forwards[rows] += found.forwards
    counted.backwards[rows] += found.backwards
    broken: NDArray[np.bool_] = found.broken.cpu().numpy()
    return broken


def _find(
    counted: CountedModule,
    oracle: ModuleOracle,
    points: ImagePoints,
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
            reached = covered(counted.logits(x, rows[where]).double())
        else:
            slope = counted.slope(x, rows[where], covered)
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
