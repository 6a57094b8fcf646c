"""Connections to servers: kept alive, through the environment's proxy, over in time."""

from __future__ import annotations

import base64
import errno
import http.client
import io
import os
import queue
import select
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urlsplit

from crucibench.util import doors
from crucibench.util.errors import InputError

_BLOCK = 1 << 16


class ProxyRefusedError(OSError):
    """The proxy that the environment names can't be used."""


class _Timed(io.RawIOBase):
    """Reads from a socket for as long as is left of a request's time, not of each read's."""

    def __init__(self, raw: Any, sock: Any, left: Callable[[], float]) -> None:
        self._raw, self._sock, self._left = raw, sock, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._left())
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, connection: Connection, sock: Any, **named: Any) -> None:
        super().__init__(sock, **named)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_Timed(raw, sock, connection.left))


class Connection:
    """One connection to a server or its proxy; used by one thread at a time.

    Attributes:
        left: returns how many seconds are left of the request under way; raises TimeoutError if
            none. Set before each request.
    """

    def __init__(self, origin: SplitResult, tls: ssl.SSLContext | None) -> None:
        self.left: Callable[[], float] = lambda: 60.0
        host, secure = origin.hostname or "", origin.scheme == "https"
        proxy = _proxy_of(origin)
        self._absolute = f"http://{origin.netloc}" if proxy and not secure else ""
        at = proxy or origin
        place = at.hostname or "", at.port or (80 if proxy else None)
        self._http = (
            http.client.HTTPSConnection(*place, context=tls)
            if secure
            else http.client.HTTPConnection(*place)
        )
        self._extra: dict[str, str] = {}
        if proxy and proxy.username is not None:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            word = f"Basic {base64.b64encode(pair.encode()).decode()}"
            self._extra["Proxy-Authorization"] = word
        if proxy and secure:
            self._http.set_tunnel(host, origin.port or 443, self._extra)
            self._extra = {}
        self._proxy = proxy
        # The one place where `http.client` lets another way to connect in.
        self._http._create_connection = self._opened  # type: ignore[attr-defined]
        self._http.response_class = partial(_TimedResponse, self)  # type: ignore[assignment]

    def connect(self) -> None:
        """Connects where there is no connection that can still be used.

        Raises:
            OSError: as `socket` and `ssl` do.
            ProxyRefusedError: if the proxy refuses.
        """
        if self._http.sock is not None and not select.select([self._http.sock], [], [], 0)[0]:
            return  # what is readable before a request was closed, or answers nothing of ours
        self._http.close()
        self._http.timeout = self.left()
        try:
            self._http.connect()
        except OSError as error:
            self._http.close()
            if self._proxy and "Tunnel connection failed" in str(error):
                raise ProxyRefusedError from None
            raise

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes
    ) -> http.client.HTTPResponse:
        """Sends a request and reads the head of its answer.

        Raises:
            OSError, http.client.HTTPException, ValueError: as `http.client` does.
        """
        size = {"Content-Length": str(len(content))} if content or method == "POST" else {}
        self._http.request(
            method,
            self._absolute + target,
            body=self._blocks(content) if content else None,
            headers={**headers, **self._extra, **size},
        )
        return self._http.getresponse()

    def _opened(self, address: tuple[str, int], *_: Any) -> socket.socket:
        """Connects to the first place of a host that answers, in the time that is left."""
        failed: OSError | None = None
        for place in _places(*address, self.left()):
            try:
                return doors.connect(place, self.left())
            except OSError as error:
                failed = error
        raise failed or OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))

    def close(self) -> None:
        """Closes it; it may be connected again."""
        self._http.close()

    def _blocks(self, content: bytes) -> Iterator[memoryview]:
        for start in range(0, len(content), _BLOCK):
            self._http.sock.settimeout(self.left())
            yield memoryview(content)[start : start + _BLOCK]


def _places(host: str, port: int, seconds: float) -> list[doors.Place]:
    """Returns where a host can be reached; the system's resolver knows no limit of its own.

    Raises:
        TimeoutError: if it has not answered within so many seconds.
        OSError: as it fails.
    """
    answers: queue.SimpleQueue[list[doors.Place] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(doors.look_up(host, port))
        except OSError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, OSError):
        raise found
    return found


class Connections:
    """Connections to servers that are kept for the next request; for several threads."""

    def __init__(self) -> None:
        """Opens none yet.

        Raises:
            InputError: if the certificates that the environment names can't be read.
        """
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[Connection]] = {}
        for name, there in (("SSL_CERT_FILE", Path.is_file), ("SSL_CERT_DIR", Path.is_dir)):
            if os.environ.get(name) and not there(Path(os.environ[name])):
                raise _unusual(f"{name} names nothing that is there")
        try:
            self._tls = ssl.create_default_context()
        except (OSError, ValueError) as error:
            raise _unusual(type(error).__name__) from None

    def take(self, url: str) -> Connection:
        """Returns a connection to the server of `url`, perhaps one that was used before.

        Raises:
            InputError: if the environment names a proxy that can't be one.
        """
        origin = urlsplit(url)
        with self._lock:
            kept = self._idle.get((origin.scheme, origin.netloc))
            if kept:
                return kept.pop()
        try:
            return Connection(origin, self._tls if origin.scheme == "https" else None)
        except (ValueError, http.client.InvalidURL) as error:
            raise _unusual(type(error).__name__) from None

    def give(self, url: str, connection: Connection) -> None:
        """Takes a connection back that can be used again."""
        origin = urlsplit(url)
        with self._lock:
            self._idle.setdefault((origin.scheme, origin.netloc), []).append(connection)

    def close(self) -> None:
        """Closes those that are not in use."""
        with self._lock:
            kept = [one for several in self._idle.values() for one in several]
            self._idle.clear()
        for connection in kept:
            connection.close()


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and what it came of."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def is_lost(error: BaseException) -> bool:
    """Whether a connection ended before the whole answer was there."""
    if isinstance(error, ssl.SSLError):
        return isinstance(error, ssl.SSLEOFError)
    return isinstance(error, OSError | http.client.IncompleteRead)


def _proxy_of(origin: SplitResult) -> SplitResult | None:
    found = urllib.request.getproxies()
    named = found.get(origin.scheme) or found.get("all")
    if not named or urllib.request.proxy_bypass(origin.hostname or ""):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise ValueError("not http")
    return proxy


def _unusual(why: str) -> InputError:
    # A proxy's address may hold a password: it is not shown.
    return InputError(
        "the connection can't be set up as the environment says: look at SSL_CERT_FILE, "
        f"SSL_CERT_DIR and the proxy variables, which must be http://HOST:PORT ({why})"
    )
