"""Rows without an interval, and tables, of times."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.rows import Row
from crucibench.stats import early_stopping_rank, minimum_queries, student_t
from crucibench_suites.throughput.costs import cost_rows
from crucibench_suites.throughput.metrics import PERCENTILES
from crucibench_suites.throughput.numbers import MS, knee_of
from crucibench_suites.throughput.points import batch_point, load_point
from crucibench_suites.throughput.readings import Floats, Queries, Readings
from crucibench_suites.throughput.tape import WARM_UP

_MIB = 2.0**20
_CURVE = 200


def stream_rows(evidence: Evidence) -> list[Row]:
    """Returns what describes one query after the other and has no interval."""
    readings = Readings.of(evidence)
    queries, level = readings.queries(), evidence.options.level
    return [
        *_early_stopping(queries), noise_row(queries), _floor(queries, level),
        *_warm_up(readings.queries("", WARM_UP)),
    ]  # fmt: skip


def stream_tables(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Returns the distribution of latency, and the median of each round."""
    queries = Readings.of(evidence).queries()
    return {"distribution": distribution(queries), "rounds": by_round(queries)}


def offline_rows(evidence: Evidence, sizes: Sequence[int]) -> list[Row]:
    """Returns noise and memory by batch size, and what the batch that was chosen costs."""
    readings = Readings.of(evidence)
    timed = [(size, queries) for size in sizes
             if len(queries := readings.queries(batch_point(size)))]  # fmt: skip
    rows: list[Row] = []
    for size, queries in timed:
        point = batch_point(size)
        rows += [noise_row(queries, point), _memory(readings, point)]
        if len(reserved := readings.fact("device-reserved", point)):
            rows.append(
                Row(
                    metric="reserved-memory", value=float(reserved.max()) / _MIB, n=len(reserved),
                    reason="it is a peak", point=point,
                )
            )  # fmt: skip
    return [*rows, *cost_rows(evidence, readings, knee_of(readings, sizes), len(timed))]


def offline_tables(evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
    """Returns a line a batch size, of the rows of `offline_numbers`."""
    readings = Readings.of(evidence)
    found = {(row.metric, row.point): row for row in rows if row.n}
    points = [
        point for metric, point in found if metric == "throughput" and point.startswith("batch=")
    ]
    fast, slow = (
        [found[metric, point] for point in points] for metric in ("throughput", "latency-p50")
    )
    table = pd.DataFrame(
        {
            "batch": [int(point.partition("=")[2]) for point in points],
            "throughput": [row.value for row in fast],
            "lower": [row.lower for row in fast],
            "upper": [row.upper for row in fast],
            "latency_p50_ms": [row.value for row in slow],
            "working_memory_mib": [_memory(readings, point).value for point in points],
        }
    )
    return {"batches": table}


def server_rows(evidence: Evidence, loads: Sequence[float]) -> list[Row]:
    """Returns the arrival rate and the noise of each load."""
    readings = Readings.of(evidence)
    rows: list[Row] = []
    for load in loads:
        point = load_point(load)
        queries = readings.queries(point)
        rows.append(
            Row(
                metric="arrival-rate", value=float(readings.fact("rate", point)[0]),
                n=len(queries), point=point, reason="it was set, not measured",
            )
        )  # fmt: skip
        rows.append(noise_row(queries, point))
    return rows


def server_tables(evidence: Evidence, loads: Sequence[float]) -> dict[str, pd.DataFrame]:
    """Returns the distribution of latency by load."""
    readings = Readings.of(evidence)
    curves = []
    for load in loads:
        curve = distribution(readings.queries(load_point(load)))
        curve.insert(0, "load", f"{load:g}")
        curves.append(curve)
    return {"distribution": pd.concat(curves, ignore_index=True)}


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


def _early_stopping(queries: Queries) -> list[Row]:
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
            metric="first-call", value=float(calls.seconds[0]) * MS, n=1,
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
