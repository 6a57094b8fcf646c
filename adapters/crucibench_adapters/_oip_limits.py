"""How often a server may be asked: so many requests in all, and so many a second."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict

from crucibench.contracts.adapter import Remote
from crucibench.util.errors import InputError

_REMEMBERED = 64


class LimitError(InputError):
    """As many requests as the spec allows have been sent. No input is at fault, but trying again,
    as after other errors, would not help either.
    """


class WaitingClock:
    """Time, and waiting; tests bring their own."""

    def now(self) -> float:
        """Seconds from any point on."""
        return time.monotonic()

    def date(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Waits so long, or until `stop` is set."""
        if seconds > 0:
            stop.wait(seconds)

    def jitter(self) -> float:
        """A number from [0, 1): clients that failed together shall not come back together."""
        return random.random()  # no draw of an evaluation: results don't depend on it


class RequestBudget:
    """Counts requests and spaces them, over all threads.

    A bucket that holds one token: no two requests lie closer than 1 / `per_second` seconds.
    """

    def __init__(self, per_second: float | None, most: int | None) -> None:
        self._gap = 1.0 / per_second if per_second else 0.0
        self._most = most
        self._lock = threading.Lock()
        self._next = float("-inf")
        self.sent = 0

    def take(self, clock: WaitingClock, stop: threading.Event, *, counted: bool) -> None:
        """Waits until a request may be sent.

        Args:
            clock: the time.
            stop: ends the wait.
            counted: whether the request counts against `most`.

        Raises:
            LimitError: if no more may be sent.
        """
        with self._lock:
            if counted:
                if self._most is not None and self.sent >= self._most:
                    raise LimitError(
                        f"remote.max_requests: {self._most} requests have been sent, as many as "
                        "it allows: nothing more is asked"
                    )
                self.sent += 1
            now = clock.now()
            at = max(now, self._next)
            self._next = at + self._gap
        clock.wait(at - now, stop)


_budgets: OrderedDict[tuple[str, int], tuple[Remote, RequestBudget]] = OrderedDict()
_budgets_lock = threading.Lock()


def budget_of(name: str, remote: Remote) -> RequestBudget:
    """Returns the budget of a model in this process: one, however often the model is opened.

    An opening does not say of which run it is. Its headers do: all openings of one run share the
    spec's own mapping, which is kept here so that no other can take its place in memory.
    """
    key = (name, id(remote.headers))
    with _budgets_lock:
        if key not in _budgets:
            _budgets[key] = remote, RequestBudget(remote.requests_per_second, remote.max_requests)
        _budgets.move_to_end(key)
        while len(_budgets) > _REMEMBERED:
            _budgets.popitem(last=False)
        return _budgets[key][1]
