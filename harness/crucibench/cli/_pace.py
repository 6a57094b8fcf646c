"""How fast a cell goes and how long it will still take."""

from __future__ import annotations

from collections import deque

_WINDOW = 30.0
"""Seconds that a rate is taken over, so that it follows a change."""


class Pace:
    """Counts samples of one cell by a clock that the caller reads."""

    def __init__(self, total: int, now: float) -> None:
        """Begins.

        Args:
            total: the samples there are; 0 where nobody knows.
            now: seconds, of any clock that does not go back.
        """
        self.done = 0
        self.begun = now
        self._total = total
        self._points: deque[tuple[float, int]] = deque()

    @property
    def total(self) -> int | None:
        """The samples there are; None where nobody knows: later stages ask about some again."""
        return self._total if self._total and self.done <= self._total else None

    def advance(self, samples: int, now: float) -> None:
        """Says that so many more are done; fewer than none where work was lost."""
        self.done += samples
        self._points.append((now, self.done))
        while len(self._points) > 2 and now - self._points[1][0] > _WINDOW:
            self._points.popleft()

    def rate(self, now: float) -> float | None:
        """Returns samples a second, lately; None while it can't be told.

        What came first does not count: it may have been there already, kept by an earlier attempt,
        and models are slow to begin.
        """
        if len(self._points) > 1:
            begun, before = self._points[0]
        elif self.done == self._total:
            begun, before = self.begun, 0
        else:
            return None
        return (self.done - before) / (now - begun) if self.done > before and now > begun else None

    def seconds_left(self, now: float) -> float | None:
        """Returns the seconds until all are done at this rate; None while it can't be told."""
        rate = self.rate(now)
        return None if rate is None or self.total is None else (self.total - self.done) / rate
