"""Audits of timed cells: was the right thing timed, and did the times mean anything?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.audit import Audit
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Records
from crucibench.contracts.task import Task
from crucibench.contracts.verdict import Finding, Severity
from crucibench.stats import student_t
from crucibench_suites.throughput.bench import chosen, of_lists
from crucibench_suites.throughput.records import (
    FRESH,
    REPEATED,
    WARM_UP,
    Floats,
    Readings,
    load_point,
)  # fmt: skip
from crucibench_suites.throughput.scoring import variation
from crucibench_suites.throughput.search import Bracket, trials_of


def timed_points(readings: Readings, scenario: Any) -> list[str]:
    """Returns the points of a `Scenario` that have timed queries."""
    return [point for point in scenario.points if len(readings.queries(point))]


WRONG = 0.01
"""The share of wrong answers from which the times are invalid."""

OTHER_NUMBERS = 0.01
"""The share of scores beyond the tolerance from which the numerics are other ones."""


def wrong_answers(evidence: Evidence, readings: Readings) -> Findings:
    """Compares the answers of timed queries with those of the accuracy pass."""
    if len(readings.fact("live")):
        return []  # there is no other process that could have answered
    clean = evidence.needs["clean"]
    ids, predictions, scores = readings.answers()
    known = pd.Index(clean.records.ids).get_indexer(pd.Index(ids))
    if not len(ids) or (known < 0).all():
        return [
            Finding(
                code="answers-not-checked",
                severity=Severity.SUSPECT,
                message="no answer of a timed query could be read: nobody knows whether they were "
                "right",
            )
        ]
    ids, predictions, scores = ids[known >= 0], predictions[known >= 0], scores[known >= 0]
    predicted, best = _of_pass(clean.records, evidence.task)
    predicted, best = predicted[known[known >= 0]], best[known[known >= 0]]
    classes = evidence.task.one_class
    comparable = ~np.isnan(scores) & ~np.isnan(best)
    off = np.zeros(len(ids), dtype=np.bool_)
    size = np.abs(scores[comparable] - best[comparable])
    # A score that is not finite is off, whatever it is compared with.
    off[comparable] = ~(
        size <= evidence.own.model.noise * np.maximum(1.0, np.abs(best[comparable]))
    )
    # Two classes of equal scores may change places; a wrong label has another score, or no score.
    wrong = (predictions != predicted) & (off | ~comparable) if classes else off
    count, n = int(wrong.sum()), len(ids)
    found: Findings = []
    if count:
        share = count / n
        found.append(
            Finding(
                code="wrong-answers-while-timed",
                severity=Severity.INVALID if share > WRONG else Severity.SUSPECT,
                message=f"{count:,} of {n:,} answers of timed queries are not what the model "
                "answered in the accuracy pass: what was timed is not what was scored",
                evidence={"wrong": count, "checked": n},
            )
        )
    differ = int(off.sum())
    if classes and differ > OTHER_NUMBERS * n and count <= WRONG * n:
        found.append(
            Finding(
                code="other-numerics-while-timed",
                severity=Severity.SUSPECT,
                message=f"{differ:,} of {n:,} scores of timed queries differ from the accuracy "
                f"pass's by up to {float(size.max()):.2g}, more than "
                f"{evidence.own.model.variant or 'float32'} does: another precision was timed than "
                "was scored",
                evidence={"differing": differ, "checked": n, "largest": float(size.max())},
            )
        )
    return found


def _of_pass(records: Records, task: Task) -> tuple[Floats, Floats]:
    """Returns the pass's predictions and their scores, NaN where it has none."""
    if any(field.lists for field in task.definition.fields):
        return of_lists(records.lists("prediction"))
    predicted = records.array("prediction")
    if predicted.dtype.kind == "f":
        return predicted.astype(np.float64), predicted.astype(np.float64)
    if "scores" in records:
        return chosen(records.array("scores"))
    return predicted.astype(np.float64), np.full(len(predicted), np.nan)


FASTER = 0.10
"""TEST04's: a repeated input that is answered faster by more is answered from a cache."""

_LEVEL = 0.999
"""The finding makes times invalid: an honest model on a noisy machine must hardly ever get it."""


