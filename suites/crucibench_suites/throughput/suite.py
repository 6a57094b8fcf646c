"""The declaration of the throughput suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from crucibench.contracts.capability import Capability
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteRequest
from crucibench.util.numbers import Number
from crucibench_suites.throughput.metrics import METRICS
from crucibench_suites.throughput.price import Price
from crucibench_suites.throughput.records import KNEE, batch_point, load_point
from crucibench_suites.throughput.regimes import ColdStart, EndToEnd, Sustained
from crucibench_suites.throughput.scenarios import Offline, Server, Stream
from crucibench_suites.throughput.search import RateSearch

_SECONDS = {"quick": 2.0, "standard": 10.0, "full": 60.0}
_ROUNDS = {"quick": 10, "standard": 20, "full": 30}
_BATCHES = {"quick": [1, 8, 64], "standard": [1, 4, 16, 64, 256], "full": [1, 4, 16, 64, 256, 1024]}
_STARTS = {"quick": 5, "standard": 10, "full": 20}
_MULTI = 8
_STRETCHES = 5
_SUSTAINED = 64
"""Samples in a batch: enough to keep a device busy."""


_DAY = 86_400.0

ScenarioName = Literal[
    "single-stream", "multi-stream", "offline", "server", "end-to-end", "cold-start", "sustained"
]


class ThroughputConfig(SuiteConfig):
    """Settings of the throughput suite."""

    scenarios: list[ScenarioName] = Field(
        default=["single-stream", "offline", "server"], min_length=1
    )
    """Any of ``single-stream``, ``multi-stream``, ``offline``, ``server``, ``end-to-end``,
    ``cold-start``, ``sustained``."""

    seconds: Number | None = Field(default=None, gt=0, le=_DAY)
    """How long each point is timed, all rounds together; by preset 2, 10 or 60."""

    rounds: int | None = Field(default=None, ge=2)
    """In how many turns; by preset 10, 20 or 30. A latency gate needs at least 6."""

    batch_sizes: list[Annotated[int, Field(ge=1, le=65_536)]] | None = Field(
        default=None, min_length=1
    )
    """Of the offline scenario; by preset 1, 8, 64; 1 to 256; 1 to 1024."""

    loads: list[Annotated[Number, Field(gt=0, lt=1)]] = Field(default=[0.5, 0.8], min_length=1)
    """Arrival rates of the server scenario, as shares of what the model serves one by one."""

    starts: int | None = Field(default=None, ge=2)
    """How many processes are started for a cold start; by preset 5, 10 or 20."""

    latency_bound: Number | None = Field(default=None, gt=0, le=1e3 * _DAY)
    """Milliseconds: the highest rate of arrivals that keeps it is searched for, a trial a round."""

    bound_percentile: Literal["p50", "p90", "p95", "p99", "p99.9"] = "p99"
    """Whose latency has to keep ``latency_bound``."""


class ThroughputSuite(Suite):
    """Latency and throughput, with an interval, and checked answers."""

    name: ClassVar[str] = "throughput"
    axis: ClassVar[str] = "speed"
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {"energy": ("*energy*",)}
    description: ClassVar[str] = (
        "How fast the model answers, alone, in batches and under load, with answers checked while "
        "the clock runs."
    )
    libraries: ClassVar[tuple[str, ...]] = ("torch._dynamo",)  # which counting operations imports
    headline: ClassVar[tuple[str, ...]] = (
        "single-stream/latency-p50",
        "single-stream/latency-p90",
        "single-stream/latency-p99",
        "offline[knee]/throughput",
        "variant/latency-ratio",
        "variant/flips",
    )
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Latency, one query after the other",
            kind="metrics",
            scenario="single-stream",
            note="Percentiles without interpolation; one that so few queries can't support is left "
            "out with the reason. Compare only models of one run, which took turns.",
        ),
        Section(
            title="Distribution of latency",
            kind="line",
            scenario="single-stream",
            table="distribution",
            x="latency_ms",
            y="share",
            note="Share of queries that were answered by then.",
        ),
        Section(
            title="Latency by round",
            kind="line",
            scenario="single-stream",
            table="rounds",
            x="round",
            y="latency_p50_ms",
            note="Models took turns by round: what moves together is the machine.",
        ),
        Section(
            title="The price of each variant",
            kind="metrics",
            scenario="variant",
            note="Each beside the model as it is: speed, paired by rounds, and answers, paired by "
            "samples.",
        ),
        Section(
            title="With and without loading and preprocessing",
            kind="table",
            scenario="end-to-end",
            table="inside",
            note="The same queries, timed from three places on: what is stored, the sample in "
            "memory, and what the model is fed.",
        ),
        Section(title="From three places on", kind="metrics", scenario="end-to-end"),
        Section(
            title="Cold start",
            kind="metrics",
            scenario="cold-start",
            note="Each in new processes that open this model alone.",
        ),
        Section(
            title="After a rest, and sustained",
            kind="metrics",
            scenario="sustained",
        ),
        Section(
            title="Latency without a pause",
            kind="line",
            scenario="sustained",
            table="stretch",
            x="seconds",
            y="latency_p50_ms",
            note="Seconds since the rest; batches of 64, the median of five stretches.",
        ),
        Section(title="Latency, queries of eight", kind="metrics", scenario="multi-stream"),
        Section(
            title="Throughput by batch size",
            kind="line",
            scenario="offline",
            table="batches",
            x="batch",
            y="throughput",
            note="Samples a second. The knee is the smallest batch that reaches 95 % of the most.",
        ),
        Section(
            title="Throughput against latency",
            kind="line",
            scenario="offline",
            table="batches",
            x="latency_p50_ms",
            y="throughput",
            note="Each dot is a batch size: what more samples a second cost the one who waits for "
            "a batch.",
        ),
        Section(title="Batches", kind="table", scenario="offline", table="batches"),
        Section(title="What a sample costs", kind="metrics", scenario="offline"),
        Section(
            title="Latency under load",
            kind="metrics",
            scenario="server",
            note="Queries arrive at random, at a share of what the model serves one after the "
            "other; latency counts from the scheduled instant, so that waiting is in it.",
        ),
        Section(
            title="Highest rate that keeps the latency bound",
            kind="metrics",
            scenario="highest-rate",
            note="Queries arrive at random; each trial has another rate and passes by LoadGen's "
            "early stopping.",
        ),
        Section(title="Trials", kind="table", scenario="highest-rate", table="trials"),
    )
    config: ClassVar[type[SuiteConfig]] = ThroughputConfig
    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios, or why none applies."""
        if Capability.ANY_INPUT not in request.model.capabilities:
            return "logged predictions answer nothing anew: there is nothing to time"
        config = request.settings(ThroughputConfig)
        seconds = _SECONDS[request.preset] if config.seconds is None else float(config.seconds)
        turns = _ROUNDS[request.preset] if config.rounds is None else config.rounds
        shared = {"seconds": seconds, "rounds": turns}
        found: list[Scenario] = []
        for name, samples in (("single-stream", 1), ("multi-stream", _MULTI)):
            if name in config.scenarios:
                found.append(
                    Stream(
                        name=name, seconds=seconds, turns=turns, samples=samples,
                        parameters={**shared, "samples": samples},
                    )
                )  # fmt: skip
        if "offline" in config.scenarios:
            sizes = tuple(sorted(set(config.batch_sizes or _BATCHES[request.preset])))
            found.append(
                Offline(
                    name="offline", seconds=seconds, turns=turns, sizes=sizes,
                    points=(*(batch_point(size) for size in sizes), KNEE),
                    parameters={**shared, "batch_sizes": list(sizes)},
                )
            )  # fmt: skip
        if "server" in config.scenarios:
            loads = tuple(sorted({float(load) for load in config.loads}))
            found.append(
                Server(
                    name="server", seconds=seconds, turns=turns, loads=loads,
                    points=tuple(load_point(load) for load in loads),
                    parameters={**shared, "loads": list(loads)},
                )
            )  # fmt: skip
        if "end-to-end" in config.scenarios:
            whole = EndToEnd(seconds=seconds, turns=turns, parameters=shared)
            places = any(one.pixels for one in request.data.task.definition.fields)
            found.append(whole.of_detectors() if places else whole)
        if "cold-start" in config.scenarios:
            starts = _STARTS[request.preset] if config.starts is None else config.starts
            found.append(ColdStart(turns=starts, parameters={"starts": starts}))
        if "sustained" in config.scenarios:
            found.append(
                Sustained(
                    seconds=seconds, turns=_STRETCHES, samples=_SUSTAINED,
                    parameters={
                        "seconds": seconds, "stretches": _STRETCHES, "samples": _SUSTAINED,
                    },
                )
            )  # fmt: skip
        if config.latency_bound is not None:
            bound = float(config.latency_bound)
            found.append(
                RateSearch(
                    name="highest-rate", seconds=seconds, turns=turns, bound=bound * 1e-3,
                    percentile=config.bound_percentile,
                    parameters={
                        **shared, "latency_bound": bound, "percentile": config.bound_percentile,
                    },
                )
            )  # fmt: skip
        plain = request.model.name.removesuffix(f"@{request.model.variant}")
        if request.model.variant and "single-stream" in config.scenarios:
            found.append(Price.of(plain))
        return found
