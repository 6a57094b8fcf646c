"""Latency, throughput and what follows from it as numbers of rounds.

Models that took turns are paired by round. Intervals take rounds for independent, by Student's t,
since a machine drifts within a round; those of percentiles are the wider of this and of order
statistics, which take queries for independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial

import numpy as np
import pandas as pd

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.statistic import Interval, Number, OfRows, RowMetric, Units
from crucibench.stats import (
    minimum_queries,
    quantile_rank,
    quantile_ranks,
    student_t,
    weighted_ratio,
)
from crucibench_suites.throughput.metrics import PERCENTILES
from crucibench_suites.throughput.points import batch_point, load_point
from crucibench_suites.throughput.readings import Floats, Ints, Queries, Readings

MS = 1e3
"""Milliseconds of a second."""

NO_COPY = "a copy is measured for models of torch alone"

_GRID = 4096
_NEARLY = 0.95


def stream_numbers(evidence: Evidence, samples: int) -> list[Number]:
    """Returns the numbers of one query after the other, `samples` in each."""
    queries = Readings.of(evidence).queries()
    return [
        *latencies(queries), device_latency(queries), mean_latency(queries),
        throughput(queries, samples),
    ]  # fmt: skip


def offline_numbers(evidence: Evidence, sizes: Sequence[int]) -> list[Number]:
    """Returns throughput and median latency by batch size, and what the knee comes to."""
    readings = Readings.of(evidence)
    numbers = []
    for size in sizes:
        point = batch_point(size)
        queries = readings.queries(point)
        if not len(queries):
            reason = why_not_timed(readings, point)
            numbers.append(Number(metric="throughput", point=point, undefined=reason, n=0))
            continue
        numbers.append(throughput(queries, size, point))
        numbers += latencies(queries, point, names=("p50",))
    knee = knee_of(readings, sizes)
    queries = readings.queries(batch_point(knee))
    return [
        *numbers, device_latency(queries, "knee"), throughput(queries, knee, "knee"),
        *rate_numbers(evidence, readings, knee),
    ]  # fmt: skip


def rate_numbers(evidence: Evidence, readings: Readings, knee: int) -> list[Number]:
    """Returns what follows from throughput at the batch that was chosen: operations, bandwidth.

    Args:
        evidence: the cell.
        readings: its records.
        knee: the batch size.
    """
    queries = readings.queries(batch_point(knee))
    weights = evidence.own.model.diagnostics.get("weight_bytes")
    flops, peak = readings.fact("flops"), readings.fact("peak-flops")

    def scaled(metric: str, factor: float) -> Number:
        """Returns samples a second times a factor."""
        amounts = (queries.counts * knee).astype(np.float64) * factor
        return ratio_of_rounds(metric, amounts, queries.spans, "knee", n=len(queries))

    def without(metric: str, reason: str) -> Number:
        return Number(metric=metric, point="knee", undefined=reason, n=0)

    copied = readings.fact("peak-bandwidth")
    if not isinstance(weights, int):
        reason = "the model does not say how large its weights are"
        numbers = [
            without(metric, reason) for metric in ("weights-bandwidth", "bandwidth-utilisation")
        ]
    else:
        of_peak = 100 * weights / knee / float(copied[0]) if len(copied) else 0.0
        numbers = [
            scaled("weights-bandwidth", weights / knee / 1e9),
            scaled("bandwidth-utilisation", of_peak)
            if len(copied)
            else without("bandwidth-utilisation", NO_COPY),
        ]
    if not len(flops) or flops[0] <= 0:
        reason = why_uncounted(readings)
        return [
            *numbers, without("flop-rate", reason), without("flop-utilisation", reason)
        ]  # fmt: skip
    return [
        *numbers,
        scaled("flop-rate", float(flops[0]) / 1e9),
        scaled("flop-utilisation", 100 * float(flops[0] / peak[0]))
        if len(peak)
        else without("flop-utilisation", "no ceiling was measured"),
    ]


def server_numbers(evidence: Evidence, loads: Sequence[float]) -> list[Number]:
    """Returns latency by load, a share of what the model serves one after the other."""
    readings = Readings.of(evidence)
    numbers = []
    for load in loads:
        point = load_point(load)
        queries = readings.queries(point)
        numbers += [*latencies(queries, point), mean_latency(queries, point)]
    return numbers


def end_to_end_numbers(evidence: Evidence, sizes: Mapping[str, int]) -> list[Number]:
    """Returns latency and throughput by the place that the clock starts at.

    Args:
        evidence: the cell.
        sizes: samples in a query, by point.
    """
    readings = Readings.of(evidence)
    numbers: list[Number] = []
    for point, size in sizes.items():
        queries = readings.queries(point)
        if len(queries):
            numbers += [
                *latencies(queries, point), mean_latency(queries, point),
                throughput(queries, size, point), device_latency(queries, point),
            ]  # fmt: skip
    return numbers


def latencies(
    queries: Queries, point: str = "", names: Sequence[str] = tuple(PERCENTILES)
) -> list[Number]:
    """Returns percentiles in ms, or why there are too few queries for one."""
    milliseconds, n = queries.seconds * MS, len(queries)
    numbers = []
    for name in names:
        share, metric = PERCENTILES[name], f"latency-{name}"
        needed = minimum_queries(1, share)
        if n < needed:
            reason = f"{n} queries were timed, and {name} needs {needed} (early stopping, t = 1)"
            numbers.append(Number(metric=metric, point=point, undefined=reason, n=n))
            continue
        form = RowMetric(
            pooled_quantile(milliseconds, queries.rounds, share),
            closed=partial(_percentile_interval, queries, share),
        )
        numbers.append(_of_rounds(metric, form, len(queries.counts), point, n))
    return numbers


def _percentile_interval(queries: Queries, share: float, level: float) -> Interval:
    """Returns the wider of two intervals: order statistics, and Student's t over rounds.

    The latter only where each round supports the percentile by itself.
    """
    value, lower, upper = _between(queries.seconds * MS, share, level)
    method = "order-statistics"
    if int(queries.counts.min()) >= minimum_queries(1, share) and len(queries.counts) > 1:
        by_round = [np.sort(part)[quantile_rank(len(part), share)] * MS
                    for part in queries.by_round]  # fmt: skip
        half = _half_width(np.array(by_round), level)
        if 2 * half > upper - lower:
            lower, upper = min(lower, value - half), max(upper, value + half)
            method = "student-t over rounds"
    return Interval(lower, upper, level, method)


def _between(values: Floats, share: float, level: float) -> tuple[float, float, float]:
    """Returns a quantile and the order statistics either side of it."""
    ordered, n = np.sort(values), len(values)
    below, above = quantile_ranks(n, share, level)
    return (
        float(ordered[quantile_rank(n, share)]), float(ordered[max(below, 0)]),
        float(ordered[min(above, n - 1)]),
    )  # fmt: skip


def device_latency(queries: Queries, point: str = "") -> Number:
    """Returns the median latency by the device's own clock, or why there is none."""
    known = np.isfinite(queries.device)
    if not known.any():
        reason = "the model answers on no CUDA device, and a processor has no events"
        return Number(metric="device-latency-p50", point=point, undefined=reason, n=0)
    milliseconds, rounds = queries.device[known] * MS, len(queries.counts)

    def closed(level: float) -> Interval:
        _, lower, upper = _between(milliseconds, 0.5, level)
        return Interval(lower, upper, level, "order-statistics")

    of_rows = pooled_quantile(milliseconds, queries.rounds[known], 0.5, rounds)
    form = RowMetric(of_rows, closed=closed)
    return _of_rounds("device-latency-p50", form, rounds, point, len(milliseconds))


