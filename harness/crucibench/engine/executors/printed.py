"""What a worker process prints: its beginning and its end, however much there is between them."""

from __future__ import annotations

import os
import re
import selectors
import threading
from typing import BinaryIO

_PART = 1 << 19
_CHUNK = 1 << 16
_TAIL = 4000
_AT_ONCE = 64
_END_SECONDS = 1.0
# What faulthandler adds to a traceback: names of libraries, thousands of letters of them.
_MODULES = re.compile(rb"^Extension modules: .*\n?", re.MULTILINE)


class Printed:
    """Reads a pipe as fast as it is filled, and keeps half a mebibyte from each end.

    Whoever prints is never held up, and nothing is written to disk.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Takes the pipe; it is closed when nobody writes to it any more."""
        self._stream = stream
        self._descriptor = stream.fileno()
        self._lock = threading.Lock()
        self._over = False
        self._drop()
        if os.name != "nt":
            os.set_blocking(self._descriptor, False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def take(self) -> bytes:
        """Returns what was printed since the last time, and drops it."""
        self._read()
        with self._lock:
            content = self._content()
            self._drop()
        return content

    def tail(self) -> str:
        """Returns the end of what `take` would return."""
        self._read()
        with self._lock:
            content = self._content()
        return content[-_TAIL:].decode("utf-8", "replace").strip()

    def length(self) -> int:
        """Returns how many bytes have come since the last `take`."""
        self._read()
        with self._lock:
            return len(self._first) + self._left_out + len(self._last)

    def end(self) -> None:
        """Waits a moment for the end of the pipe, which a child of the process may hold open."""
        self._thread.join(_END_SECONDS)

    def _drop(self) -> None:
        self._first = b""
        self._last = bytearray()
        self._left_out = 0

    def _content(self) -> bytes:
        between = b"\n... left out ...\n" if self._left_out else b""
        return _MODULES.sub(b"", self._first + between + bytes(self._last))

    def _keep(self, chunk: bytes) -> None:
        room = _PART - len(self._first)
        self._first += chunk[:room]
        self._last += chunk[room:] if room < len(chunk) else b""
        if (beyond := len(self._last) - _PART) > 0:
            del self._last[:beyond]
            self._left_out += beyond

    def _read(self) -> bool:
        """Reads what is there; returns whether more may come."""
        if os.name == "nt":  # a pipe can't be looked at: what comes late is told the next time
            return True
        with self._lock:
            for _ in range(_AT_ONCE):  # no longer, even if the other end never pauses
                if self._over:
                    return False
                try:
                    chunk = os.read(self._descriptor, _CHUNK)
                except BlockingIOError:
                    return True
                except OSError:
                    chunk = b""
                self._keep(chunk)
                self._over = not chunk
        return True

    def _listen(self) -> None:
        try:
            if os.name == "nt":
                while chunk := os.read(self._descriptor, _CHUNK):
                    with self._lock:
                        self._keep(chunk)
                return
            with selectors.DefaultSelector() as selector:
                selector.register(self._descriptor, selectors.EVENT_READ)
                while self._read():
                    selector.select()
        finally:
            with self._lock:
                self._over = True
            self._stream.close()
