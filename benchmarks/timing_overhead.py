"""What timing a query costs, against a bare loop and MLPerf's LoadGen, and throughput against both.

Overhead: a model that does nothing, in a bare loop and in the suite's loops; and (with the extra
`loadgen`) in LoadGen's single stream. Throughput: a matrix product in a bare loop and in the
suite's; and a network that is asked in a bare loop and through its adapter, as `offline` asks it.
Latency: networks of 0.05 to 50 ms, one image a query, in a bare loop and as `single-stream`,
`server` and `end-to-end` ask them. In short turns A B B A in one process with one thread: see
`_turns.py`. Six minutes by default.

The process keeps what it frees. Else it depends on what lies on its heap whether an answer's memory
goes back to the system at each query, which can take longer than the network itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from _report import load, publish, table
from _turns import Ask, Loop, Median, differences, in_turns, queries_a_turn, ratios
from torch import nn

from crucibench.contracts.adapter import Opening
from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.util.devices import set_threads
from crucibench.util.memory import keep_freed_memory
from crucibench_adapters.torch_module import TorchAdapter
from crucibench_suites.throughput.clock import SystemClock, closed_loop, open_loop

OVERHEAD = 10e-6
"""Seconds a query that timing may cost."""

THROUGHPUT = 0.98
"""Of a bare loop's."""

LATENCY = (0.02, 5e-6)
"""Share of the bare loop's seconds a query that an adapter may add, and seconds: the larger."""

NETWORKS = {"0.05 ms": (4, 0), "0.5 ms": (24, 2), "5 ms": (64, 5), "50 ms": (160, 8)}
"""About how long a network takes here, to its channels and its layers between first and last."""

MEAN, STD = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]

_LOADGEN_RUNS, _LOADGEN_QUERIES = 5, 20_000


def bare(ask: Ask, count: int, pool: Sequence[object] = (None,) * 256) -> float:
    """Returns seconds a query."""
    size = len(pool)
    begun = time.perf_counter()
    for number in range(count):
        ask(pool[number % size])
    return (time.perf_counter() - begun) / count


def closed(ask: Ask, count: int, pool: Sequence[object] = (None,) * 256) -> float:
    begun = time.perf_counter()
    closed_loop(ask, pool, SystemClock(), seconds=1e6, most=count)
    return (time.perf_counter() - begun) / count


def reported(ask: Ask, count: int, pool: Sequence[object] = (None,) * 256) -> float:
    """Returns seconds a query as the suite's throughput has them: from first issue to last answer.

    What precedes the first query of a round, and follows the last, is not in it.
    """
    return closed_loop(ask, pool, SystemClock(), seconds=1e6, most=count).span / count


def opened(ask: Ask, count: int) -> float:
    """All queries are scheduled for the first instant: nobody waits for a schedule."""
    begun = time.perf_counter()
    open_loop(ask, [None] * 256, np.zeros(count, dtype=np.int64), SystemClock())
    return (time.perf_counter() - begun) / count


def served(ask: Ask, count: int, pool: Sequence[object]) -> float:
    """Returns seconds a query from when it is asked to when it is answered, in the open loop."""
    timed = open_loop(ask, pool, np.zeros(count, dtype=np.int64), SystemClock())
    return float((timed.ended - timed.started).sum()) * 1e-9 / count


def loadgen(ask: Ask, count: int) -> float | None:
    """Returns seconds a query of LoadGen's single stream; None where it is not installed."""
    try:
        import mlperf_loadgen as lg
    except ImportError:
        return None

    def issue(samples: list[object]) -> None:
        for sample in samples:
            ask(None)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.SingleStream
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = 0
    settings.min_query_count = settings.max_query_count = count
    system = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(256, 256, lambda _: None, lambda _: None)
    output = lg.LogOutputSettings()
    output.outdir = tempfile.mkdtemp()
    logs = lg.LogSettings()
    logs.log_output = output
    logs.enable_trace = False
    try:
        lg.StartTestWithLogSettings(system, library, settings, logs)
        return _logged(Path(output.outdir), count)
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(system)


