"""From times to metric rows and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.rows import Row
from crucibench.stats import (
    early_stopping_rank,
    minimum_queries,
    quantile_rank,
    quantile_ranks,
    student_t,
)
from crucibench_suites.throughput.costs import at_knee
from crucibench_suites.throughput.metrics import PERCENTILES
from crucibench_suites.throughput.readings import Floats, Queries, Readings
from crucibench_suites.throughput.tape import WARM_UP

_MS = 1e3
_MIB = 2.0**20
_NEARLY = 0.95
_CURVE = 200


def score_stream(evidence: Evidence, samples: int) -> Scored:
    """Scores one query after the other."""
    readings = Readings(evidence.own.records)
    queries, level = readings.queries(), evidence.options.level
    rows = [*latency_rows(queries, level), *_early_stopping(queries)]
    rows.append(device_row(queries, level))
    rows.append(mean_row(queries, level))
    rows.append(throughput_row(queries, samples, level))
    rows += [noise_row(queries), _floor(queries, level), *_warm_up(readings.queries("", WARM_UP))]
    return Scored(rows, {"distribution": distribution(queries), "rounds": by_round(queries)})


def score_offline(evidence: Evidence, sizes: Sequence[int]) -> Scored:
    """Scores batches of growing size."""
    readings, level = Readings(evidence.own.records), evidence.options.level
    rows: list[Row] = []
    sweep = []
    for size in sizes:
        point = f"batch={size}"
        queries = readings.queries(point)
        if not len(queries):
            reason = why_not_timed(readings, point)
            rows.append(Row(metric="throughput", value=None, n=0, reason=reason, point=point))
            continue
        throughput = throughput_row(queries, size, level, point)
        latency = latency_rows(queries, level, point, names=("p50",))[0]
        memory = _memory(readings, point)
        rows += [throughput, latency, noise_row(queries, point), memory]
        if len(reserved := readings.fact("device-reserved", point)):
            rows.append(
                Row(
                    metric="reserved-memory", value=float(reserved.max()) / _MIB, n=len(reserved),
                    reason="it is a peak", point=point,
                )
            )  # fmt: skip
        sweep.append((size, throughput, latency, memory))
    knee = knee_of(readings, sizes)
    chosen = next(entry for entry in sweep if entry[0] == knee)
    rows.append(device_row(readings.queries(f"batch={knee}"), level, "knee"))
    rows += at_knee(evidence, readings, chosen[1], knee, len(sweep))
    table = pd.DataFrame(
        {
            "batch": [size for size, *_ in sweep],
            "throughput": [row.value for _, row, _, _ in sweep],
            "lower": [row.lower for _, row, _, _ in sweep],
            "upper": [row.upper for _, row, _, _ in sweep],
            "latency_p50_ms": [row.value for _, _, row, _ in sweep],
            "working_memory_mib": [row.value for *_, row in sweep],
        }
    )
    return Scored(rows, {"batches": table})


def score_server(evidence: Evidence, loads: Sequence[float]) -> Scored:
    """Scores arrivals at random."""
    readings, level = Readings(evidence.own.records), evidence.options.level
    rows: list[Row] = []
    curves = []
    for load in loads:
        point = f"load={load:g}"
        queries = readings.queries(point)
        rows += [*latency_rows(queries, level, point), mean_row(queries, level, point)]
        rows.append(
            Row(
                metric="arrival-rate", value=float(readings.fact("rate", point)[0]),
                n=len(queries), point=point, reason="it was set, not measured",
            )
        )  # fmt: skip
        rows.append(noise_row(queries, point))
        curve = distribution(queries)
        curve.insert(0, "load", f"{load:g}")
        curves.append(curve)
    return Scored(rows, {"distribution": pd.concat(curves, ignore_index=True)})


def latency_rows(
    queries: Queries, level: float, point: str = "", names: Sequence[str] = tuple(PERCENTILES)
) -> list[Row]:
    """Returns percentiles, each with the wider of two intervals, or why there is none.

    Order statistics take queries as independent; Student's t takes rounds so, which a machine that
    drifts needs, where each round supports the percentile by itself.
    """
    ordered = np.sort(queries.seconds) * _MS
    n = len(ordered)
    rows = []
    for name in names:
        share, metric = PERCENTILES[name], f"latency-{name}"
        needed = minimum_queries(1, share)
        if n < needed:
            reason = f"{n} queries were timed, and {name} needs {needed} (early stopping, t = 1)"
            rows.append(Row(metric=metric, value=None, n=n, reason=reason, point=point))
            continue
        value, lower, upper = _between(ordered, share, level)
        method = "order-statistics"
        if int(queries.counts.min()) >= needed and len(queries.counts) > 1:
            half = _half_width(
                np.array([np.sort(part)[quantile_rank(len(part), share)] * _MS
                          for part in queries.by_round]),
                level,
            )  # fmt: skip
            if 2 * half > upper - lower:
                lower, upper = min(lower, value - half), max(upper, value + half)
                method = "student-t over rounds"
        rows.append(
            Row(
                metric=metric, value=value, lower=max(0.0, lower), upper=upper, level=level,
                method=method, n=n, point=point,
            )
        )  # fmt: skip
    return rows


def _between(values: Floats, share: float, level: float) -> tuple[float, float, float]:
    """Returns a quantile and the order statistics either side of it."""
    ordered, n = np.sort(values), len(values)
    below, above = quantile_ranks(n, share, level)
    return (
        float(ordered[quantile_rank(n, share)]), float(ordered[max(below, 0)]),
        float(ordered[min(above, n - 1)]),
    )  # fmt: skip


def device_row(queries: Queries, level: float, point: str = "") -> Row:
    """Returns the median latency by the device's own clock, or why there is none."""
    known = queries.device[np.isfinite(queries.device)] * _MS
    if not len(known):
        reason = "the model answers on no CUDA device, and a processor has no events"
        return Row(metric="device-latency-p50", value=None, n=0, reason=reason, point=point)
    interval = _between(known, 0.5, level)
    return Row(
        metric="device-latency-p50", value=interval[0], lower=interval[1], upper=interval[2],
        level=level, method="order-statistics", n=len(known), point=point,
    )  # fmt: skip


