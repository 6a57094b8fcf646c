"""The records of timing: one form for queries, warm-up, answers and facts about the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.contracts.records import Columns
from crucibench_suites.throughput.clock import Clock
from crucibench_suites.throughput.loops import TimedQueries

WARM_UP = "warm-up"
QUERY = "query"
REPEATED = "repeated"
FRESH = "fresh"
ANSWER = "answer"
FACT = "fact"


class Tape:
    """What one cell records, handed over round by round.

    Columns: ``id`` (a query's number, a sample's id for an answer, a name for a fact), ``point``,
    ``phase``, ``begun`` (s since the cell began), ``seconds`` (latency), ``value`` (seconds that a
    query waited before it was asked; an answer's prediction; a fact's number), ``score`` (of an
    answer: that of its prediction) and ``device`` (s that the device took for a query, by its own
    clock). What does not apply is NaN.
    """

    def __init__(self, clock: Clock) -> None:
        self._origin = clock.now()
        self._queries = 0
        self._clear()

    def timed(self, point: str, phase: str, timed: TimedQueries) -> None:
        """Notes queries."""
        waited = np.asarray((timed.started - timed.issued) * 1e-9, dtype=np.float64)
        device = {"device": timed.device} if len(timed.device) else {}
        self._calls(point, phase, timed.issued, timed.seconds, value=waited, **device)

    def warm_up(self, point: str, begun: NDArray[np.int64], seconds: NDArray[np.float64]) -> None:
        """Notes the calls of a warm-up."""
        self._calls(point, WARM_UP, begun, seconds, value=np.zeros(len(seconds)))

    def answers(
        self, point: str, ids: Sequence[str], predictions: ArrayLike, scores: ArrayLike
    ) -> None:
        """Notes what was answered to samples while the clock ran."""
        self._add(list(ids), point, ANSWER, value=predictions, score=scores)

    def facts(self, point: str, facts: Mapping[str, float | None]) -> None:
        """Notes numbers by name; None is left out."""
        known = {name: value for name, value in facts.items() if value is not None}
        self._add(list(known), point, FACT, value=list(known.values()))

    def columns(self) -> Columns:
        """Returns what was noted since the last time."""
        numbers = {
            name: np.concatenate(self._numbers[name] or [np.zeros(0)]) for name in self._numbers
        }
        found: dict[str, Any] = {
            "id": self._ids, "point": self._points, "phase": self._phases, **numbers,
        }  # fmt: skip
        self._clear()
        return found

    def _calls(
        self,
        point: str,
        phase: str,
        begun: NDArray[np.int64],
        seconds: NDArray[np.float64],
        **numbers: NDArray[np.float64],
    ) -> None:
        first, self._queries = self._queries, self._queries + len(seconds)
        ids = [str(number) for number in range(first, self._queries)]
        since = (begun - self._origin) * 1e-9
        self._add(ids, point, phase, begun=since, seconds=seconds, **numbers)

    def _add(self, ids: list[str], point: str, phase: str, **numbers: ArrayLike) -> None:
        self._ids += ids
        self._points += [point] * len(ids)
        self._phases += [phase] * len(ids)
        for name, parts in self._numbers.items():
            values = numbers.get(name, np.full(len(ids), np.nan))
            parts.append(np.asarray(values, dtype=np.float64))

    def _clear(self) -> None:
        self._ids: list[str] = []
        self._points: list[str] = []
        self._phases: list[str] = []
        self._numbers: dict[str, list[NDArray[np.float64]]] = {
            "begun": [], "seconds": [], "value": [], "score": [], "device": [],
        }  # fmt: skip