def cached_answers(readings: Readings) -> Findings:
    """Compares new inputs with the same ones asked about again, by round."""
    new, again = readings.queries("", FRESH).medians, readings.queries("", REPEATED).medians
    if len(new) != len(again) or len(new) < 2:
        return []
    ratios = np.log(np.maximum(new, 1e-12) / np.maximum(again, 1e-12))
    interval = student_t(ratios, _LEVEL)
    if interval.lower <= math.log(1 + FASTER):
        return []
    ratio = math.exp(float(ratios.mean()))
    low, high = math.exp(interval.lower), math.exp(interval.upper)
    return [
        Finding(
            code="answers-from-a-cache",
            severity=Severity.INVALID,
            message=f"an input that the model has not seen takes {ratio:.3g} times as long as when "
            f"it is asked about again [{low:.3g}, {high:.3g}]: answers come from a cache, and the "
            "timed queries repeat",
            evidence={"ratio": ratio, "lower": low, "upper": high, "rounds": len(new)},
        )
    ]


BEHIND = 0.95


def overloaded(readings: Readings, loads: Sequence[float]) -> Findings:
    """Tells loads at which the model was busy nearly all the time, so that the queue just grew.

    Then latency says how long was measured, not how the model is.
    """
    found: Findings = []
    for load in loads:
        point = load_point(load)
        queries = readings.queries(point)
        # Whoever is asked at the scheduled instant waits for nobody.
        busy = float((queries.seconds - queries.waited).sum())
        offered = busy / len(queries) * float(readings.fact("rate", point).mean())
        if offered > BEHIND:
            found.append(
                Finding(
                    code="overloaded",
                    severity=Severity.SUSPECT,
                    message=f"{point}: queries arrived at {100 * offered:.3g} % of the rate at "
                    "which the model answered them here: the queue grew, and latency depends on "
                    "how long was measured",
                    evidence={"point": point, "offered": offered, "median_wait": float(
                        np.median(queries.waited))},
                )
            )  # fmt: skip
    return found


WIDE = 0.10
"""What a search may leave open between the rates that pass and fail."""


def open_search(readings: Readings, bound: float, share: float) -> Findings:
    """Tells a search that ended early, and trials that contradict one another."""
    trials = trials_of(readings, bound, share)
    bracket = Bracket.of(trials)
    found: Findings = []
    if bracket.passed > 0 and bracket.failed - bracket.passed > WIDE * bracket.failed:
        found.append(
            Finding(
                code="search-left-open",
                severity=Severity.SUSPECT,
                message=f"after {len(trials)} trials a rate of {bracket.passed:.4g} queries/s "
                f"passed and one of {bracket.failed:.4g} did not: more rounds would tell",
                evidence={"passed": bracket.passed, "failed": bracket.failed},
            )
        )
    above = [one.rate for one in trials if one.passed and one.rate >= bracket.failed]
    if above:
        found.append(
            Finding(
                code="search-contradicts-itself",
                severity=Severity.SUSPECT,
                message=f"{max(above):.4g} queries/s passed and {bracket.failed:.4g} did not when "
                "other queries arrived: model or machine changed, or it was by chance",
                evidence={"passed": max(above), "failed": bracket.failed},
            )
        )
    return found


UNSTEADY = 0.20
"""The coefficient of variation of cold starts beyond which their mean says little."""

SLOWER = 0.05
"""By so much latency may grow when load is sustained."""


def unsteady_starts(readings: Readings) -> Findings:
    """Whether one start takes much longer than another."""
    starts = sum(readings.fact(name) for name in ("process", "load", "prepare", "first"))
    if not isinstance(starts, int) and len(starts) > 1 and (spread := variation(starts)) > UNSTEADY:
        return [
            Finding(
                code="unsteady-starts",
                severity=Severity.SUSPECT,
                message=f"cold starts vary by {100 * spread:.3g} % between {len(starts)} processes "
                "(coefficient of variation): the machine was busy, or files had to be fetched",
                evidence={"coefficient_of_variation": spread, "processes": len(starts)},
            )
        ]
    return []


def slower_when_sustained(readings: Readings, points: Sequence[str], level: float) -> Findings:
    """Whether the model slows down while it is asked without a pause: throttling, or a leak.

    Args:
        readings: of the cell.
        points: that of the burst, and that of sustained load.
        level: of the interval that must lie above.
    """
    burst, late = (readings.queries(point).medians for point in points)
    ratios = late / burst
    interval = student_t([math.log(ratio) for ratio in ratios], level)
    if interval.lower <= math.log(1 + SLOWER):
        return []
    ratio = math.exp((interval.lower + interval.upper) / 2)
    return [
        Finding(
            code="slower-when-sustained",
            severity=Severity.SUSPECT,
            message=f"asked without a pause the model takes {ratio:.3g} times as long as after a "
            f"rest [{math.exp(interval.lower):.3g}, {math.exp(interval.upper):.3g}]: short "
            "measurements flatter it (throttling, or a leak)",
            evidence={"ratio": ratio, "stretches": len(ratios)},
        )
    ]


