"""Planted defects that the audits of timed cells must find, and cases without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench_suites.throughput.records import ANSWER, FACT, FRESH, QUERY, REPEATED, WARM_UP
from crucibench_suites.throughput.regimes import BURST, LATE, ColdStart, Sustained
from crucibench_suites.throughput.scenarios import Server, Stream, Timing
from crucibench_suites.throughput.search import RateSearch

_N = 20
_IDS = [f"{row:032x}" for row in range(_N)]
_TARGETS = np.arange(_N) % 2
_SCORES = np.where(np.eye(2)[_TARGETS] > 0, 0.9, 0.1)

_STREAM = Stream(name="single-stream", seconds=1.0, turns=10)
_COLD = ColdStart(turns=4)
_SUSTAINED = Sustained(seconds=1.0, turns=4, samples=1)

_TIMINGS: Mapping[str, Any] = {
    "begun": np.nan, "seconds": np.nan, "value": np.nan, "score": np.nan,
    "device": np.nan, "round": 0,
}  # fmt: skip


_Rows = list[dict[str, Any]]


def _queries(
    rounds: Sequence[float], *, phase: str = QUERY, point: str = "", each: int = 1
) -> _Rows:
    """Returns so many queries a round that take so many seconds."""
    return [
        {"id": str(place), "point": point, "phase": phase, "begun": 0.0, "value": 0.0,
         "seconds": seconds, "round": place}
        for place, seconds in enumerate(rounds) for _ in range(each)
    ]  # fmt: skip


def _facts(point: str = "", /, **facts: Any) -> _Rows:
    """Returns facts, whose names have hyphens, each a number or several."""
    return [
        {"id": name.replace("_", "-"), "point": point, "phase": FACT, "value": float(value)}
        for name, values in facts.items() for value in np.atleast_1d(values)
    ]  # fmt: skip


def _case(rows: _Rows, scenario: Timing = _STREAM) -> AuditCase:
    """Returns rows as the cell of a scenario; what they lack doesn't apply."""
    full = [{**_TIMINGS, **row} for row in rows]
    columns: dict[str, Any] = {name: [row[name] for row in full] for name in full[0]}
    numbers = {name: np.array(columns[name]) for name in _TIMINGS}
    own = example_cell({**columns, **numbers}, np.zeros(len(set(columns["id"])), dtype=np.int64))
    clean = example_cell(
        {"id": _IDS, "prediction": _TARGETS.astype(np.int32), "scores": _SCORES}, _TARGETS
    )
    return AuditCase(example_evidence(own, {"clean": clean}), scenario)


def _answers(wrong: int = 0, off: float = 0.0, *, beyond: int = _N) -> AuditCase:
    """Returns answers of which so many are wrong, and so many whose scores are off."""
    predicted = np.where(np.arange(_N) < wrong, 1 - _TARGETS, _TARGETS)
    scores = np.where(predicted == _TARGETS, 0.9, 0.6) + off * (np.arange(_N) < beyond)
    return _case(
        [{"id": one, "point": "", "phase": ANSWER, "value": float(answer), "score": float(score)}
         for one, answer, score in zip(_IDS, predicted, scores, strict=True)]
    )  # fmt: skip


def _cache(ratio: float) -> AuditCase:
    """Returns rounds in which new inputs take so many times as long as repeated ones."""
    again = _queries([0.999e-3, 1e-3, 1.001e-3, 1e-3], phase=REPEATED)
    return _case(again + _queries([ratio * 1e-3] * 4, phase=FRESH))


def _warm_up(flat: float) -> AuditCase:
    return _case(_queries([1e-3] * 3, phase=WARM_UP) + _facts(warm_up_flat=flat))


def _clock(step: float) -> AuditCase:
    """Returns a clock's step, s; the median query takes 1 ms."""
    return _case(_queries([1e-3] * 2) + _facts(clock_step=step, clock_reading=1e-8))


def _rounds(spread: float) -> AuditCase:
    """Returns rounds with that coefficient of variation."""
    return _case(_queries([1 - spread / 2**0.5, 1 + spread / 2**0.5]))


def _drift(change: float) -> AuditCase:
    """Returns ten rounds, the last of which takes longer than the first by that share."""
    return _case(_queries(list(1 + change * np.linspace(-0.5, 0.5, 10))))


