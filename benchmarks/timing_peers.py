"""Latency of the same models by the throughput suite, torch.utils.benchmark and timm's benchmark.

In turns in one process, with one thread: a small convolution network, a larger linear one and,
where timm is installed (`make vision`, then with the Python of that environment), a model of timm.

timm's benchmark is a script that its wheel does not hold. With ``--timm-script FILE`` (benchmark.py
of github.com/huggingface/pytorch-image-models) its own runner takes turns with the others on
timm's model. Without it, only what the runner computes is done here, as benchmark.py says it
(`InferenceBenchmarkRunner.run`): under no_grad, ten steps to warm up and forty that count, each
between two readings of the clock, on one batch of random numbers; the mean of the forty.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _report import load, publish, table
from _turns import ratios
from torch import nn
from torch.utils import benchmark

from crucibench.util.devices import set_threads
from crucibench_suites.throughput.clock import SystemClock, closed_loop

Ask = Callable[[object], object]
Latency = Callable[[], float]
"""Measures once, and returns seconds."""

_WARM_UP, _STEPS = 10, 40
_MODEL, _SIDE = "test_resnet", 160


class ProcessorClock(SystemClock):
    """Processor time of this process: what other processes take does not count."""

    now = staticmethod(time.process_time_ns)


def ours(ask: Ask, steps: int, clock: SystemClock, middle: Callable[..., float]) -> float:
    """Returns the median or mean latency by the suite's loop in s."""
    return float(middle(closed_loop(ask, [None] * 64, clock, seconds=1e6, most=steps).seconds))


def of_torch(ask: Ask, steps: int, clock: SystemClock) -> float:
    """Returns torch.utils.benchmark's mean of a block of calls in s."""
    timer = benchmark.Timer(
        "ask(None)", globals={"ask": ask}, num_threads=1, timer=lambda: clock.now() * 1e-9
    )
    return float(timer.timeit(steps).median)


def as_timm(module: nn.Module, inputs: torch.Tensor, steps: int, clock: SystemClock) -> float:
    """Returns the mean step in s, as timm's runner computes it."""
    with torch.no_grad():
        taken = []
        for _ in range(_WARM_UP + steps):
            begun = clock.now()
            module(inputs)
            taken.append((clock.now() - begun) * 1e-9)
    return statistics.fmean(taken[_WARM_UP:])


def by_timm(script: Path) -> Latency:
    """Returns timm's own runner of `_MODEL`, one image a batch."""
    spec = importlib.util.spec_from_file_location("timm_benchmark", script)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    runner = module.InferenceBenchmarkRunner(
        _MODEL, device="cpu", batch_size=1, num_warm_iter=_WARM_UP, num_bench_iter=_STEPS,
        input_size=(3, _SIDE, _SIDE),
    )  # fmt: skip
    return lambda: runner.run()["step_time"] * 1e-3


def models() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Returns modules and what they are asked."""
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10)
    ).eval()  # fmt: skip
    large = nn.Sequential(nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 1024)).eval()
    found = {"convolution, 1 x 8 x 8": (small, torch.randn(1, 1, 8, 8)),
             "two linear layers, 8 x 1024": (large, torch.randn(8, 1024))}  # fmt: skip
    if importlib.util.find_spec("timm") is not None:
        import timm

        name = f"timm's {_MODEL}, 3 x {_SIDE} x {_SIDE}"
        found[name] = timm.create_model(_MODEL).eval(), torch.randn(1, 3, _SIDE, _SIDE)
    return found


def peers(
    module: nn.Module, inputs: torch.Tensor, steps: int, clock: SystemClock
) -> dict[str, Latency]:
    """Returns who measures, ours first."""
    ask = torch.no_grad()(lambda query: module(inputs))
    return {
        "crucibench, mean": partial(ours, ask, steps, clock, statistics.fmean),
        "crucibench, median": partial(ours, ask, steps, clock, statistics.median),
        "torch.utils.benchmark, mean of a block": partial(of_torch, ask, steps, clock),
        "timm's computation, mean": partial(as_timm, module, inputs, steps, clock),
    }


def in_turns(found: Mapping[str, Latency], rounds: int) -> dict[str, list[float]]:
    """Lets all measure in turn, forwards and backwards."""
    taken: dict[str, list[float]] = {name: [] for name in found}
    order = list(found)
    for _ in range(rounds):
        for name in order:
            taken[name].append(found[name]())
        order.reverse()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    parser.add_argument("--timm-script", type=Path, help="timm's benchmark.py")
    options = parser.parse_args()
    clock = ProcessorClock() if options.clock == "processor" else SystemClock()
    set_threads(1)
    rows = []
    for model, (module, inputs) in models().items():
        measuring = peers(module, inputs, _STEPS, clock)
        if options.timm_script and _MODEL in model:
            measuring["timm's benchmark.py, mean"] = by_timm(options.timm_script)
        taken = in_turns(measuring, options.rounds)
        own = taken["crucibench, mean"]
        for name, values in taken.items():
            middle = f"{1e3 * statistics.median(values):.4g} ms"
            rows.append([model, name, middle, ratios(values, own).told(".3f")])
    ran = "timm's own script takes part." if options.timm_script else (
        "timm's own script does not take part, only its computation: its wheel has no benchmark.py."
    )  # fmt: skip
    packages = ["torch", *(["timm"] if len(rows) > 8 else [])]
    publish(
        "timing-peers",
        "Latency by three tools, in turns",
        [
            f"{options.rounds} rounds in turns A B B A, {_STEPS} calls each, one thread; medians "
            "over rounds, with 99 % intervals between order statistics for the ratios, which are "
            f"taken round by round. {ran} All but that script read {options.clock} time. {load()}",
            "",
            *table(["model", "by", "latency, median of rounds", "times our mean, by round"], rows),
        ],
        *packages,
    )  # fmt: skip


if __name__ == "__main__":
    main()
