"""Audits of timed cells: one file for each kind, pure functions of the evidence."""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.contracts.evidence import Evidence, Findings
from crucibench_suites.throughput.audits.answers import wrong_answers
from crucibench_suites.throughput.audits.caching import cached_answers
from crucibench_suites.throughput.audits.conditions import (
    busy_device,
    busy_machine,
    coarse_clock,
    drift,
    drifting,
    noisy_rounds,
    throttled,
    warm_up_cut_off,
)
from crucibench_suites.throughput.audits.load import overloaded
from crucibench_suites.throughput.audits.search import open_search
from crucibench_suites.throughput.audits.starting import slower_when_sustained, unsteady_starts
from crucibench_suites.throughput.audits.unfinished import unfinished_work
from crucibench_suites.throughput.readings import Readings


def audit_stream(evidence: Evidence) -> Findings:
    """Returns what speaks against the times of one query after the other."""
    readings = Readings(evidence.own.records)
    return [
        *wrong_answers(evidence, readings),
        *cached_answers(readings),
        *unfinished_work(readings),
        *_conditions(evidence, readings, [""]),
    ]


def audit_offline(evidence: Evidence, sizes: Sequence[int]) -> Findings:
    """Returns what speaks against throughput by batch size."""
    readings = Readings(evidence.own.records)
    points = [point for size in sizes if len(readings.queries(point := f"batch={size}"))]
    return [
        *wrong_answers(evidence, readings),
        *busy_device(readings),
        *_conditions(evidence, readings, points),
    ]


def audit_server(evidence: Evidence, loads: Sequence[float]) -> Findings:
    """Returns what speaks against latency under load."""
    readings = Readings(evidence.own.records)
    points = [f"load={load:g}" for load in loads]
    return [
        *wrong_answers(evidence, readings),
        *overloaded(readings, loads),
        *throttled(readings, points),
        *warm_up_cut_off(readings, [""]),
        *coarse_clock(readings, points),
        *busy_machine(evidence, readings, points),
    ]


def audit_search(evidence: Evidence, bound: float, share: float) -> Findings:
    """Returns what speaks against the highest rate that was found."""
    readings = Readings(evidence.own.records)
    return [
        *wrong_answers(evidence, readings),
        *open_search(readings, bound, share),
        *throttled(readings, [""]),
        *warm_up_cut_off(readings, [""]),
        *busy_machine(evidence, readings, [""]),
    ]


def audit_end_to_end(evidence: Evidence, points: Sequence[str]) -> Findings:
    """Returns what speaks against times with and without loading and preprocessing."""
    readings = Readings(evidence.own.records)
    timed = [point for point in points if len(readings.queries(point))]
    return [*wrong_answers(evidence, readings), *_conditions(evidence, readings, timed)]


def audit_cold_start(evidence: Evidence) -> Findings:
    """Returns what speaks against the times of a cold start."""
    readings = Readings(evidence.own.records)
    if len(readings.fact("live")):
        return []
    return [*wrong_answers(evidence, readings), *unsteady_starts(readings)]


def audit_sustained(evidence: Evidence, points: Sequence[str]) -> Findings:
    """Returns what speaks against the two regimes.

    Args:
        evidence: the cell.
        points: that of the burst, and that of sustained load.
    """
    readings = Readings(evidence.own.records)
    burst, late = (readings.queries(point).medians for point in points)
    return [
        *wrong_answers(evidence, readings),
        *slower_when_sustained(late / burst, evidence.options.level),
        *drifting(readings.fact("window"), "windows"),
        *busy_device(readings),
        *throttled(readings, points),
        *warm_up_cut_off(readings, [""]),
        *coarse_clock(readings, points),
        *busy_machine(evidence, readings, points),
    ]


def _conditions(evidence: Evidence, readings: Readings, points: Sequence[str]) -> Findings:
    return [
        *warm_up_cut_off(readings, points),
        *coarse_clock(readings, points),
        *noisy_rounds(readings, points),
        *drift(readings, points),
        *throttled(readings, points),
        *busy_machine(evidence, readings, points),
    ]
