"""Latency of the same models by the throughput suite, torch.utils.benchmark and timm's formula.

In turns in one process, with one thread: a small convolution network and a larger linear one.
timm's `benchmark.py` divides the sum of synchronised steps by their number, after ten steps of
warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from _report import load, publish, table
from torch import nn
from torch.utils import benchmark

from crucibench_suites.throughput.clock import SystemClock
from crucibench_suites.throughput.loops import closed_loop

Ask = Callable[[object], object]
_WARM_UP = 10


class ProcessorClock(SystemClock):
    """Processor time of this process: what other processes take does not count."""

    now = staticmethod(time.process_time_ns)


def ours(ask: Ask, seconds: float, clock: SystemClock) -> float:
    """Returns the median latency in s."""
    timed = closed_loop(ask, [None] * 64, clock, seconds=seconds, most=10**6)
    return float(statistics.median(timed.seconds))


def our_mean(ask: Ask, seconds: float, clock: SystemClock) -> float:
    """Returns the mean latency in s."""
    timed = closed_loop(ask, [None] * 64, clock, seconds=seconds, most=10**6)
    return float(statistics.fmean(timed.seconds))


def of_torch(ask: Ask, seconds: float, clock: SystemClock) -> float:
    """Returns the median of torch.utils.benchmark in s: of the means of its blocks of calls."""
    timer = benchmark.Timer(
        "ask(None)", globals={"ask": ask}, num_threads=1, timer=lambda: clock.now() * 1e-9
    )
    return float(timer.blocked_autorange(min_run_time=seconds).median)


def of_timm(ask: Ask, seconds: float, clock: SystemClock) -> float:
    """Returns timm's mean step in s."""
    for _ in range(_WARM_UP):
        ask(None)
    steps: list[float] = []
    end = clock.now() + seconds * 1e9
    while clock.now() < end:
        begun = clock.now()
        ask(None)
        steps.append((clock.now() - begun) * 1e-9)
    return statistics.fmean(steps)


PEERS = {
    "crucibench, median": ours,
    "crucibench, mean": our_mean,
    "torch.utils.benchmark, median": of_torch,
    "timm's formula, mean": of_timm,
}


def models() -> dict[str, Ask]:
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10)
    ).eval()  # fmt: skip
    large = nn.Sequential(nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 1024)).eval()
    asked = {"convolution, 1 x 8 x 8": (small, torch.randn(1, 1, 8, 8)),
             "two linear layers, 8 x 1024": (large, torch.randn(8, 1024))}  # fmt: skip

    def asking(module: nn.Module, inputs: torch.Tensor) -> Ask:
        return torch.inference_mode()(lambda query: module(inputs))

    return {name: asking(*pair) for name, pair in asked.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each turn")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    options = parser.parse_args()
    clock = ProcessorClock() if options.clock == "processor" else SystemClock()
    torch.set_num_threads(1)
    rows = []
    for model, ask in models().items():
        found: dict[str, list[float]] = {name: [] for name in PEERS}
        for _ in range(options.rounds):
            for name, peer in PEERS.items():
                found[name].append(peer(ask, options.seconds, clock))
        own = found["crucibench, median"]
        for name, values in found.items():
            ratios = sorted(value / one for value, one in zip(values, own, strict=True))
            rows.append(
                [model, name, f"{1e3 * statistics.median(values):.4g} ms",
                 f"{1e3 * min(values):.4g} ms",
                 f"{statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]"]
            )  # fmt: skip
    publish(
        "timing-peers",
        "Latency by three tools, in turns",
        [
            f"{options.rounds} rounds of {options.seconds:g} s for each tool and model, one "
            "thread, in turns; the ratio's bounds are its least and greatest round. timm itself is "
            f"not run: its formula is. All read {options.clock} time. {load()}",
            "",
            *table(
                ["model", "by", "latency, median of rounds", "least round", "times ours, by round"],
                rows,
            ),
        ],
        "torch",
    )  # fmt: skip


if __name__ == "__main__":
    main()