def _logged(folder: Path, count: int) -> float:
    """Reads queries a second, as LoadGen says it with its own overhead."""
    for line in (folder / "mlperf_log_summary.txt").read_text().splitlines():
        if "QPS w/ loadgen overhead" in line:
            return 1.0 / float(line.split(":")[1])
    raise RuntimeError(f"LoadGen's summary of {count} queries names no rate")


class Subject:
    """Ways to ask the same model, the bare loop first.

    Args:
        name: of the model.
        ways: name to loop and to what it asks.
        seconds: for how long they take turns.
    """

    def __init__(self, name: str, ways: dict[str, tuple[Loop, Ask]], seconds: float) -> None:
        self.name = name
        loop, ask = ways["bare loop"]
        count = queries_a_turn(loop, ask)
        self.found = in_turns(
            {way: partial(loop, ask, count) for way, (loop, ask) in ways.items()}, seconds
        )

    def overhead(self, way: str) -> Median:
        """Returns the seconds a query beyond the bare loop's."""
        return differences(self.found[way], self.found["bare loop"])

    def allowed(self) -> float:
        """Returns the seconds a query that an adapter may add."""
        share, least = LATENCY
        return max(share * statistics.median(self.found["bare loop"]), least)

    def throughput(self, way: str) -> Median:
        """Returns the throughput over the bare loop's."""
        return ratios(self.found["bare loop"], self.found[way])

    def rows(self) -> list[list[str]]:
        """Returns the rows of the table."""
        rows = []
        for way, seconds in self.found.items():
            row = [self.name, way, str(len(seconds)), f"{1e6 * statistics.median(seconds):.3f}"]
            if way == "bare loop":
                rows.append([*row, "", ""])
                continue
            over = Median(*(1e6 * bound for bound in self.overhead(way)))
            rows.append([*row, over.told("+.3f"), self.throughput(way).told(".4f")])
        return rows


def subjects(seconds: float) -> tuple[Subject, Subject, Subject]:
    """Returns three models: one that does nothing, a matrix product, and a network."""
    rng = np.random.default_rng(0)
    # As many numbers come out as scores do of some hundred samples: 16 KiB.
    first = rng.random((256, 1024), dtype=np.float32)
    second = rng.random((1024, 16), dtype=np.float32)

    def nothing(query: object) -> None:
        return None

    def product(query: object) -> object:
        return first @ second

    idle = {"bare loop": (bare, nothing), "closed loop": (closed, nothing),
            "open loop": (opened, nothing)}  # fmt: skip
    multiplied: dict[str, tuple[Loop, Ask]] = {
        "bare loop": (bare, product), "closed loop": (reported, product),
    }  # fmt: skip
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 14 * 14, 10),
    )  # fmt: skip
    asked, adapter = _asked(module), _adapter(module)
    tensors, batches = _pool(64, 4)
    offline = {
        "bare loop": (partial(bare, pool=tensors), asked),
        "offline, through its adapter": (partial(reported, pool=batches), adapter.timed),
    }
    return (
        Subject("nothing", idle, seconds),
        Subject("a matrix product", multiplied, seconds),
        Subject("a network, 64 images", offline, seconds),
    )


