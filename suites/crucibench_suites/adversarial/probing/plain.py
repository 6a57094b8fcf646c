"""What every probed sample is asked: is the model a differentiable function of its input?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks.losses import log_odds
from crucibench_suites.adversarial.attacks.model import Points
from crucibench_suites.adversarial.probing.asking import Asker, Slope
from crucibench_suites.adversarial.probing.costs import NEAR_DRAWS, SCALES
from crucibench_suites.adversarial.probing.inner import computes_gradients
from crucibench_suites.adversarial.probing.points import along, noise

Arrays = dict[str, NDArray[np.generic]]

_FLOAT32, _BFLOAT16 = 2.0**-20, 2.0**-7
"""What logits resolve, relative to the largest: a few last digits, with what sums have lost."""


class Near(NamedTuple):
    """What later probes go on from.

    Attributes:
        logits: of the samples as they are, (n, K).
        gradient: of their loss, (n, C, H, W).
    """

    logits: torch.Tensor
    gradient: torch.Tensor


def probe_plainly(
    asker: Asker, draws: Draws, points: Points, falls: NDArray[np.bool_]
) -> tuple[Arrays, Near]:
    """Asks about all samples of a batch.

    Args:
        asker: the model.
        draws: keyed by sample.
        points: at radii that they withstand, or else at the smallest of the grid.
        falls: whether `points.eps` is a radius that each falls at.
    """
    x, y, eps = points.x, points.y, points.eps
    rows = np.arange(len(points))

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return log_odds(logits, y)

    first, again = asker.slope(x, rows, loss), asker.slope(x, rows, loss)
    beside = asker.slope(
        noise(draws, points.ids, x, eps=eps, norm=points.norm, step="probe/noise/0"), rows, loss
    )
    stepped = along(x, first.gradient, eps, points.norm)
    asker.forwards[rows] += 1
    after, inner = computes_gradients(asker.module, stepped)
    odd = asker.logits(
        noise(draws, points.ids, x, eps=torch.ones_like(eps), norm="linf", step="probe/odd"), rows
    )
    columns: Arrays = {
        "classes": np.full(len(points), first.logits.shape[1], dtype=np.int64),
        "inner_gradients": np.full(len(points), inner),
        "step_breaks": _wrong(after, y),
        **_answers(first, again, y),
        **_gradients(first, again, beside),
        **_first_logits(first=first.logits, noise=beside.logits, step=after, odd=odd),
        **_differences(asker, draws, points, first),
        **_falling(asker, draws, points, falls),
    }
    return columns, Near(first.logits, first.gradient)


def _answers(first: Slope, again: Slope, y: torch.Tensor) -> Arrays:
    logits = first.logits.double()
    best = logits.topk(2, dim=1).values
    scale = logits.abs().amax(1).clamp(min=1e-30)
    coarse = (first.logits.to(torch.bfloat16).to(first.logits) == first.logits).all(1)
    half = (first.logits.to(torch.float16).to(first.logits) == first.logits).all(1)
    resolution = scale * torch.where(coarse | half, _BFLOAT16, _FLOAT32)
    simplex = (logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < 1e-3)
    return {
        "lead": _numbers(best[:, 0] - best[:, 1]),
        "resolution": _numbers(resolution),
        "coarse": (coarse | half).cpu().numpy(),
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


def _differences(asker: Asker, draws: Draws, points: Points, first: Slope) -> Arrays:
    """Changes of the loss, as its gradient says and as they are, along it and at random."""
    x, y = points.x, points.y
    rows = np.arange(len(points))
    gradient = first.gradient.double()
    found: Arrays = {}

    def change(name: str, there: torch.Tensor) -> None:
        logits = asker.logits(there, rows)
        expected = (gradient * (there.double() - x.double())).flatten(1).sum(1)
        found[f"{name}_expected"] = _numbers(expected)
        found[f"{name}_seen"] = _numbers(log_odds(logits.double(), y) - first.loss)
        found[f"{name}_still"] = (logits == first.logits).all(1).cpu().numpy()

    for name, size in zip(("fine", "grey", "wide"), SCALES, strict=True):
        change(name, along(x, gradient.float(), torch.full_like(points.eps, size), "linf"))
    coarse = torch.full_like(points.eps, SCALES[-1])
    change("random", noise(draws, points.ids, x, eps=coarse, norm="linf", step="probe/direction"))
    return found


def _falling(asker: Asker, draws: Draws, points: Points, falls: NDArray[np.bool_]) -> Arrays:
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
            broken[rows] += _wrong(asker.logits(there, rows), mine.y)
    return {"noise_breaks_too": broken}


def _wrong(logits: torch.Tensor, y: torch.Tensor) -> NDArray[np.bool_]:
    wrong: NDArray[np.bool_] = (logits.argmax(1) != y).cpu().numpy()
    return wrong


def _numbers(tensor: torch.Tensor) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = tensor.cpu().double().numpy()
    return numbers
