"""Planted defects that the audits of timed cells must find, and cases without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench_suites.throughput.cold import ColdStart
from crucibench_suites.throughput.scenarios import RateSearch, Server, Stream, Timing
from crucibench_suites.throughput.sustained import BURST, LATE, Sustained
from crucibench_suites.throughput.tape import ANSWER, FACT, FRESH, QUERY, REPEATED, WARM_UP

_N = 20
_IDS = [f"{row:032x}" for row in range(_N)]
_TARGETS = np.arange(_N) % 2
_SCORES = np.where(np.eye(2)[_TARGETS] > 0, 0.9, 0.1)

_STREAM = Stream(name="single-stream", seconds=1.0, turns=10)
_SERVER = Server(name="server", seconds=1.0, turns=2, loads=(0.5,), points=("load=0.5",))
_SEARCH = RateSearch(name="search", seconds=1.0, turns=4, bound=0.1, percentile="p90")
_COLD = ColdStart(turns=4)
_SUSTAINED = Sustained(seconds=1.0, turns=4, samples=1)

_TIMINGS: Mapping[str, Any] = {
    "begun": np.nan, "seconds": np.nan, "value": np.nan, "score": np.nan, "round": 0
}  # fmt: skip


class _Notes:
    """The records of a timed cell, made up."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def queries(
        self, rounds: Sequence[float], *, phase: str = QUERY, point: str = "", each: int = 1
    ) -> _Notes:
        """Notes so many queries a round that take so many seconds."""
        return self._add(
            {"id": str(place), "point": point, "phase": phase, "begun": 0.0, "value": 0.0,
             "seconds": seconds, "round": place}
            for place, seconds in enumerate(rounds) for _ in range(each)
        )  # fmt: skip

    def facts(self, point: str = "", /, **facts: Any) -> _Notes:
        """Notes facts, whose names have hyphens, each a number or several."""
        return self._add(
            {"id": name.replace("_", "-"), "point": point, "phase": FACT, "value": float(value)}
            for name, values in facts.items() for value in np.atleast_1d(values)
        )  # fmt: skip

    def answers(self, predictions: Any, scores: Any) -> _Notes:
        """Notes what was answered while the clock ran."""
        return self._add(
            {"id": one, "point": "", "phase": ANSWER, "value": float(said), "score": float(score)}
            for one, said, score in zip(_IDS, predictions, scores, strict=True)
        )

    def case(self, scenario: Timing = _STREAM) -> AuditCase:
        """Returns them as the cell of a scenario."""
        full = [{**_TIMINGS, "device": np.nan, **row} for row in self.rows]
        names = {row["id"] for row in full}
        columns = {name: [row[name] for row in full] for name in ("id", "point", "phase")}
        numbers = {name: np.array([row[name] for row in full]) for name in (*_TIMINGS, "device")}
        own = example_cell({**columns, **numbers}, np.zeros(len(names), dtype=np.int64))
        clean = example_cell(
            {"id": _IDS, "prediction": _TARGETS.astype(np.int32), "scores": _SCORES}, _TARGETS
        )
        return AuditCase(example_evidence(own, {"clean": clean}), scenario)

    def _add(self, rows: Any) -> _Notes:
        self.rows += rows
        return self


def _answers(wrong: int = 0, off: float = 0.0, *, beyond: int = _N) -> AuditCase:
    """Returns answers of which so many are wrong, and so many whose scores are off."""
    said = np.where(np.arange(_N) < wrong, 1 - _TARGETS, _TARGETS)
    scores = np.where(said == _TARGETS, 0.9, 0.6) + off * (np.arange(_N) < beyond)
    return _Notes().answers(said, scores).case()


def _cache(ratio: float) -> AuditCase:
    """Returns rounds in which new inputs take so many times as long as repeated ones."""
    again = 1e-3 * np.array([0.999, 1.0, 1.001, 1.0])
    notes = _Notes().queries(list(again), phase=REPEATED)
    return notes.queries([ratio * 1e-3] * 4, phase=FRESH).case()