def latencies(seconds: float) -> list[Subject]:
    """Returns networks that are asked for one image at a time, the quickest first.

    The model's own normalisation is a part of the query: the bare loop does it, too.
    """
    found = []
    tensors, batches = _pool(1, 256)
    for name, (width, depth) in NETWORKS.items():
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        module = Normalising(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        module.append(nn.Linear(width * 16, 10))
        adapter = _adapter(module)
        ways: dict[str, tuple[Loop, Ask]] = {
            "bare loop": (partial(bare, pool=tensors), _asked(module, MEAN, STD)),
            "single-stream": (partial(reported, pool=batches), adapter.timed),
            "server": (partial(served, pool=batches), adapter.timed),
            "end-to-end, encoded": (partial(reported, pool=tensors), adapter.timed_encoded),
        }
        found.append(Subject(f"a network of {name}", ways, seconds))
    return found


class Normalising(nn.Sequential):
    """A network that declares its normalisation."""

    crucibench_input: ClassVar = {"range": [0, 1], "mean": MEAN, "std": STD}


def _pool(size: int, count: int) -> tuple[list[torch.Tensor], list[Batch]]:
    """Returns queries of `size` images each, for a bare loop and for an adapter."""
    tensors = [torch.rand(size, 3, 32, 32) for _ in range(count)]
    ids = tuple(f"{number}" for number in range(size))
    return tensors, [Batch(ids, tensor) for tensor in tensors]


def _asked(module: nn.Module, mean: Sequence[float] = (), std: Sequence[float] = ()) -> Ask:
    """Returns what a bare loop calls."""
    module.eval()
    middle, scale = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))

    @torch.inference_mode()
    def asked(inputs: Any) -> object:
        return module((inputs - middle) / scale if mean else inputs)

    return asked


def _adapter(module: nn.Module) -> TorchAdapter:
    task = Task(kind="classification", modality=Modality.IMAGE, classes=tuple("0123456789"))
    card = DataCard(
        name="images", uri="sklearn:images", task=task, features={"image": "3x32x32"},
        counts={"test": 256},
    )  # fmt: skip
    adapter = TorchAdapter.open(
        Opening(
            name="network", uri=parse_uri("torch:live"), base=Path(), data=card, device="cpu",
            live=module,
        )
    )  # fmt: skip
    assert isinstance(adapter, TorchAdapter)
    return adapter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=45.0, help="for each of seven models")
    arguments = parser.parse_args()
    set_threads(1)
    keep_freed_memory()
    nothing, product, network = subjects(arguments.seconds)
    networks = latencies(arguments.seconds)
    rows = [row for subject in (nothing, product, network, *networks) for row in subject.rows()]
    logged = [
        taken for _ in range(_LOADGEN_RUNS)
        if (taken := loadgen(lambda query: None, _LOADGEN_QUERIES)) is not None
    ]  # fmt: skip
    beside = (
        f"LoadGen's single stream takes {1e6 * statistics.median(logged):.2f} µs a query of a "
        f"model that does nothing, by its own account (median of {len(logged)} runs)."
        if logged else "LoadGen is not installed."
    )  # fmt: skip
    loop = network.throughput("offline, through its adapter")
    judged = [
        ["overhead of the closed loop, at most 10 µs a query",
         nothing.overhead("closed loop").at_most(OVERHEAD)],
        ["overhead of the open loop, at most 10 µs a query",
         nothing.overhead("open loop").at_most(OVERHEAD)],
        ["the closed loop's throughput of a matrix product, at least 0.98 of a bare loop's",
         product.throughput("closed loop").at_least(THROUGHPUT)],
        ["throughput of `offline`, at least 0.98 of a bare loop's", loop.at_least(THROUGHPUT)],
        *(
            [f"latency of {subject.name} by `{way}`, at most 2 % or 5 µs above a bare loop",
             subject.overhead(way).at_most(subject.allowed())]
            for subject in networks for way in subject.found if way != "bare loop"
        ),
    ]  # fmt: skip
    publish(
        "timing-overhead",
        "What timing costs",
        [
            "Turns of about 20 ms, A B B A, in one process with one thread. Beyond the bare loop, "
            "and throughput over the bare loop's, are medians over turns with 99 % intervals "
            "between order statistics; a budget is kept or missed only where the interval lies on "
            "one side of it. A bare loop calls the module under `torch.inference_mode`, with the "
            "normalisation that the model declares, on tensors that are there. In all of them the "
            "process keeps the memory that it frees: giving it back, as glibc does or not by what "
            f"lies on the heap, can take longer than the network. {load()}",
            "",
            *table(["budget", "verdict"], judged),
            "",
            *table(["model", "loop", "turns", "µs a query", "beyond the bare loop, µs",
                    "throughput over the bare loop's"], rows),
            "",
            beside,
        ],
        "numpy", "torch",
    )  # fmt: skip


if __name__ == "__main__":
    main()