def _windows(change: float) -> AuditCase:
    """Returns ten windows, the last of which takes longer than the first by that share."""
    return _case(_facts(window=1 + change * np.linspace(-0.5, 0.5, 10)), _SUSTAINED)


def _machine(others: float = 2.0, **facts: Any) -> AuditCase:
    """Returns what others used, in core seconds, of 2 cores while 10 s were timed."""
    return _case(_queries([1.0]) + _facts(cores=2, others=others, wall=10, **facts))


def _load(busy: float) -> AuditCase:
    """Returns ten queries a second that keep the model busy for such a share of it."""
    server = Server(name="server", seconds=1.0, turns=2, loads=(0.5,), points=("load=0.5",))
    queries = _queries([busy / 10], point="load=0.5", each=10)
    return _case(queries + _facts("load=0.5", rate=10), server)


def _trials(rates: Sequence[float], *slow: bool) -> AuditCase:
    """Returns trials at some rates, of which some are too slow."""
    search = RateSearch(name="search", seconds=1.0, turns=4, bound=0.1, percentile="p90")
    rounds = [0.2 if late else 0.01 for late in slow]
    return _case(_queries(rounds, each=100) + _facts(rate=rates), search)


def _starts(*seconds: float) -> AuditCase:
    return _case(_facts(process=seconds, load=[0] * 2, prepare=[0] * 2, first=[0] * 2), _COLD)


def _sustained(ratio: float) -> AuditCase:
    """Returns stretches at the end of which a query takes so many times as long as at first."""
    burst = _queries([0.999, 1.0, 1.001, 1.0], point=BURST)
    return _case(burst + _queries([ratio] * 4, point=LATE), _SUSTAINED)


ANSWERS = KnownFindings(
    planted={
        "answers-not-checked": lambda: _case(_facts(cores=2)),
        "wrong-answers-while-timed": lambda: _answers(wrong=1),
        "other-numerics-while-timed": lambda: _answers(off=2e-4),
    },
    clean=lambda: _answers(off=0.9e-4),
    spared={
        "answers-not-checked": lambda: _case(_facts(live=1), _COLD),
        "other-numerics-while-timed": lambda: _answers(off=1.0, beyond=0),
    },
)

CACHE = KnownFindings(
    planted={"answers-from-a-cache": lambda: _cache(1.12)}, clean=lambda: _cache(1.09)
)

UNFINISHED = KnownFindings(
    planted={"unfinished-work": lambda: _case(_facts(idle_cpu=[0.1, 0.21]))},
    clean=lambda: _case(_facts(idle_cpu=[0.1, 0.2])),
)

WARM_UP_END = KnownFindings(
    planted={"warm-up-cut-off": lambda: _warm_up(0)}, clean=lambda: _warm_up(1)
)

CLOCK = KnownFindings(
    planted={"clock-too-coarse": lambda: _clock(1.1e-5)}, clean=lambda: _clock(1e-5)
)

ROUNDS = KnownFindings(
    planted={"noisy-rounds": lambda: _rounds(0.051)}, clean=lambda: _rounds(0.049)
)

DRIFT_OF_TIMES = KnownFindings(
    planted={"drift": lambda: _drift(0.051)},
    clean=lambda: _drift(-0.049),
    spared={"drift": lambda: _windows(0.049)},
)

MACHINE = KnownFindings(
    planted={
        "busy-machine": lambda: _machine(2.01),
        "busy-device": lambda: _machine(idle_utilisation=[0.0, 0.11]),
        "throttled": lambda: _machine(throttled=[0, 1], sm_clock=[1400, 900]),
    },
    clean=lambda: _machine(idle_utilisation=[0.0, 0.1], throttled=[0, 0], sm_clock=[1400] * 2),
)

LOADS = KnownFindings(planted={"overloaded": lambda: _load(0.96)}, clean=lambda: _load(0.94))

RATES = KnownFindings(
    planted={
        "search-left-open": lambda: _trials([8, 9], False, True),
        "search-contradicts-itself": lambda: _trials([9, 10, 11], False, True, False),
    },
    clean=lambda: _trials([9, 10], False, True),
)

STARTS = KnownFindings(
    planted={"unsteady-starts": lambda: _starts(1.0, 1.34)}, clean=lambda: _starts(1.0, 1.32)
)

SUSTAINED = KnownFindings(
    planted={"slower-when-sustained": lambda: _sustained(1.06)}, clean=lambda: _sustained(1.04)
)