IDLE = 0.2
"""Cores that an idle process may use: threads that look for work a while before they sleep."""


def unfinished_work(readings: Readings) -> Findings:
    """Looks at what the process still did 0.3 s after the last answer."""
    idle = readings.fact("idle-cpu")
    if not len(idle) or float(idle.max()) <= IDLE:
        return []
    return [
        Finding(
            code="unfinished-work",
            severity=Severity.SUSPECT,
            message=f"0.3 s after its last answer the process still used {float(idle.max()):.2g} "
            "cores: queries may have been timed before their work was done",
            evidence={"cores": float(idle.max())},
        )
    ]


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


def busy_or_slow(evidence: Evidence, readings: Readings, points: Sequence[str]) -> Findings:
    """Whether others used the machine or the device, or the device was slowed down."""
    return [
        *busy_device(readings),
        *throttled(readings, points),
        *busy_machine(evidence, readings, points),
    ]


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


_KNOWN = "crucibench_suites.throughput.known_answers:"


ANSWERS = Audit(
    name="timed-answers",
    description="Are the answers of timed queries those of the accuracy pass?",
    function=lambda evidence, scenario: wrong_answers(evidence, Readings.of(evidence)),
    known_answer=_KNOWN + "ANSWERS",
)

CACHE = Audit(
    name="cached-answers",
    description="Do answers to repeated inputs come from a cache?",
    function=lambda evidence, scenario: cached_answers(Readings.of(evidence)),
    known_answer=_KNOWN + "CACHE",
)

UNFINISHED = Audit(
    name="unfinished-work",
    description="Does the process still compute after its last answer?",
    function=lambda evidence, scenario: unfinished_work(Readings.of(evidence)),
    known_answer=_KNOWN + "UNFINISHED",
)

WARM_UP_END = Audit(
    name="warm-up",
    description="Did times still fall when warm-up ended?",
    function=lambda evidence, scenario: warm_up_cut_off(Readings.of(evidence)),
    known_answer=_KNOWN + "WARM_UP_END",
)

CLOCK = Audit(
    name="clock",
    description="Does the clock resolve the latency that it measures?",
    function=lambda evidence, scenario: coarse_clock(
        readings := Readings.of(evidence), timed_points(readings, scenario)
    ),
    known_answer=_KNOWN + "CLOCK",
)

ROUNDS = Audit(
    name="noisy-rounds",
    description="Do the rounds differ too much to show a small slowdown?",
    function=lambda evidence, scenario: noisy_rounds(
        readings := Readings.of(evidence), timed_points(readings, scenario)
    ),
    known_answer=_KNOWN + "ROUNDS",
)

DRIFT_OF_TIMES = Audit(
    name="drift-of-times",
    description="Did the model become slower or faster while it was timed?",
    function=lambda evidence, scenario: drift(
        readings := Readings.of(evidence), timed_points(readings, scenario)
    ),
    known_answer=_KNOWN + "DRIFT_OF_TIMES",
)

MACHINE = Audit(
    name="machine",
    description="Were machine and device left to the model, and at their full speed?",
    function=lambda evidence, scenario: busy_or_slow(
        evidence, readings := Readings.of(evidence), timed_points(readings, scenario)
    ),
    known_answer=_KNOWN + "MACHINE",
)

LOADS = Audit(
    name="overloaded",
    description="Did queries arrive at nearly the rate at which the model answers them?",
    function=lambda evidence, scenario: overloaded(Readings.of(evidence), scenario.loads),
    known_answer=_KNOWN + "LOADS",
)

RATES = Audit(
    name="open-search",
    description="Did a search for the highest rate come to an end, without a contradiction?",
    function=lambda evidence, scenario: open_search(
        Readings.of(evidence), scenario.bound, scenario.kept
    ),
    known_answer=_KNOWN + "RATES",
)

STARTS = Audit(
    name="unsteady-starts",
    description="Does one cold start take much longer than another?",
    function=lambda evidence, scenario: unsteady_starts(Readings.of(evidence)),
    known_answer=_KNOWN + "STARTS",
)

SUSTAINED = Audit(
    name="slower-when-sustained",
    description="Does the model slow down while it is asked without a pause?",
    function=lambda evidence, scenario: slower_when_sustained(
        Readings.of(evidence), scenario.points, evidence.options.level
    ),
    known_answer=_KNOWN + "SUSTAINED",
)
