"""SIGTERM and SIGHUP, which schedulers and terminals send: they end a command as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Signalled(KeyboardInterrupt):
    """The process was asked to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(error: BaseException) -> int:
    """Returns 128 and the signal's number, as shells have it: 130, 143 or 129."""
    return 128 + (error.number if isinstance(error, Signalled) else int(signal.SIGINT))


def interruption(number: int) -> KeyboardInterrupt:
    """Returns what a signal raises."""
    return KeyboardInterrupt() if number == signal.SIGINT else Signalled(number)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raises `Signalled` where SIGTERM or SIGHUP would end the process without a word.

    A handler that is there already, or none (``nohup``), is left alone.
    """
    with _handled(_raise, lambda number: signal.getsignal(number) is signal.SIG_DFL):
        yield


@contextlib.contextmanager
def stopping(handle: Callable[[int], None]) -> Iterator[None]:
    """Calls `handle` with the number of a signal that would otherwise interrupt the program.

    A handler of the program's own is left alone.
    """
    own = {signal.default_int_handler, _raise}
    with _handled(
        lambda number, frame: handle(number), lambda number: signal.getsignal(number) in own
    ):
        yield


@contextlib.contextmanager
def _handled(
    handle: Callable[[int, FrameType | None], None], where: Callable[[int], bool]
) -> Iterator[None]:
    """Handles the signals of which `where` says so; only the main thread can."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *ENDING):
            if where(number):
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Signalled(number)
