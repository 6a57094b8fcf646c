"""What a sample costs at the batch size that was chosen: operations, memory, energy."""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.rows import Row
from crucibench_suites.throughput.energy import LEAST_SECONDS
from crucibench_suites.throughput.readings import Floats, Readings
from crucibench_suites.throughput.work import UNCOUNTED

_MIB = 2.0**20
_NAMED = 8


def at_knee(
    evidence: Evidence, readings: Readings, fastest: Row, knee: int, sizes: int
) -> list[Row]:
    """Returns the numbers of the batch that was chosen.

    Args:
        evidence: the cell.
        readings: its records.
        fastest: the throughput there.
        knee: the batch size.
        sizes: how many were timed.
    """
    counted = readings.fact("parameters")
    parameters = counted[0] if len(counted) else evidence.own.model.diagnostics.get("parameters")
    rows = [
        Row(
            metric="throughput", value=fastest.value, lower=fastest.lower, upper=fastest.upper,
            level=fastest.level, method=fastest.method, reason=fastest.reason, n=fastest.n,
            point="knee",
        ),
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
        _plain(
            "copy-bandwidth", _giga(readings.fact("peak-bandwidth")),
            "a copy is measured for models of torch alone", "it is a maximum",
        ),
        *_bandwidth(evidence, readings, fastest, knee),
    ]  # fmt: skip
    flops, peak = readings.fact("flops"), readings.fact("peak-flops")
    if not len(flops) or flops[0] <= 0 or fastest.value is None:
        reason = (
            "torch can't look into the model" if not len(flops)
            else "torch's counter knows none of the model's operators"
        )  # fmt: skip
        for metric in ("flops-per-sample", "flop-rate", "flop-utilisation"):
            rows.append(_plain(metric, None, reason, ""))
        return rows
    uncounted = sorted(readings.facts_under(UNCOUNTED))
    names = ", ".join(uncounted[:_NAMED]) + (", ..." if len(uncounted) > _NAMED else "")
    rows.append(
        Row(
            metric="flops-per-sample", value=float(flops[0]) / 1e6, n=1, point="knee",
            method=f"torch counter; not counted: {names or 'nothing'}", reason="it is a count",
        )
    )  # fmt: skip
    rows.append(_scaled("flop-rate", fastest, float(flops[0]) / 1e9))
    if len(peak):
        rows.append(_scaled("flop-utilisation", fastest, 100 * float(flops[0] / peak[0])))
    else:
        rows.append(_plain("flop-utilisation", None, "no ceiling was measured", ""))
    return rows


def _bandwidth(evidence: Evidence, readings: Readings, fastest: Row, knee: int) -> list[Row]:
    weights = evidence.own.model.diagnostics.get("weight_bytes")
    peak = readings.fact("peak-bandwidth")
    if not isinstance(weights, int):
        missing = "the model does not say how large its weights are"
        read = _plain("weights-bandwidth", None, missing, "")
    else:
        missing = "a copy is measured for models of torch alone"
        read = _scaled("weights-bandwidth", fastest, weights / knee / 1e9)
    if not isinstance(weights, int) or not len(peak):
        return [read, _plain("bandwidth-utilisation", None, missing, "")]
    of_peak = _scaled("bandwidth-utilisation", fastest, 100 * weights / knee / float(peak[0]))
    return [read, of_peak]


def _plain(metric: str, value: float | None, missing: str, why: str) -> Row:
    known = value is not None
    return Row(
        metric=metric, value=float(value) if value is not None else None, n=int(known),
        reason=why if known else missing, point="knee",
    )  # fmt: skip


def _scaled(metric: str, row: Row, factor: float) -> Row:
    value, lower, upper = (
        None if number is None else number * factor for number in (row.value, row.lower, row.upper)
    )
    return Row(
        metric=metric, value=value, lower=lower, upper=upper, level=row.level, method=row.method,
        n=row.n, reason=row.reason, point="knee",
    )  # fmt: skip


def _energy(readings: Readings, knee: int) -> Row:
    point = f"batch={knee}"
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
