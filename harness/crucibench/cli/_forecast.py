"""Forecast how long a run still takes, from what it has measured of its own cells."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from statistics import mean, median
from typing import TYPE_CHECKING

from crucibench.cli._plan import duration, kind_of

if TYPE_CHECKING:
    from crucibench.engine.plan.plan import Plan, PlannedCell

_EITHER_WAY = 1.35
"""The ends of a range lie this factor from its middle."""
_SHORTEST = 3.0
_LEAST = 0.1
_RENEWED = 0.25

Key = tuple[str, str, str]
"""(model, data set, suite): what takes alike."""


class Forecast:
    """Counts work and the wall-clock time that it took, by model, data set and suite.

    A cell's work is its samples, a timed cell's is one, a derived cell's none. Nothing is forecast
    before every kind of work that is left can be measured, or stands beside one that is, nor before
    a tenth of all is done, nor of a few seconds; a quarter renews it.
    """

    def __init__(self, plan: Plan, each: Mapping[tuple[str, str], float], now: float) -> None:
        """Starts with nothing done.

        Args:
            plan: of the run.
            each: seconds a sample in inspection, by (model, data set): of a model that has not
                begun, how much slower or faster it is than those that have.
            now: seconds, of any clock that does not go back.
        """
        self._work = {
            cell.id: (_key(cell), {"mapped": cell.samples, "timed": 1}.get(kind_of(cell), 0))
            for cell in plan
            if not cell.skip
        }
        self._each = each
        self._done: Counter[str] = Counter()
        self._begun: set[str] = set()
        self._seconds: defaultdict[Key, float] = defaultdict(float)
        self._measured: Counter[Key] = Counter()
        self._before: dict[Key, list[float]] = {}
        self._after: list[float] = []
        self._last = now
        self._shown = 0.0

    def advance(self, cell: str, samples: int | None, now: float) -> None:
        """Adds samples that a cell has done; None where it has ended."""
        if cell not in self._work:
            return
        key, work = self._work[cell]
        took, self._last = now - self._last, now
        if samples is None and (cell in self._begun or not work):
            self._after.append(took)
        elif cell not in self._begun:
            # What comes before a cell's first samples, its probes above all, is no rate of theirs.
            self._begun.add(cell)
            self._before.setdefault(key, []).append(took)
        elif samples:
            self._seconds[key] += took
            self._measured[key] += samples
        self._done[cell] = work if samples is None else min(work, self._done[cell] + samples)

    @property
    def seconds_left(self) -> tuple[float, float] | None:
        """The least and the most seconds that the rest may take; None where that is not known."""
        left, waiting = Counter[Key](), Counter[Key]()
        for cell, (key, work) in self._work.items():
            left[key] += work - self._done[cell]
            waiting[key] += bool(work) and cell not in self._begun
        rest = [key for key, work in left.items() if work]
        if not rest or self._share() < _LEAST:
            return None
        found = 0.0
        for key in rest:
            if (rate := self._rate(key)) is None:
                return None
            before = self._before.get(key) or [
                one for all_ in self._before.values() for one in all_
            ]
            found += rate * left[key] + median(before) * waiting[key]
        if self._after:
            ended = len(self._after)
            found += mean(self._after) * (len(self._work) - ended)
        if found < _SHORTEST:
            return None
        return found / _EITHER_WAY, found * _EITHER_WAY

    def _rate(self, key: Key) -> float | None:
        """Returns seconds a sample; of a model that has not begun, by the others' in its suite."""
        if self._measured[key]:
            return self._seconds[key] / self._measured[key]
        alike = [one for one in self._measured if one[2] == key[2] and self._measured[one]]
        inspected = sum(self._each.get(one[:2], 0.0) * self._measured[one] for one in alike)
        if not inspected or key[:2] not in self._each:
            return None
        return sum(self._seconds[one] for one in alike) / inspected * self._each[key[:2]]

    def news(self) -> tuple[float, float] | None:
        """Returns `seconds_left` when it is first known, and when a quarter is done; else None."""
        share, found = self._share(), self.seconds_left
        if found is None or (self._shown and not self._shown < _RENEWED <= share):
            return None
        self._shown = share
        return found

    def _share(self) -> float:
        """Returns the share of the cells' work that is done, each cell counting alike."""
        parts = [self._done[cell] / work for cell, (_, work) in self._work.items() if work]
        return sum(parts) / len(parts) if parts else 0.0


def range_words(seconds: tuple[float, float]) -> str:
    """Writes a range of times: ``3 min to 6 min``."""
    low, high = map(duration, seconds)
    return low if low == high else f"{low} to {high}"


def _key(cell: PlannedCell) -> Key:
    return cell.model.name, cell.data.name, cell.scenario.suite