def mean_latency(queries: Queries, point: str = "") -> Number:
    """Returns the mean latency in ms."""
    sums = np.bincount(queries.rounds, weights=queries.seconds * MS)
    return ratio_of_rounds("latency-mean", sums, queries.counts, point, n=len(queries))


def throughput(queries: Queries, samples: int, point: str = "") -> Number:
    """Returns samples a second, with `samples` in each query."""
    return ratio_of_rounds(
        "throughput", queries.counts * samples, queries.spans, point, n=len(queries)
    )


def ratio_of_rounds(
    metric: str, above: Floats | Ints, below: Floats | Ints, point: str = "", *, n: int,
    rounds: str = "rounds",
) -> Number:  # fmt: skip
    """Returns the sum of one number over the sum of another, shape (rounds,) each.

    Args:
        metric: its id.
        above: the numerator of each round.
        below: the denominator of each round.
        point: where it is read.
        n: its denominator: queries, as a rule.
        rounds: what the interval's method calls the rounds.
    """

    def closed(level: float) -> Interval | str:
        if len(above) < 2:
            return "there is one round"
        value, half = float(above.sum() / below.sum()), _half_width(above / below, level)
        return Interval(value - half, value + half, level, f"student-t over {rounds}")

    form = RowMetric(weighted_ratio(above, below.astype(np.float64)), closed=closed)
    return _of_rounds(metric, form, len(above), point, n)


