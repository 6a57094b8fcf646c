"""Signals that ask a run to end: SIGTERM and SIGHUP are heeded as Ctrl-C is."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_ASKING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class SignalInterrupt(KeyboardInterrupt):
    """A signal asks the process to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code_of(error: BaseException) -> int:
    """Returns the exit code after an interrupt: 128 and the signal's number; Ctrl-C without one."""
    return 128 + int(getattr(error, "number", signal.SIGINT))


class _Raise:
    """The command line's handler: the first signal raises, a second one ends the process."""

    def __init__(self) -> None:
        self._raised = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._raised:
            os._exit(128 + number)  # workers end with their engine
        self._raised = True
        raise SignalInterrupt(number)


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise `SignalInterrupt`.

    A signal that is ignored (``nohup``) or that the program handles itself is left alone, and only
    the main thread can have handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Raise()
    taken = [number for number in _ASKING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def taken_over() -> dict[int, Any]:
    """Returns the handlers that may be replaced while a run works, by signal: Python's and ours."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ASKING)}
    return {
        int(number): handler
        for number, handler in found.items()
        if handler is signal.default_int_handler or isinstance(handler, _Raise)
    }
