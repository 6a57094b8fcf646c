"""A grid of 8 eps from one search, beside a search for each eps alone, on the bundled models.

    python benchmarks/robustness_curve.py [--cases mlp:linf:100,...] [--threads 1]

A case is MODEL:NORM:SAMPLES. Cost is counted (forward and backward passes of all samples) and
timed (the processor's seconds). The last table sets the time of the dearest search beside that of
the same number of passes in a bare loop, in batches of all samples.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from _attacked import Bundled, images, ours
from _report import publish, table
from torch import nn

from crucibench.contracts.records import Records
from crucibench_suites.adversarial.protocol import STANDARD
from crucibench_suites.adversarial.scenario import Standard
from crucibench_suites.adversarial.threat import Norm, ThreatModel

GRID: dict[Norm, tuple[float, ...]] = {
    "linf": (0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3),
    "l2": (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5),
}

CASES = "mlp:linf:100,mlp:l2:100,cnn:linf:30,cnn-adversarial:linf:20"


def search(
    model: nn.Module, x: torch.Tensor, y: np.ndarray, norm: Norm, grid: tuple[float, ...]
) -> tuple[np.ndarray, int, int, float]:
    """Returns levels, forwards, backwards and the processor's seconds of one search."""
    scenario = Standard.of("adversarial", ThreatModel(norm=norm, eps=grid, **STANDARD.budget()))
    start = time.process_time()
    level, stages = ours(scenario, model, x, y)
    took = time.process_time() - start
    return level, _total(stages, "forwards"), _total(stages, "backwards"), took


def _total(stages: dict[str, Records], column: str) -> int:
    return sum(int(records.array(column).sum()) for records in stages.values())


def bare(model: nn.Module, x: torch.Tensor, forwards: int, backwards: int) -> float:
    """Returns the seconds of so many passes of single samples, made in batches of `x`."""
    model.requires_grad_(False)
    model(x)
    times = []
    for gradient in (False, True):
        start, rounds = time.process_time(), 0
        while time.process_time() - start < 1:
            asked = x.clone().requires_grad_(gradient)
            with torch.set_grad_enabled(gradient):
                logits = model(asked)
            if gradient:
                torch.autograd.grad(logits.sum(), asked)
            rounds += 1
        times.append((time.process_time() - start) / rounds / len(x))
    return (forwards - backwards) * times[0] + backwards * times[1]


def main() -> None:
    """Measures, prints and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    points, costs, loops = [], [], []
    for case in args.cases.split(","):
        name, norm, samples = case.split(":")
        model = Bundled(name).eval()
        x, y = images(name, int(samples))
        grid = GRID[norm]
        level, forwards, backwards, took = search(model, x, y, norm, grid)
        alone = [search(model, x, y, norm, (eps,)) for eps in grid]
        for at, (eps, (single, *_)) in enumerate(zip(grid, alone, strict=True)):
            curve, own = 100 * float((level > at).mean()), 100 * float((single > 0).mean())
            points.append([name, norm, eps, f"{curve:.2f}", f"{own:.2f}", f"{curve - own:+.2f}"])
        passes, longest = max(f + b for _, f, b, _ in alone), max(t for *_, t in alone)
        every = sum(t for *_, t in alone)
        costs.append(
            [name, norm, samples, f"{forwards + backwards:,}", f"{passes:,}",
             f"{(forwards + backwards) / passes:.2f}", f"{took / longest:.2f}",
             f"{every / longest:.2f}"]
        )  # fmt: skip
        loop = bare(model, x, forwards, backwards)
        loops.append([name, norm, f"{took:.2f}", f"{loop:.2f}", f"{took / loop:.2f}"])
        print(*costs[-1], *loops[-1], flush=True)
        publish(
            "robustness-curve",
            "Robust accuracy over 8 eps from one search",
            [
                f"AutoAttack standard, bundled models, {args.threads} thread(s), seconds of the "
                "processor. Passes are forwards and backwards of single samples; the budget is 1.5 "
                "times the dearest single eps.",
                "",
                *table(("model", "norm", "samples", "passes of the grid", "of the dearest eps",
                        "ratio", "ratio of times", "8 searches, ratio of times"), costs),
                "",
                "Robust accuracy at each eps, from the grid and from a search for it alone:",
                "",
                *table(("model", "norm", "eps", "grid %", "alone %", "difference"), points),
                "",
                "The search of the grid beside a bare loop of as many passes, in one batch size:",
                "",
                *table(("model", "norm", "s", "bare loop's s", "ratio"), loops),
            ],
            "torch",
        )  # fmt: skip


if __name__ == "__main__":
    main()
