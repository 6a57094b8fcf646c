"""What a sample costs at the batch size that was chosen: operations, memory, energy."""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.rows import Row
from crucibench_suites.throughput.energy import LEAST_SECONDS
from crucibench_suites.throughput.numbers import NO_COPY, why_uncounted
from crucibench_suites.throughput.points import batch_point
from crucibench_suites.throughput.readings import Floats, Readings
from crucibench_suites.throughput.work import UNCOUNTED

_MIB = 2.0**20
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
    return float(size) / _MIB if isinstance(size, int) else None


def _giga(found: Floats) -> float | None:
    return float(found[0]) / 1e9 if len(found) else None
