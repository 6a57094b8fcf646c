"""The records of a timed cell, as score and audit read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.records import Records
from crucibench_suites.throughput import tape

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

    def queries(self, point: str = "", phase: str = tape.QUERY) -> Queries:
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
        rows = self._rows(point, tape.FACT)
        return np.asarray(self._numbers["value"][rows[self._ids[rows] == name]])

    def facts_under(self, prefix: str) -> dict[str, float]:
        """Returns the facts of the whole cell whose names begin so, without that beginning."""
        rows = self._rows("", tape.FACT)
        return {
            self._ids[row].removeprefix(prefix): float(self._numbers["value"][row])
            for row in rows
            if self._ids[row].startswith(prefix)
        }

    def answers(self) -> tuple[NDArray[np.object_], Floats, Floats]:
        """Returns sample ids, predictions and their scores, (n,) each, of timed queries."""
        rows = np.flatnonzero(self._phases == tape.ANSWER)
        return self._ids[rows], self._numbers["value"][rows], self._numbers["score"][rows]

    def points(self, phase: str = tape.QUERY) -> list[str]:
        """Returns the points that have such records, in order of appearance."""
        seen = self._points[self._phases == phase]
        return list(dict.fromkeys(seen.tolist()))

    @classmethod
    def of(cls, evidence: Evidence) -> Readings:
        """Returns those of the evidence's own cell, read once."""
        return evidence.once("readings", lambda: cls(evidence.own.records))

    def _rows(self, point: str, phase: str) -> Ints:
        return np.flatnonzero((self._phases == phase) & (self._points == point))
