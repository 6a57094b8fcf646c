"""How often and how much a server is asked."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from crucibench.util.errors import InputError

_REMEMBERED = 64


@dataclass(frozen=True, kw_only=True)
class Remote:
    """How a model behind a network address is asked.

    Attributes:
        headers: name to value; ``env:NAME`` stands for the environment variable, so that secrets
            are in no file: read it when a request is made, and never store or print it.
        concurrency: requests under way at once.
        requests_per_second: at most; None for no limit.
        max_requests: in one run; None for no limit.
        max_bytes: sent and received in one run; None for no limit.
        max_seconds: from the first request of a run to the last; None for no limit.
        max_tokens: of prompts and answers in one run; None for no limit.
        max_cost: money in one run, in the unit of the model's prices; None for no limit.
        timeout: seconds that a request may take.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 8
    requests_per_second: float | None = None
    max_requests: int | None = None
    max_bytes: int | None = None
    max_seconds: float | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    timeout: float = 60.0


class LimitError(InputError):
    """As much has been asked as the spec allows. No input is at fault, but trying again, as after
    other errors, would not help either.
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
    """Counts requests, bytes and seconds, and spaces requests, over all threads.

    A bucket that holds one token: no two requests lie closer than 1 / `requests_per_second`.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._gap = 1.0 / remote.requests_per_second if remote.requests_per_second else 0.0
        self._lock = threading.Lock()
        self._next = float("-inf")
        self._began: float | None = None
        self.sent = 0
        self.bytes = 0
        self.tokens = 0
        self.cost = 0.0

    def take(self, clock: WaitingClock, stop: threading.Event, *, counted: bool) -> None:
        """Waits until a request may be sent.

        Args:
            clock: the time.
            stop: ends the wait.
            counted: whether the request counts against `max_requests`.

        Raises:
            LimitError: if no more may be sent.
        """
        remote = self._remote
        with self._lock:
            if counted:
                if remote.max_requests is not None and self.sent >= remote.max_requests:
                    raise LimitError(
                        f"remote.max_requests: {remote.max_requests} requests have been sent, as "
                        "many as it allows: nothing more is asked"
                    )
                self.sent += 1
            now = clock.now()
            self._began = now if self._began is None else self._began
            at = max(now, self._next)
            if remote.max_seconds is not None and at - self._began > remote.max_seconds:
                raise LimitError(
                    f"remote.max_seconds: {remote.max_seconds:g} s have gone since the first "
                    "request, as many as it allows: nothing more is asked"
                )
            self._next = at + self._gap
        self.spend(0)
        clock.wait(at - now, stop)

    def spend(self, size: int) -> None:
        """Counts bytes that were sent or received.

        Raises:
            LimitError: if these were more than are allowed.
        """
        most = self._remote.max_bytes
        with self._lock:
            self.bytes += size
            if most is not None and self.bytes > most:
                raise LimitError(
                    f"remote.max_bytes: {most:,} bytes have been sent and received, as many as it "
                    "allows: nothing more is asked"
                )

    def use(self, tokens: int, cost: float) -> None:
        """Counts tokens and money that an answer took.

        Raises:
            LimitError: if these were more than are allowed.
        """
        remote = self._remote
        with self._lock:
            self.tokens += tokens
            self.cost += cost
            for name, used, most in (
                ("max_tokens", self.tokens, remote.max_tokens),
                ("max_cost", self.cost, remote.max_cost),
            ):
                if most is not None and used > most:
                    raise LimitError(
                        f"remote.{name}: {used:,.10g} have been used, {most:,.10g} are allowed: "
                        "nothing more is asked"
                    )


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
            _budgets[key] = remote, RequestBudget(remote)
        _budgets.move_to_end(key)
        while len(_budgets) > _REMEMBERED:
            _budgets.popitem(last=False)
        return _budgets[key][1]
