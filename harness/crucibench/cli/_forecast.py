"""Forecast how long a run still takes, from what it has measured of its own cells."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from statistics import mean, median
from typing import NamedTuple

from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.passes.scenario import SUITE as PASS
from crucibench.report.format import duration

_SHORTEST = 3.0
_LEAST = 0.1
_RENEWED = 0.25
_STEP = 0.01
"""What share more must be done before a forecast that could not be made is tried again."""
_WIDEST = 2.5
"""No range is shown whose upper end is more than so many times its lower."""

# How many times too short or too long an estimate may be, by what it rests on.
_OWN = 1.2
_SAME_SCENARIO = 1.35
_SAME_SUITE = 1.6
_OTHER = 1.8
_UNFORESEEN = 0.45
"""What is not foreseen costs time more often than it saves any: lower ends lie less far off."""


class _Cell(NamedTuple):
    """What is to do in a cell.

    Attributes:
        model: of whom: (model, data set).
        scenario: its address.
        suite: of the scenario.
        work: samples; of a timed cell 1, of a derived one 0.
        cost: points a sample, or askings.
    """

    model: tuple[str, str]
    scenario: str
    suite: str
    work: int
    cost: int


class _Estimate(NamedTuple):
    """Seconds, which may be `within` times as many or as few."""

    seconds: float
    within: float


class Forecast:
    """Counts work and the wall-clock time that it took, by model, data set and scenario.

    What a cell takes is estimated from itself, or else from the same scenario of other models, or
    from others of its suite, or from any, and is the less certain in this order. Nothing is
    forecast before a tenth of all is done, nor of a few seconds, nor where the range would be
    wide; a quarter renews it.
    """

    def __init__(self, plan: Plan, each: Mapping[tuple[str, str], float], now: float) -> None:
        """Starts with nothing done.

        Args:
            plan: of the run.
            each: seconds a sample in inspection, by (model, data): what a scenario takes beyond
                them is taken to be the same for all models.
            now: seconds, of any clock that does not go back.
        """
        self._cells = {cell.id: _described(cell) for cell in plan if not cell.skip}
        self._by_scenario = {(one.model, one.scenario): one for one in self._cells.values()}
        self._each = each
        self._done: Counter[str] = Counter()
        self._begun: set[str] = set()
        self._seconds: defaultdict[tuple[tuple[str, str], str], float] = defaultdict(float)
        self._measured: Counter[tuple[tuple[str, str], str]] = Counter()
        self._before: dict[str, list[float]] = {}
        self._after: list[float] = []
        self._last = now
        self._shown = self._tried = 0.0

    def advance(self, cell: str, samples: int | None, now: float) -> None:
        """Adds samples that a cell has done; None where it has ended."""
        if cell not in self._cells:
            return
        one = self._cells[cell]
        took, self._last = now - self._last, now
        if samples is None and (cell in self._begun or not one.work):
            self._after.append(took)
        elif cell not in self._begun and samples is not None and samples < one.work:
            # What comes before a cell's first samples, its probes above all, is no rate of theirs.
            self._begun.add(cell)
            self._before.setdefault(one.suite, []).append(took)
        else:
            self._begun.add(cell)
            self._seconds[one.model, one.scenario] += took
            self._measured[one.model, one.scenario] += samples or one.work
        self._done[cell] = (
            one.work if samples is None else min(one.work, self._done[cell] + samples)
        )

    @property
    def seconds_left(self) -> tuple[float, float] | None:
        """The least and the most seconds that the rest may take; None where that is not known."""
        left = [
            (cell, one, one.work - self._done[cell])
            for cell, one in self._cells.items()
            if one.work > self._done[cell]
        ]
        if not left or self._share() < _LEAST:
            return None
        parts = []
        for cell, one, work in left:
            if (rate := self._rate(one)) is None:
                return None
            parts.append(_Estimate(rate.seconds * work, rate.within))
            before = self._before.get(one.suite) or [
                took for all_ in self._before.values() for took in all_
            ]
            if cell not in self._begun and before:
                parts.append(_Estimate(median(before), _SAME_SUITE))
        if self._after:
            ended = len(self._cells) - len(self._after)
            parts.append(_Estimate(mean(self._after) * ended, _SAME_SUITE))
        low = sum(one.seconds / one.within**_UNFORESEEN for one in parts)
        high = sum(one.seconds * one.within for one in parts)
        if high < _SHORTEST or high > _WIDEST * low:
            return None
        return low, high

    def _rate(self, cell: _Cell) -> _Estimate | None:
        """Returns seconds a sample, from what comes nearest to a cell; None where nothing does."""
        own = cell.model, cell.scenario
        if self._measured[own]:
            return _Estimate(self._seconds[own] / self._measured[own], _OWN)
        known = [key for key, work in self._measured.items() if work]
        alike = [key for key in known if key[1] == cell.scenario]
        suite = [key for key in known if self._by_scenario[key].suite == cell.suite]
        for keys, within in (
            (alike, _SAME_SCENARIO),
            ([key for key in suite if key[0] == cell.model], _SAME_SUITE),
            (suite, _OTHER),
            ([key for key in known if key[0] == cell.model], _OTHER),
        ):
            beyond = [self._beyond(key) for key in keys]
            if beyond and (cell.model in self._each or all(key[0] == cell.model for key in keys)):
                each = self._each.get(cell.model, 0.0)
                return _Estimate(cell.cost * (each + mean(beyond)), within)
        return None

    def _beyond(self, key: tuple[tuple[str, str], str]) -> float:
        """Returns what a measured scenario took a sample and point beyond what its model takes."""
        taken = self._seconds[key] / self._measured[key] / self._by_scenario[key].cost
        return max(taken - self._each.get(key[0], 0.0), 0.0)

    def news(self) -> tuple[float, float] | None:
        """Returns `seconds_left` when it is first known, and when a quarter is done; else None."""
        share = self._share()
        if self._shown and not self._shown < _RENEWED <= share:
            return None  # before what takes long where there are many cells
        if share < max(_LEAST, self._tried + _STEP):
            return None
        self._tried = share
        found = self.seconds_left
        if found is not None:
            self._shown = share
        return found

    def _share(self) -> float:
        """Returns the share of the cells' work that is done, each cell counting alike."""
        parts = [self._done[cell] / one.work for cell, one in self._cells.items() if one.work]
        return sum(parts) / len(parts) if parts else 0.0


def range_words(seconds: tuple[float, float]) -> str:
    """Writes a range of times: ``3 min to 6 min``."""
    low, high = map(duration, seconds)
    return low if low == high else f"{low} to {high}"


def _described(cell: PlannedCell) -> _Cell:
    scenario, points = cell.scenario, [point for point in cell.scenario.points if point]
    return _Cell(
        model=(cell.model.name, cell.data.name),
        scenario=scenario.address,
        suite=scenario.suite,
        work={"mapped": cell.samples, "timed": 1}.get(cell.kind, 0),
        cost=max(cell.model.repeat if scenario.suite == PASS else 1, len(points)),
    )
