"""Ctrl-C: once asks to stop after what is under way, twice stops now."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Interrupt:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.asked = False

    @contextlib.contextmanager
    def heeded(self, tell: Callable[[], None]) -> Iterator[None]:
        """Takes Ctrl-C over; the second one raises KeyboardInterrupt wherever it comes.

        A handler that the program has put there itself is left alone, and other threads than the
        main one can have none.
        """
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        ):
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            with contextlib.suppress(Exception):  # whatever is under way is not to be ended by it
                tell()

        signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