def pooled_quantile(
    seconds: Floats, rounds: Ints, share: float, count: int | None = None
) -> OfRows:
    """Returns a quantile of all queries as a function of the rounds' weights.

    With weights of one it is that of `crucibench.stats.quantile`; with others a value of a grid of
    4,096 of them, so that two thousand weightings of a million queries cost little.

    Args:
        seconds: latencies, shape (n,).
        rounds: the round of each, from 0, shape (n,).
        share: which quantile, in (0, 1).
        count: of the rounds; by default as many as have a query.
    """
    order = np.argsort(seconds, kind="stable")
    ordered, n = seconds[order], len(seconds)
    grid = np.linspace(0, n - 1, min(n, _GRID)).round().astype(np.int64)
    grid = np.unique(np.append(grid, quantile_rank(n, share)))
    # within[r, g]: how many of round r's queries are among the first grid[g] + 1.
    within = np.stack(
        [np.cumsum(rounds[order] == number)[grid]
         for number in range(count or int(rounds.max()) + 1)]
    ).astype(np.float64)  # fmt: skip

    def of_rows(weights: Floats) -> Floats:
        cumulative = np.asarray(weights, dtype=np.float64) @ within
        total = cumulative[:, -1:]
        places = (cumulative <= total * share * (1 + 1e-12)).sum(axis=1)
        found = ordered[grid[np.minimum(places, len(grid) - 1)]]
        return np.where(total[:, 0] > 0, found, np.nan)

    return of_rows


def knee_of(readings: Readings, sizes: Sequence[int]) -> int:
    """Returns the smallest batch that reaches 95 % of the highest throughput."""
    found = {}
    for size in sizes:
        queries = readings.queries(batch_point(size))
        if len(queries):
            found[size] = float(queries.counts.sum() * size / queries.spans.sum())
    highest = max(found.values())
    return next(size for size in sizes if size in found and found[size] >= _NEARLY * highest)


def why_not_timed(readings: Readings, point: str) -> str:
    """Returns why the sweep ended before a batch size."""
    if len(readings.fact("out-of-memory", point)):
        return "memory ran out"
    return "the sweep ended at a smaller batch, which took half of a point's time or all memory"


def why_uncounted(readings: Readings) -> str:
    """Returns why the operations of a sample are not known."""
    if not len(readings.fact("flops")):
        return "torch can't look into the model"
    return "torch's counter knows none of the model's operators"


def _of_rounds(metric: str, form: RowMetric, rounds: int, point: str, n: int) -> Number:
    return Number(metric=metric, point=point, make=lambda: form, n=n, units=_units(rounds))


@cache
def _units(rounds: int) -> Units:
    """Returns so many rounds; one object, so that their numbers share draws."""
    ids = np.array([f"round {number}" for number in range(rounds)], dtype=object)
    samples = Samples(ids, np.zeros(rounds), pd.DataFrame(index=range(rounds)), None)
    return Units(samples, "rounds", estimand="model/rounds")


def _half_width(rounds: Floats, level: float) -> float:
    interval = student_t(rounds, level)
    return (interval.upper - interval.lower) / 2
