"""How much faster two workers are than one, on this machine and on Ray; and what a shard costs.

Every run is a process of its own. Its steady state is told from its events: what was asked while
all workers had shards of the pass. Starting processes costs seconds that long runs don't notice;
the whole, the wall time of the process, has them in.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from _report import publish, table

BATCH = 32
SHARDS = 200
TO_A_SHARD = 16
_NET = """
import torch
from torch import nn


def block(inner, outer, stride):
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(),
        nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(),
    )


def net():
    torch.manual_seed(0)
    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    strides = [1, 1, 2, 1, 2, 1, 2, 1]
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    for inner, outer, stride in zip(widths[:-1], widths[1:], strides):
        layers.append(block(inner, outer, stride))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)).eval()


def trivial():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)).eval()
"""


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        rate: samples a second while all workers had shards.
        whole: seconds of the process.
        task: seconds of a shard's task, the median.
        between: seconds from the end of a task to the beginning of the worker's next, likewise.
    """

    rate: float
    whole: float
    task: float
    between: float


@dataclass(frozen=True)
class Shard:
    """When a worker did a shard, and how many samples were in it."""

    worker: str
    begun: float
    ended: float
    samples: int


def measure(folder: Path, model: str, samples: int, out: str, options: Sequence[str]) -> Measured:
    """Runs once, with one numerical thread a worker."""
    command = [
        sys.executable, "-m", "crucibench", "run", "--model", f"torch:models.py:{model}",
        "--data", f"npz:{model}.npz", "--suite", "accuracy", "--threads", "1", "--device", "cpu",
        "--batch-size", str(BATCH if model == "net" else 1), "--no-cache", "--out", out, *options,
    ]  # fmt: skip
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{done.returncode}: {done.stderr}")
    (path,) = (folder / out).glob("*/events.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    shards = [
        Shard(event["worker"], event["begun"], event["begun"] + event["seconds"], event["forwards"])
        for event in events if event["event"] == "task" and event["kind"] == "shard"
    ]  # fmt: skip
    asked = sum(shard.samples for shard in shards)
    if asked != samples:
        raise RuntimeError(f"{asked} samples went through the model, expected {samples}")
    workers: dict[str, list[Shard]] = {}
    for shard in shards:
        workers.setdefault(shard.worker, []).append(shard)
    begun = max(min(shard.begun for shard in theirs) for theirs in workers.values())
    ended = min(max(shard.ended for shard in theirs) for theirs in workers.values())
    if ended <= begun:
        raise RuntimeError(f"{options}: the workers did not work side by side: more --samples")
    within = [
        shard.samples * max(0.0, min(shard.ended, ended) - max(shard.begun, begun))
        / (shard.ended - shard.begun) for shard in shards
    ]  # fmt: skip
    between = [
        late.begun - early.ended for theirs in workers.values() for early, late in pairwise(theirs)
    ]
    task = statistics.median(shard.ended - shard.begun for shard in shards)
    return Measured(sum(within) / (ended - begun), whole, task, statistics.median(between))


def data(folder: Path, name: str, samples: int, side: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (samples, side, side, 3), dtype=np.uint8)
    np.savez(folder / f"{name}.npz", x=images, y=rng.integers(0, 10, samples))


WAYS = {
    "1 process": ["--workers", "1"],
    "2 processes": ["--workers", "2"],
    "2 on Ray": ["--executor", "ray", "--workers", "2"],
}


def scaling(folder: Path, samples: int, rounds: int) -> list[str]:
    data(folder, "net", samples, 32)
    found: dict[str, list[Measured]] = {way: [] for way in WAYS}
    rows = []
    for number in range(rounds):
        for way, options in WAYS.items():
            one = measure(folder, "net", samples, f"net-{number}-{way[:1]}{way[-3:]}", options)
            found[way].append(one)
            rows.append((number + 1, way, f"{one.rate:.1f}", f"{one.whole:.1f}"))
            print(*rows[-1], flush=True)
    one, two, ray = (found[way] for way in WAYS)
    ratios = [
        ("2 processes to 1", two, one, "1.7"),
        ("2 on Ray to 2 processes", ray, two, "0.9"),
    ]
    summary = [
        (
            what,
            f"{statistics.median(a.rate / b.rate for a, b in zip(more, less, strict=True)):.2f}",
            budget,
            f"{statistics.median(b.whole / a.whole for a, b in zip(more, less, strict=True)):.2f}",
        )
        for what, more, less, budget in ratios
    ]
    return [
        f"{samples:,} random images of 3 x 32 x 32, a network of ResNet-18's widths and depths, "
        f"batches of {BATCH}, one thread a worker, rounds in turn. Steady: while all workers have "
        "shards. Whole: the command, with starting processes (and Ray), probes and scoring.",
        "",
        *table(["round", "workers", "steady, samples/s", "whole, s"], rows),
        "",
        *table(["median ratio of speeds", "steady", "budget, at least", "whole"], summary),
    ]


def overhead(folder: Path, rounds: int) -> list[str]:
    """How long a shard's task takes with a trivial model, and how long the worker then waits."""
    ways = {"in the command's process": ["--workers", "0"], **WAYS}
    del ways["2 processes"], ways["2 on Ray"]
    ways["1 on Ray"] = ["--executor", "ray", "--workers", "1"]
    samples = TO_A_SHARD * SHARDS
    data(folder, "trivial", samples, 8)
    found: dict[str, list[Measured]] = {way: [] for way in ways}
    asking = 1000 * bare(folder)
    for number in range(rounds):
        for way, options in ways.items():
            name = f"trivial-{number}-{len(way)}"
            found[way].append(measure(folder, "trivial", samples, name, options))
            print(number + 1, way, found[way][-1], flush=True)
    rows = [
        (
            way,
            f"{1000 * statistics.median(one.task for one in measured):.1f}",
            f"{1000 * statistics.median(one.between for one in measured):.2f}",
            f"{1000 * statistics.median(one.task for one in measured) - asking:.1f}",
        )
        for way, measured in found.items()
    ]
    return [
        f"A linear model on {SHARDS} shards of {TO_A_SHARD} images of 3 x 8 x 8, asked one by one. "
        f"In a bare loop a shard takes {asking:.1f} ms. Task: reading, asking, and writing to "
        "disk for good. Between: until the worker begins the next. Medians.",
        "",
        *table(["one worker", "task, ms", "between, ms", "task beyond the loop, ms"], rows),
    ]


def bare(folder: Path) -> float:
    """Returns the seconds of a shard of the trivial model in a loop without anything else."""
    import torch

    namespace: dict[str, Any] = {}
    exec((folder / "models.py").read_text(), namespace)
    model = namespace["trivial"]()
    torch.set_num_threads(1)
    images = torch.rand(TO_A_SHARD, 1, 3, 8, 8)
    spent = []
    with torch.inference_mode():
        for _ in range(SHARDS):
            begun = time.perf_counter()
            for image in images:
                model(image).numpy()
            spent.append(time.perf_counter() - begun)
    return statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models.py").write_text(_NET)
        lines = scaling(folder, arguments.samples, arguments.rounds)
        lines += ["", "## What a shard costs", "", *overhead(folder, arguments.rounds)]
    publish("scaling", "More than one worker", lines, "torch", "ray")


if __name__ == "__main__":
    main()
