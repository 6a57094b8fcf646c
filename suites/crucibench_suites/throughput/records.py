"""The records of timing: one form for queries, warm-up, answers and facts about the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.records import Columns, Records
from crucibench_suites.throughput.clock import Clock, TimedQueries

WARM_UP = "warm-up"
QUERY = "query"
REPEATED = "repeated"
FRESH = "fresh"
ANSWER = "answer"
FACT = "fact"

KNEE = "knee"
"""The point of the smallest batch that is nearly as fast as any."""


def batch_point(size: int) -> str:
    """Returns the point of a batch size."""
    return f"batch={size}"


def load_point(load: float) -> str:
    """Returns the point of an arrival rate, as a share of what the model can serve."""
    return f"load={load:g}"


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


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Queries:
    """Timed queries of one point and phase, in order.

    Attributes:
        rounds: the round of each, shape (n,), from 0 on without gaps.
        begun: s since the cell began, shape (n,).
        seconds: latency, shape (n,).
        waited: s before it was asked, shape (n,).
        device: s that the device took, by its own clock, shape (n,); NaN where it has none.
    """

    rounds: Ints
    begun: Floats
    seconds: Floats
    waited: Floats
    device: Floats

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def by_round(self) -> list[Floats]:
        """The latencies of each round."""
        cuts = np.flatnonzero(np.diff(self.rounds)) + 1
        return np.split(self.seconds, cuts) if len(self) else []

    @property
    def medians(self) -> Floats:
        """The median latency of each round, shape (rounds,)."""
        return np.array([np.median(part) for part in self.by_round])

    @property
    def counts(self) -> Ints:
        """The number of queries of each round, shape (rounds,)."""
        return np.bincount(self.rounds)

    @property
    def spans(self) -> Floats:
        """Seconds from each round's first query to its last answer, shape (rounds,)."""
        ends = self.begun + self.seconds
        cuts = np.flatnonzero(np.diff(self.rounds)) + 1
        first = np.concatenate([[0], cuts]).astype(np.int64)
        return np.asarray(np.maximum.reduceat(ends, first) - self.begun[first])


class Readings:
    """All that a cell recorded."""

    def __init__(self, records: Records) -> None:
        self._ids = records.ids
        self._points = records.array("point")
        self._phases = records.array("phase")
        self._rounds = records.array("round").astype(np.int64)
        self._numbers = {
            name: records.array(name) for name in ("begun", "seconds", "value", "score", "device")
        }

    def queries(self, point: str = "", phase: str = QUERY) -> Queries:
        """Returns the queries of one point and phase."""
        rows = self._rows(point, phase)
        found, rounds = np.unique(self._rounds[rows], return_inverse=True)
        del found
        return Queries(
            rounds.astype(np.int64),
            *(self._numbers[name][rows] for name in ("begun", "seconds", "value", "device")),
        )

    def fact(self, name: str, point: str = "") -> Floats:
        """Returns a fact's numbers, one for each time that it was noted."""
        rows = self._rows(point, FACT)
        return np.asarray(self._numbers["value"][rows[self._ids[rows] == name]])

    def facts_under(self, prefix: str) -> dict[str, float]:
        """Returns the facts of the whole cell whose names begin so, without that beginning."""
        rows = self._rows("", FACT)
        return {
            self._ids[row].removeprefix(prefix): float(self._numbers["value"][row])
            for row in rows
            if self._ids[row].startswith(prefix)
        }

    def answers(self) -> tuple[NDArray[np.object_], Floats, Floats]:
        """Returns sample ids, predictions and their scores, (n,) each, of timed queries."""
        rows = np.flatnonzero(self._phases == ANSWER)
        return self._ids[rows], self._numbers["value"][rows], self._numbers["score"][rows]

    def points(self, phase: str = QUERY) -> list[str]:
        """Returns the points that have such records, in order of appearance."""
        seen = self._points[self._phases == phase]
        return list(dict.fromkeys(seen.tolist()))

    @classmethod
    def of(cls, evidence: Evidence) -> Readings:
        """Returns those of the evidence's own cell, read once."""
        return evidence.once("readings", lambda: cls(evidence.own.records))

    def _rows(self, point: str, phase: str) -> Ints:
        return np.flatnonzero((self._phases == phase) & (self._points == point))
