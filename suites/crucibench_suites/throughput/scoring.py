"""Latency, throughput and what follows from it as numbers of rounds.

Models that took turns are paired by round. Intervals take rounds for independent, by Student's t,
since a machine drifts within a round; those of percentiles are the wider of this and of order
statistics, which take queries for independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pandas as pd

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.lists import Lists
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Interval, Number, OfRows, RowMetric, Units
from crucibench.stats import (
    early_stopping_rank,
    minimum_queries,
    quantile_rank,
    quantile_ranks,
    student_t,
    weighted_ratio,
)
from crucibench_suites.throughput.device import LEAST_SECONDS, UNCOUNTED
from crucibench_suites.throughput.metrics import PERCENTILES
from crucibench_suites.throughput.records import (
    Floats,
    Ints,
    Queries,
    Readings,
    batch_point,
)  # fmt: skip

MS = 1e3
"""Milliseconds of a second."""

NO_COPY = "a copy is measured for models of torch alone"

_GRID = 4096
_NEARLY = 0.95


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


def by_objects(queries: Queries, targets: Lists, pool: int) -> list[Number]:
    """Returns the median latency of images with few objects, and with more, by round.

    Args:
        queries: each about one image, which in each round come in turn from the first on.
        targets: the objects of each image.
        pool: so many images come in turn, perhaps each several times.
    """
    counts = targets.lengths
    first = np.concatenate([[0], np.cumsum(queries.counts)])
    place = np.arange(len(queries)) - first[queries.rounds]
    objects = counts[place % pool % len(counts)]
    edges = np.unique(np.quantile(counts, (1 / 3, 2 / 3), method="lower"))
    bucket, found = np.searchsorted(edges, objects), []
    for at in range(len(edges) + 1):
        chosen = bucket == at
        if chosen.any() and len(set(queries.rounds[chosen].tolist())) == len(queries.counts):
            low, high = int(objects[chosen].min()), int(objects[chosen].max())
            name = f"{low} to {high}" if low < high else str(low)
            name += " object" if high == 1 and low == high else " objects"
            parts = (getattr(queries, one)[chosen] for one in
                     ("rounds", "begun", "seconds", "waited", "device"))  # fmt: skip
            found += [
                replace(one, group=name) for one in latencies(Queries(*parts), names=("p50",))
            ]
    return found if len(found) > 1 else []


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


MIB = 2.0**20
_CURVE = 200


def noise_row(queries: Queries, point: str = "") -> Row:
    """Returns how much the rounds differ."""
    medians = queries.medians
    if len(medians) < 2:
        return Row(
            metric="coefficient-of-variation", value=None, n=len(medians), point=point,
            reason="there is one round",
        )  # fmt: skip
    return Row(
        metric="coefficient-of-variation", value=100 * variation(medians), n=len(medians),
        reason="it describes these rounds", point=point,
    )  # fmt: skip


def variation(medians: Floats) -> float:
    """Returns the coefficient of variation, a share."""
    return float(medians.std(ddof=1) / medians.mean())


def noise_floor(queries: Queries, level: float = 0.95) -> float | None:
    """Returns the slowdown that the model against itself can't rule out, a share, or None.

    The halves of a round are A and B in even rounds, B and A in odd ones, so that what grows or
    falls steadily cancels.
    """
    ratios = []
    for number, part in enumerate(queries.by_round):
        if len(part) < 2:
            return None
        first, second = np.median(part[: len(part) // 2]), np.median(part[len(part) // 2 :])
        ratio = math.log(max(float(second), 1e-12) / max(float(first), 1e-12))
        ratios.append(ratio if number % 2 == 0 else -ratio)
    if len(ratios) < 2:
        return None
    interval = student_t(ratios, level)
    return math.exp(max(abs(interval.lower), abs(interval.upper))) - 1


def distribution(queries: Queries) -> pd.DataFrame:
    """Returns at most 200 quantiles of latency: ``share`` and ``latency_ms``."""
    ordered = np.sort(queries.seconds) * MS
    places = np.unique(np.linspace(0, len(ordered) - 1, min(_CURVE, len(ordered))).round())
    places = places.astype(np.int64)
    return pd.DataFrame(
        {"share": (places + 1) / max(1, len(ordered)), "latency_ms": ordered[places]}
    )


def by_round(queries: Queries) -> pd.DataFrame:
    """Returns the median latency of each round."""
    return pd.DataFrame(
        {"round": np.arange(len(queries.counts)), "latency_p50_ms": queries.medians * MS,
         "queries": queries.counts}
    )  # fmt: skip


def early_stopping_rows(queries: Queries) -> list[Row]:
    ordered, rows = np.sort(queries.seconds) * MS, []
    for name in ("p90", "p99"):
        metric, n = f"latency-{name}-early-stopping", len(ordered)
        rank = early_stopping_rank(n, PERCENTILES[name])
        if rank is None:
            needed = minimum_queries(1, PERCENTILES[name])
            reason = f"{n} queries were timed, and {name} needs {needed}"
            rows.append(Row(metric=metric, value=None, n=n, reason=reason))
        else:
            reason = "it is a bound itself, with 99 % confidence"
            rows.append(Row(metric=metric, value=float(ordered[rank]), n=n, reason=reason))
    return rows


def floor_row(queries: Queries, level: float) -> Row:
    floor, rounds = noise_floor(queries, level), len(queries.counts)
    if floor is None:
        reason = "it needs two rounds of two queries each"
        return Row(metric="noise-floor", value=None, n=rounds, reason=reason)
    return Row(
        metric="noise-floor", value=100 * floor, n=rounds, reason="it is the end of an interval"
    )


def warm_up_rows(calls: Queries) -> list[Row]:
    return [
        Row(
            metric="first-call", value=float(calls.seconds[0]) * MS, n=1,
            reason="one call has no interval",
        ),
        Row(
            metric="warm-up-queries", value=float(len(calls)), n=len(calls),
            reason="it is a count",
        ),
    ]  # fmt: skip


def memory_row(readings: Readings, point: str) -> Row:
    device, host = readings.fact("device-memory", point), readings.fact("working-memory", point)
    found = device if len(device) else host
    if not len(found):
        reason = "this system does not tell how much memory a process uses"
        return Row(metric="working-memory", value=None, n=0, reason=reason, point=point)
    return Row(
        metric="working-memory", value=float(found.max()) / MIB, n=len(found), point=point,
        method="peak of torch's allocator" if len(device) else "peak resident memory",
        reason="it is a peak",
    )  # fmt: skip


MIB = 2.0**20
_NAMED = 8


def cost_rows(evidence: Evidence, readings: Readings, knee: int, sizes: int) -> list[Row]:
    """Returns the counts of the batch that was chosen, which have no interval.

    Args:
        evidence: the cell.
        readings: its records.
        knee: the batch size.
        sizes: how many were timed.
    """
    counted = readings.fact("parameters")
    parameters = counted[0] if len(counted) else evidence.own.model.diagnostics.get("parameters")
    rows = [
        Row(
            metric="batch-size", value=float(knee), n=sizes, point="knee",
            reason="it is the choice of a rule",
        ),
        _plain(
            "parameters", parameters, "the model does not say how many it has",
            "it is a count",
        ),
        _plain(
            "weights-size", _mib(evidence.own.model.diagnostics.get("weight_bytes")),
            "the model does not say how large its weights are", "it is a count",
        ),
        _plain(
            "size-on-disk", _mib(evidence.own.model.diagnostics.get("file_bytes")),
            "a variant is made when it is opened, and lies in no file"
            if evidence.own.model.variant
            else "the model's address names no file of weights", "it is a count",
        ),
        _energy(readings, knee),
        _plain("copy-bandwidth", _giga(readings.fact("peak-bandwidth")), NO_COPY,
               "it is a maximum"),
    ]  # fmt: skip
    flops = readings.fact("flops")
    if not len(flops) or flops[0] <= 0:
        return [*rows, _plain("flops-per-sample", None, why_uncounted(readings), "")]
    uncounted = sorted(readings.facts_under(UNCOUNTED))
    names = ", ".join(uncounted[:_NAMED]) + (", ..." if len(uncounted) > _NAMED else "")
    rows.append(
        Row(
            metric="flops-per-sample", value=float(flops[0]) / 1e6, n=1, point="knee",
            method=f"torch counter; not counted: {names or 'nothing'}", reason="it is a count",
        )
    )  # fmt: skip
    return rows


def _plain(metric: str, value: float | None, missing: str, why: str) -> Row:
    known = value is not None
    return Row(
        metric=metric, value=float(value) if value is not None else None, n=int(known),
        reason=why if known else missing, point="knee",
    )  # fmt: skip


def _energy(readings: Readings, knee: int) -> Row:
    point = batch_point(knee)
    joules, idle = readings.fact("joules", point), readings.fact("idle-watts")
    if not len(joules) or not len(idle):
        reason = "no energy counter was read: it takes an NVIDIA device and crucibench[gpu]"
        return _plain("energy-per-sample", None, reason, "")
    seconds = float(readings.fact("wall", point).sum())
    if seconds < LEAST_SECONDS:
        reason = f"{seconds:.3g} s were timed, and the counter needs {LEAST_SECONDS:.0f} s"
        return _plain("energy-per-sample", None, reason, "")
    used = float(joules.sum()) - float(idle[0]) * seconds
    if used <= 0:
        return _plain("energy-per-sample", None, "the device used no more than when idle", "")
    samples = len(readings.queries(point)) * knee
    return _plain("energy-per-sample", used / samples, "", "it is one window of a counter")


def _mib(size: object) -> float | None:
    return float(size) / MIB if isinstance(size, int) else None


def _giga(found: Floats) -> float | None:
    return float(found[0]) / 1e9 if len(found) else None


def ratio_row(
    metric: str, ratios: Floats, level: float, point: str = "", over: str = "rounds"
) -> Row:
    """Returns the geometric mean of ratios, one of each round, shape (rounds,), from two on."""
    logs = np.log(ratios)
    interval = student_t(logs, level)
    return Row(
        metric=metric, value=math.exp(float(logs.mean())), lower=math.exp(interval.lower),
        upper=math.exp(interval.upper), level=level, method=f"student-t of logarithms over {over}",
        n=len(ratios), point=point,
    )  # fmt: skip
