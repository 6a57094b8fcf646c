"""A grid of 8 eps from one search, beside a search for each eps alone, on the bundled models.

    python benchmarks/robustness_curve.py [--cases mlp:linf:100,...] [--threads 1]

A case is MODEL:NORM:SAMPLES. Cost is counted (forward and backward passes of all samples) and
timed (the processor's seconds). The last table sets the time of the grid's search beside that of
the same passes in a loop that does nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from _attacked import Bundled, images, ours
from _passes import Recorded, bare, seconds
from _report import publish, table
from torch import nn

from crucibench.contracts.attack import Norm
from crucibench.contracts.records import Records
from crucibench_suites.adversarial.protocol import STANDARD
from crucibench_suites.adversarial.scenario import Standard
from crucibench_suites.adversarial.threat import ThreatModel

GRID: dict[Norm, tuple[float, ...]] = {
    "linf": (0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3),
    "l2": (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5),
}

CASES = "mlp:linf:60,mlp:l2:60,cnn:linf:24,cnn-adversarial:linf:24"

DEARER = 1.5
"""The budget: times the dearest single eps, at most."""
ABOVE = 0.2
"""The budget: points of robust accuracy above a separate search at the same eps, at most."""


def search(
    model: nn.Module, x: torch.Tensor, y: np.ndarray, norm: Norm, grid: tuple[float, ...]
) -> tuple[np.ndarray, int, int, float]:
    """Returns levels, forwards, backwards and the processor's seconds of one search."""
    scenario = Standard.of("adversarial", ThreatModel(norm=norm, eps=grid, **STANDARD.budget()))
    start = seconds()
    level, stages = ours(scenario, model, x, y)
    took = seconds() - start
    return level, _total(stages, "forwards"), _total(stages, "backwards"), took


def _total(stages: dict[str, Records], column: str) -> int:
    return sum(int(records.array(column).sum()) for records in stages.values())


def budgets(costs: Sequence[Sequence[object]], points: Sequence[Sequence[object]]) -> str:
    """Returns a sentence on what was to be reached, and in how many cases it was."""
    cheap = sum(float(str(row[5])) <= DEARER for row in costs)
    low = sum(float(str(row[-1])) <= ABOVE for row in points)
    return (
        f"Budget: at most {DEARER:g} times the passes of the dearest single eps, met in {cheap} of "
        f"{len(costs)} cases; at each eps at most {ABOVE} points above a search for it alone, met "
        f"at {low} of {len(points)}."
    )


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
        recorded = Recorded(model)
        level, forwards, backwards, took = search(recorded, x, y, norm, grid)
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
        loop = bare(model, x, recorded.asked)
        loops.append([name, norm, f"{took:.2f}", f"{loop:.2f}", f"{took / loop:.2f}"])
        print(*costs[-1], *loops[-1], flush=True)
        publish(
            "robustness-curve",
            "Robust accuracy over 8 eps from one search",
            [
                f"AutoAttack standard, bundled models, {args.threads} thread(s), seconds of the "
                "processor. Passes are forwards and backwards of single samples.",
                "",
                budgets(costs, points),
                "",
                *table(("model", "norm", "samples", "passes of the grid", "of the dearest eps",
                        "ratio", "ratio of times", "8 searches, ratio of times"), costs),
                "",
                "Robust accuracy at each eps, from the grid and from a search for it alone:",
                "",
                *table(("model", "norm", "eps", "grid %", "alone %", "difference"), points),
                "",
                "The search of the grid beside the same passes, in the same sizes, in a loop that "
                "does nothing else. A pass of the MLP costs less than handling its input.",
                "",
                *table(("model", "norm", "s", "bare loop's s", "ratio"), loops),
            ],
            "torch",
        )  # fmt: skip


if __name__ == "__main__":
    main()
