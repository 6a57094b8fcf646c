"""Whether model and machine were in a state in which times mean something."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.throughput.readings import Floats, Readings
from crucibench_suites.throughput.scoring import variation
from crucibench_suites.throughput.tape import WARM_UP

NOISY = 0.05
"""The coefficient of variation of rounds beyond which a slowdown of 5 % takes too many of them."""

DRIFT = 0.05
"""A change over the whole run, as a share of the median."""

DRIFT_P = 0.01
COARSE = 0.01
BUSY = 0.10
"""Of the machine, taken by other processes."""


def warm_up_cut_off(readings: Readings) -> Findings:
    """Whether times still fell when warm-up reached its cap."""
    found = []
    for point in readings.points(WARM_UP):
        flat = readings.fact("warm-up-flat", point)
        if len(flat) and not flat[0]:
            calls = len(readings.queries(point, WARM_UP))
            found.append(
                _suspect(
                    "warm-up-cut-off",
                    f"{_at(point)}times still fell, or were too few to tell, when warm-up reached "
                    f"its cap after {calls:,} queries",
                    point=point, queries=calls,
                )
            )  # fmt: skip
    return found


def coarse_clock(readings: Readings, points: Sequence[str]) -> Findings:
    """Whether the clock's step or its reading is a part of the latency that matters."""
    step = max(float(readings.fact(name)[0]) for name in ("clock-step", "clock-reading"))
    shortest = min((float(np.median(readings.queries(p).seconds)) for p in points), default=0.0)
    if not points or step <= COARSE * shortest:
        return []
    return [
        _suspect(
            "clock-too-coarse",
            f"the clock resolves {step:.2g} s, and the median query takes {shortest:.2g} s: "
            "times are off by more than 1 %",
            step=step, latency=shortest,
        )
    ]  # fmt: skip


def noisy_rounds(readings: Readings, points: Sequence[str]) -> Findings:
    """Whether rounds differ by more than 5 %: the point where they differ most, and how many do."""
    spreads = {}
    for point in points:
        medians = readings.queries(point).medians
        if len(medians) > 1 and (spread := variation(medians)) > NOISY:
            spreads[point] = spread, len(medians)
    if not spreads:
        return []
    worst = max(spreads, key=lambda point: spreads[point][0])
    spread, rounds = spreads[worst]
    others = f"; at {len(spreads)} of {len(points)} points by over 5 %" if len(points) > 1 else ""
    return [
        _suspect(
            "noisy-rounds",
            f"{_at(worst)}the median latency varies by {100 * spread:.3g} % between "
            f"{rounds} rounds (coefficient of variation){others}",
            point=worst, coefficient_of_variation=spread, points=float(len(spreads)),
        )
    ]  # fmt: skip


def drift(readings: Readings, points: Sequence[str]) -> Findings:
    """Whether the model became slower or faster while it was timed: throttling, or a leak.

    Looks at the windows of load without a pause where there are such, else at each point's rounds.
    """
    if len(windows := readings.fact("window")):
        return drifting(windows, "windows")
    return [
        finding
        for point in points
        for finding in drifting(readings.queries(point).medians, "rounds", point)
    ]


def drifting(medians: Floats, what: str, point: str = "") -> Findings:
    """Tells a trend of median latencies: Kendall's rank correlation with time, and Sen's slope.

    Args:
        medians: in order, shape (n,).
        what: they are the medians of.
        point: where they were timed.
    """
    from scipy.stats import kendalltau, theilslopes

    if len(medians) < 5 or np.ptp(medians) == 0:
        return []
    places = np.arange(len(medians))
    p = float(kendalltau(places, medians).pvalue)
    slope = float(theilslopes(medians, places).slope)
    change = slope * (len(medians) - 1) / float(np.median(medians))
    if p >= DRIFT_P or abs(change) <= DRIFT:
        return []
    word = "slower" if change > 0 else "faster"
    return [
        _suspect(
            "drift",
            f"{_at(point)}the model became {word} by {100 * abs(change):.3g} % from the first to "
            f"the last of {len(medians)} {what} (Kendall's tau, p = {p:.2g})",
            point=point, change=change, p=p,
        )
    ]  # fmt: skip


def busy_machine(evidence: Evidence, readings: Readings, points: Sequence[str]) -> Findings:
    """Whether other processes used the machine's processors meanwhile.

    Not reported for a model that is asked over a network: its server may be one of them.
    """
    cores = float(readings.fact("cores")[0])
    others = sum(float(readings.fact("others", point).sum()) for point in points)
    wall = sum(float(readings.fact("wall", point).sum()) for point in points)
    if evidence.own.model.remote or not wall or others <= BUSY * cores * wall:
        return []
    share = others / (cores * wall)
    return [
        _suspect(
            "busy-machine",
            f"other processes used {100 * share:.3g} % of the machine's {cores:.0f} cores while "
            "the model was timed",
            share=share, cores=cores,
        )
    ]  # fmt: skip


def busy_device(readings: Readings) -> Findings:
    """Whether others computed on the device while this process was idle."""
    shares = readings.fact("idle-utilisation")
    if not len(shares) or float(shares.max()) <= BUSY:
        return []
    share = float(shares.max())
    return [
        _suspect(
            "busy-device",
            f"the device was in use {100 * share:.3g} % of the time while this process left it "
            "idle: others compute on it",
            share=share,
        )
    ]


def throttled(readings: Readings, points: Sequence[str]) -> Findings:
    """Whether the device was slowed down, by its own account, for heat or for power."""
    found = []
    for point in points:
        looks = readings.fact("throttled", point)
        if len(looks) and looks.any():
            count, clock = int((looks > 0).sum()), readings.fact("sm-clock", point)
            low = f", its clock was down to {clock.min():.0f} MHz" if len(clock) else ""
            found.append(
                _suspect(
                    "throttled",
                    f"{_at(point)}the device was slowed down for heat or power at {count} of "
                    f"{len(looks)} looks{low}",
                    point=point, looks=len(looks), throttled=count,
                )
            )  # fmt: skip
    return found


def _suspect(code: str, message: str, **numbers: float | str) -> Finding:
    return Finding(code=code, severity=Severity.SUSPECT, message=message, evidence=numbers)


def _at(point: str) -> str:
    return f"{point}: " if point else ""
