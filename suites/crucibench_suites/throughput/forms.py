"""Latency and throughput as statistics of rounds: models that took turns pair by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.statistic import OfRows, RowMetric
from crucibench.stats import minimum_queries, quantile_rank, weighted_ratio
from crucibench_suites.throughput.metrics import PERCENTILES
from crucibench_suites.throughput.readings import Floats, Ints, Queries, Readings
from crucibench_suites.throughput.scoring import knee_of

_GRID = 4096


def stream_forms(evidence: Evidence, samples: int) -> list[Comparable]:
    """Returns the numbers of one query after the other."""
    queries = Readings(evidence.own.records).queries()
    return [*_latencies(queries, ""), _throughput(queries, samples, "")]


def offline_forms(evidence: Evidence, sizes: Sequence[int]) -> list[Comparable]:
    """Returns throughput by batch size, and at the knee."""
    readings = Readings(evidence.own.records)
    found = []
    for size in sizes:
        queries = readings.queries(f"batch={size}")
        if len(queries):
            found.append(_throughput(queries, size, f"batch={size}"))
    knee = knee_of(readings, sizes)
    found.append(_throughput(readings.queries(f"batch={knee}"), knee, "knee"))
    return found


def server_forms(evidence: Evidence, loads: Sequence[float]) -> list[Comparable]:
    """Returns latency by load."""
    readings = Readings(evidence.own.records)
    found: list[Comparable] = []
    for load in loads:
        point = f"load={load:g}"
        found += _latencies(readings.queries(point), point)
    return found


def end_to_end_forms(evidence: Evidence, sizes: Mapping[str, int]) -> list[Comparable]:
    """Returns latency and throughput by place to start from.

    Args:
        evidence: the cell.
        sizes: samples in a query, by point.
    """
    readings = Readings(evidence.own.records)
    found: list[Comparable] = []
    for point, size in sizes.items():
        queries = readings.queries(point)
        if len(queries):
            found += [*_latencies(queries, point), _throughput(queries, size, point)]
    return found


def pooled_quantile(seconds: Floats, rounds: Ints, share: float) -> OfRows:
    """Returns a quantile of all queries as a function of the rounds' weights.

    With weights of one it is that of `crucibench.stats.quantile`; with others a value of a grid of
    4,096 of them, so that two thousand weightings of a million queries cost little.
    """
    order = np.argsort(seconds, kind="stable")
    ordered, n = seconds[order], len(seconds)
    grid = np.linspace(0, n - 1, min(n, _GRID)).round().astype(np.int64)
    grid = np.unique(np.append(grid, quantile_rank(n, share)))
    # within[r, g]: how many of round r's queries are among the first grid[g] + 1.
    within = np.stack(
        [np.cumsum(rounds[order] == number)[grid] for number in range(int(rounds.max()) + 1)]
    ).astype(np.float64)

    def of_rows(weights: Floats) -> Floats:
        cumulative = np.asarray(weights, dtype=np.float64) @ within
        total = cumulative[:, -1:]
        places = (cumulative <= total * share * (1 + 1e-12)).sum(axis=1)
        found = ordered[grid[np.minimum(places, len(grid) - 1)]]
        return np.where(total[:, 0] > 0, found, np.nan)

    return of_rows


def _latencies(queries: Queries, point: str) -> list[Comparable]:
    found = []
    for name, share in PERCENTILES.items():
        if len(queries) >= minimum_queries(1, share):
            form = RowMetric(pooled_quantile(queries.seconds * 1e3, queries.rounds, share))
            found.append(Comparable(metric=f"latency-{name}", point=point, form=form))
    sums = np.bincount(queries.rounds, weights=queries.seconds * 1e3)
    form = RowMetric(weighted_ratio(sums, queries.counts.astype(np.float64)))
    found.append(Comparable(metric="latency-mean", point=point, form=form))
    return found


def _throughput(queries: Queries, samples: int, point: str) -> Comparable:
    form = RowMetric(weighted_ratio((queries.counts * samples).astype(np.float64), queries.spans))
    return Comparable(metric="throughput", point=point, form=form)