def mean_row(queries: Queries, level: float, point: str = "") -> Row:
    """Returns the mean latency."""
    means = np.array([part.mean() * _MS for part in queries.by_round])
    value = float(queries.seconds.mean() * _MS)
    return over_rounds("latency-mean", value, means, n=len(queries), level=level, point=point)


def throughput_row(queries: Queries, samples: int, level: float, point: str = "") -> Row:
    """Returns samples a second."""
    counts, spans = queries.counts * samples, queries.spans
    value = float(counts.sum() / spans.sum())
    return over_rounds(
        "throughput", value, counts / spans, n=len(queries), level=level, point=point
    )


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


def knee_of(readings: Readings, sizes: Sequence[int]) -> int:
    """Returns the smallest batch that reaches 95 % of the highest throughput."""
    found = {}
    for size in sizes:
        queries = readings.queries(f"batch={size}")
        if len(queries):
            found[size] = float(queries.counts.sum() * size / queries.spans.sum())
    highest = max(found.values())
    return next(size for size in sizes if size in found and found[size] >= _NEARLY * highest)


def why_not_timed(readings: Readings, point: str) -> str:
    """Returns why the sweep ended before a batch size."""
    if len(readings.fact("out-of-memory", point)):
        return "memory ran out"
    return "the sweep ended at a smaller batch, which took half of a point's time or all memory"


def distribution(queries: Queries) -> pd.DataFrame:
    """Returns at most 200 quantiles of latency: ``share`` and ``latency_ms``."""
    ordered = np.sort(queries.seconds) * _MS
    places = np.unique(np.linspace(0, len(ordered) - 1, min(_CURVE, len(ordered))).round())
    places = places.astype(np.int64)
    return pd.DataFrame(
        {"share": (places + 1) / max(1, len(ordered)), "latency_ms": ordered[places]}
    )


def by_round(queries: Queries) -> pd.DataFrame:
    """Returns the median latency of each round."""
    return pd.DataFrame(
        {"round": np.arange(len(queries.counts)), "latency_p50_ms": queries.medians * _MS,
         "queries": queries.counts}
    )  # fmt: skip


def _early_stopping(queries: Queries) -> list[Row]:
    ordered, rows = np.sort(queries.seconds) * _MS, []
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


def _floor(queries: Queries, level: float) -> Row:
    floor, rounds = noise_floor(queries, level), len(queries.counts)
    if floor is None:
        reason = "it needs two rounds of two queries each"
        return Row(metric="noise-floor", value=None, n=rounds, reason=reason)
    return Row(
        metric="noise-floor", value=100 * floor, n=rounds, reason="it is the end of an interval"
    )


def _warm_up(calls: Queries) -> list[Row]:
    return [
        Row(
            metric="first-call", value=float(calls.seconds[0]) * _MS, n=1,
            reason="one call has no interval",
        ),
        Row(
            metric="warm-up-queries", value=float(len(calls)), n=len(calls),
            reason="it is a count",
        ),
    ]  # fmt: skip


def _memory(readings: Readings, point: str) -> Row:
    device, host = readings.fact("device-memory", point), readings.fact("working-memory", point)
    found = device if len(device) else host
    if not len(found):
        reason = "this system does not tell how much memory a process uses"
        return Row(metric="working-memory", value=None, n=0, reason=reason, point=point)
    return Row(
        metric="working-memory", value=float(found.max()) / _MIB, n=len(found), point=point,
        method="peak of torch's allocator" if len(device) else "peak resident memory",
        reason="it is a peak",
    )  # fmt: skip


def over_rounds(
    metric: str, value: float, rounds: Floats, *, n: int, level: float, point: str,
    method: str = "student-t over rounds",
) -> Row:  # fmt: skip
    """Returns a number with Student's interval over what it came to in each round."""
    if len(rounds) < 2:
        return Row(metric=metric, value=value, n=n, reason="there is one round", point=point)
    half = _half_width(rounds, level)
    return Row(
        metric=metric, value=value, lower=max(0.0, value - half), upper=value + half, level=level,
        method=method, n=n, point=point,
    )  # fmt: skip


def _half_width(rounds: Floats, level: float) -> float:
    interval = student_t(rounds, level)
    return (interval.upper - interval.lower) / 2