def _warm_up(flat: float) -> AuditCase:
    return _Notes().queries([1e-3] * 3, phase=WARM_UP).facts(warm_up_flat=flat).case()


def _clock(step: float) -> AuditCase:
    """Returns a clock's step, s; the median query takes 1 ms."""
    return _Notes().queries([1e-3] * 2).facts(clock_step=step, clock_reading=1e-8).case()


def _rounds(spread: float) -> AuditCase:
    """Returns rounds with that coefficient of variation."""
    return _Notes().queries([1 - spread / 2**0.5, 1 + spread / 2**0.5]).case()


def _drift(change: float) -> AuditCase:
    """Returns ten rounds, the last of which takes longer than the first by that share."""
    return _Notes().queries(list(1 + change * np.linspace(-0.5, 0.5, 10))).case()


def _machine(others: float) -> AuditCase:
    """Returns how many of 2 cores others used while 10 s were timed."""
    return _Notes().queries([1.0]).facts(cores=2, others=10 * others, wall=10).case()


def _throttled(*looks: int) -> AuditCase:
    return _Notes().queries([1.0]).facts(throttled=looks, sm_clock=[1400] * len(looks)).case()


def _load(busy: float) -> AuditCase:
    """Returns ten queries a second that keep the model busy for such a share of it."""
    notes = _Notes().queries([busy / 10], point="load=0.5", each=10)
    return notes.facts("load=0.5", rate=10).case(_SERVER)


def _trials(rates: Sequence[float], *slow: bool) -> AuditCase:
    """Returns trials at some rates, of which some are too slow."""
    rounds = [0.2 if late else 0.01 for late in slow]
    return _Notes().queries(rounds, each=100).facts(rate=rates).case(_SEARCH)


def _starts(*seconds: float) -> AuditCase:
    return _Notes().facts(process=seconds, load=[0] * 2, prepare=[0] * 2, first=[0] * 2).case(_COLD)


def _sustained(ratio: float) -> AuditCase:
    """Returns stretches at the end of which a query takes so many times as long as at first."""
    notes = _Notes().queries([0.999, 1.0, 1.001, 1.0], point=BURST)
    return notes.queries([ratio] * 4, point=LATE).case(_SUSTAINED)


def _windows(change: float) -> AuditCase:
    return _Notes().facts(window=1 + change * np.linspace(-0.5, 0.5, 10)).case(_SUSTAINED)


ANSWERS = KnownFindings(
    planted={
        "answers-not-checked": lambda: _Notes().facts(cores=2).case(),
        "wrong-answers-while-timed": lambda: _answers(wrong=1),
        "other-numerics-while-timed": lambda: _answers(off=2e-4),
    },
    clean=lambda: _answers(off=0.9e-4),
    spared={
        "answers-not-checked": lambda: _Notes().facts(live=1).case(_COLD),
        "other-numerics-while-timed": lambda: _answers(off=1.0, beyond=0),
    },
)

CACHE = KnownFindings(
    planted={"answers-from-a-cache": lambda: _cache(1.12)}, clean=lambda: _cache(1.09)
)

UNFINISHED = KnownFindings(
    planted={"unfinished-work": lambda: _Notes().facts(idle_cpu=[0.1, 0.21]).case()},
    clean=lambda: _Notes().facts(idle_cpu=[0.1, 0.2]).case(),
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

THROTTLED = KnownFindings(
    planted={"throttled": lambda: _throttled(0, 1)}, clean=lambda: _throttled(0, 0)
)

MACHINE = KnownFindings(
    planted={"busy-machine": lambda: _machine(0.201)}, clean=lambda: _machine(0.2)
)

DEVICE = KnownFindings(
    planted={"busy-device": lambda: _Notes().facts(idle_utilisation=[0.0, 0.11]).case()},
    clean=lambda: _Notes().facts(idle_utilisation=[0.0, 0.1]).case(),
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
