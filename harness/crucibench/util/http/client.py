"""Asks one server: again where that is safe, within limits, and shows no secret.

Asking a model is a read: the same request sent twice does no harm but load. So a request is sent
again where the server has not answered it: the connection was refused or broke before the answer
was there, or the answer was that it is busy or failed (429, 500, 502, 503, 504). It is not sent
again after a timeout, since a server that is too slow is not helped by more, nor after any other
answer.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import os
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from crucibench.util.doors import StorageError
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.http.connections import (
    Connection,
    Connections,
    ProxyRefusedError,
    causes,
    is_lost,
)
from crucibench.util.http.limits import Remote, RequestBudget, WaitingClock
from crucibench.util.text import shorten, visible

_ATTEMPTS = 5
_FIRST_WAIT = 0.5
_LONGEST_BACKOFF = 8.0
_LONGEST_WAIT = 60.0
_AGAIN = frozenset({429, 500, 502, 503, 504})
_MOVED = {"GET": {301, 302, 303, 307, 308}, "HEAD": {301, 302, 303, 307, 308}, "POST": {307, 308}}
_MOST_REDIRECTS = 5
_MOST_BYTES = 1 << 30
_MOST_DESCRIBED = 1 << 24
"""Bytes of what a server says of itself."""
_MOST_REFUSAL = 100_000
_MOST_RATIO = 200
_RATIO_FROM = 1 << 20
"""Bytes from which on what is compressed may not be too many times as long."""
_BLOCK = 1 << 16
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}

T = TypeVar("T")
Piece = TypeVar("Piece")


class RemoteError(CrucibenchError):
    """A server could not be asked, or refused: one sentence.

    Attributes:
        status: of its answer, or None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _AgainError(Exception):
    """What went wrong may go well in a moment."""

    def __init__(self, error: RemoteError, seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.seconds = seconds


class _StoppedError(Exception):
    """Another request of the batch has failed: this one was not sent."""


@dataclass(frozen=True)
class Reply:
    """What a server answered.

    Attributes:
        status: 200 to 299.
        headers: of the answer, names in lower case.
        content: the body; empty where it went elsewhere.
        attempts: how often it was asked for.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    attempts: int = 1


@dataclass(frozen=True)
class _Question:
    """One request as it was meant.

    Attributes:
        method: GET, HEAD or POST.
        url: its address.
        content: the body.
        headers: beside those of the spec.
        patient: whether it counts, and is asked again where a connection fails.
        most: bytes of the answer.
        sink: takes the body piece by piece; None where it is wanted whole.
    """

    method: str
    url: str
    content: bytes = b""
    headers: Mapping[str, str] | None = None
    patient: bool = True
    most: int = _MOST_BYTES
    sink: Callable[[bytes], object] | None = None


class Client:
    """Asks one server; may be used by several threads."""

    def __init__(
        self,
        server: str,
        remote: Remote,
        budget: RequestBudget,
        clock: WaitingClock | None = None,
        *,
        elsewhere: bool = False,
    ) -> None:
        """Opens no connection yet.

        Args:
            server: scheme, host and port, and a path: what messages call it.
            remote: headers and limits.
            budget: what may still be sent.
            clock: the time.
            elsewhere: whether redirects to other servers are followed, as those of files are:
                only without headers of the spec, which may be secret.

        Raises:
            InputError: if a header's variable is not set, or the certificates that the environment
                names can't be read.
        """
        self.server = server
        self.headers = Headers(remote.headers)
        self.headers.read()
        self._elsewhere = elsewhere and not remote.headers
        self._remote = remote
        self._budget = budget
        self._clock = clock or WaitingClock()
        self._connections = Connections()
        self._turns = threading.BoundedSemaphore(remote.concurrency)
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Closes all connections."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    def get(self, url: str) -> Reply:
        """Asks for what a server says of itself. A server that is not there is not asked again.

        Raises:
            RemoteError: if there is no answer, or one above 299.
        """
        return self._ask(_Question("GET", url, patient=False, most=_MOST_DESCRIBED))

    def head(self, url: str) -> Reply:
        """Asks for the headers of a file.

        Raises:
            RemoteError: if there is no answer, or one above 299.
        """
        return self._ask(_Question("HEAD", url))

    def fetch(self, url: str, sink: Callable[[bytes], object], most: int) -> Reply:
        """Hands a file to `sink`, piece by piece. It is not asked for again once a piece is there.

        Raises:
            RemoteError: if there is no answer, one above 299, or one of more than `most` bytes.
        """
        return self._ask(_Question("GET", url, most=most, sink=sink))

    def post(
        self,
        url: str,
        content: bytes,
        headers: Mapping[str, str],
        stop: threading.Event | None = None,
        *,
        patient: bool = True,
    ) -> Reply:
        """Asks for an inference, or `patient=False` once for what a server says of itself.

        Raises:
            RemoteError: if there is no answer, or one above 299.
            LimitError: if no more requests are allowed.
        """
        most = _MOST_BYTES if patient else _MOST_DESCRIBED
        return self._ask(_Question("POST", url, content, headers, patient, most), stop)

    def used(self, tokens: int, cost: float) -> None:
        """Counts tokens and money that an answer took.

        Raises:
            LimitError: if these were more than are allowed.
        """
        self._budget.use(tokens, cost)

    def each(self, ask: Callable[[Piece, threading.Event], T], pieces: Sequence[Piece]) -> list[T]:
        """Asks about each piece, several at once, and returns the answers in order.

        After an error nothing more is sent, and the error is raised.
        """
        stop = threading.Event()

        def asked(piece: Piece) -> T:
            try:
                return ask(piece, stop)
            except BaseException:
                stop.set()
                raise

        if len(pieces) == 1 or self._remote.concurrency == 1:
            return [asked(piece) for piece in pieces]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._remote.concurrency, "crucibench-request")
        futures = [self._pool.submit(asked, piece) for piece in pieces]
        try:
            wait(futures)
        except BaseException:  # Ctrl-C: what is under way is not waited for
            stop.set()
            raise
        for error in _errors(futures):
            raise error
        return [future.result() for future in futures]

    def _ask(self, question: _Question, stop: threading.Event | None = None) -> Reply:
        stop = stop or threading.Event()
        for attempt in range(_ATTEMPTS):
            if stop.is_set():
                raise _StoppedError
            self._budget.take(self._clock, stop, counted=question.patient)
            if stop.is_set():
                raise _StoppedError
            try:
                with self._turns:
                    return replace(self._once(question), attempts=attempt + 1)
            except _AgainError as again:
                known = again.error.status in _AGAIN
                if attempt + 1 == _ATTEMPTS or not (question.patient or known):
                    raise again.error from None
                self._clock.wait(self._pause(again, attempt), stop)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pause(self, again: _AgainError, attempt: int) -> float:
        if again.seconds is None:
            longest = min(_LONGEST_BACKOFF, _FIRST_WAIT * float(1 << attempt))
            return longest * (0.5 + 0.5 * self._clock.jitter())
        if again.seconds > _LONGEST_WAIT:
            raise RemoteError(
                f"{again.error} It asks to wait for {again.seconds:.0f} s, longer than the "
                f"{_LONGEST_WAIT:.0f} s that are waited",
                again.error.status,
            ) from None
        return again.seconds

    def _once(self, question: _Question) -> Reply:
        """Asks once, and wherever the server sends on to."""
        ends = self._clock.now() + self._remote.timeout
        url = question.url
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._exchange(question, url, ends)
            if answer.status not in _MOVED[question.method] or "location" not in answer.headers:
                self._check(answer)
                return answer
            url = self._next(url, answer)
        raise RemoteError(f"{self.server} redirects more than {_MOST_REDIRECTS} times")

    def _exchange(self, question: _Question, url: str, ends: float) -> Reply:
        # Read each time: a token may be renewed while the run goes on.
        given = {
            "User-Agent": "crucibench", "Accept-Encoding": "identity",
            **(question.headers or {}), **self.headers.read(),
        }  # fmt: skip
        connection = self._connections.take(url)
        connection.left = lambda: self._left(ends)
        kept = False
        try:
            self._connect(connection, url)
            answer, kept = self._answer(connection, question, url, given)
        except StorageError:
            raise
        except TimeoutError:
            raise self._late("no answer") from None
        except (http.client.HTTPException, OSError, ValueError, zlib.error) as error:
            raise self._broken(error) from None
        finally:
            if kept:
                self._connections.give(url, connection)
            else:
                connection.close()
        return answer

    def _left(self, ends: float) -> float:
        left = ends - self._clock.now()
        if left <= 0:
            raise TimeoutError
        return left

    def _connect(self, connection: Connection, url: str) -> None:
        try:
            connection.connect()
        except ProxyRefusedError:
            raise RemoteError(
                f"{self.server}: the proxy that the environment names refuses"
            ) from None
        except TimeoutError:
            raise _AgainError(self._late("no connection")) from None
        except OSError as error:
            raise self._unconnected(error, url) from None

    def _answer(
        self, connection: Connection, question: _Question, url: str, headers: Mapping[str, str]
    ) -> tuple[Reply, bool]:
        """Returns the answer, and whether the connection can be used again."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._budget.spend(len(question.content))
        response = connection.ask(question.method, target, headers, question.content)
        found = {name.lower(): value for name, value in response.getheaders()}
        good = response.status < 300
        most = question.most if good else _MOST_REFUSAL
        pieces: list[bytes] = []
        take = question.sink if good and question.sink else pieces.append
        size = 0
        try:
            for piece in self._pieces(response, found):
                size += len(piece)
                if size > most and good:
                    raise RemoteError(f"{self.server}: its answer is longer than {most:,} bytes")
                if size > most:
                    break
                take(piece)
        except TimeoutError:
            raise self._late("no whole answer") from None
        except (_AgainError, OSError, http.client.HTTPException) as error:
            if take is question.sink and size and not isinstance(error, StorageError):
                raise RemoteError(f"{self.server}: it broke off after {size:,} bytes") from error
            raise
        finally:
            whole = response.isclosed()
            response.close()
        return Reply(response.status, found, b"".join(pieces)), whole and not response.will_close

    def _pieces(
        self, response: http.client.HTTPResponse, headers: Mapping[str, str]
    ) -> Iterator[bytes]:
        """Yields the body; what a server compresses unasked is undone, if it stays in bounds."""
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in {"identity", *_WINDOWS}:
            raise RemoteError(f"{self.server}: its answer is in an encoding that was not asked for")
        undo = zlib.decompressobj(_WINDOWS[coding]) if coding in _WINDOWS else None
        came = made = 0
        while piece := response.read(_BLOCK):
            came += len(piece)
            self._budget.spend(len(piece))
            while piece and undo is not None:
                plain = undo.decompress(piece, _BLOCK)
                piece = undo.unconsumed_tail
                made += len(plain)
                if made > max(_RATIO_FROM, _MOST_RATIO * came):
                    raise RemoteError(
                        f"{self.server}: its answer unpacks to more than {_MOST_RATIO} times its "
                        "size"
                    )
                yield plain
            if undo is None:
                yield piece
        if response.length or (undo is not None and came and not undo.eof):
            raise http.client.IncompleteRead(b"")

    def _late(self, what: str) -> RemoteError:
        return RemoteError(
            f"{self.server}: {what} within the timeout of {self._remote.timeout:g} s "
            "(remote: {timeout: ...})"
        )

    def _unconnected(self, error: Exception, url: str) -> Exception:
        host = urlsplit(url).hostname
        found = list(causes(error))
        for cause in found:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return RemoteError(
                    f"{self.server}: its certificate is not trusted ({cause.verify_message}): "
                    "SSL_CERT_FILE names the certificates of an authority of your own"
                )
            if isinstance(cause, ssl.SSLError):
                reason = str(cause.reason or "").replace("_", " ").lower()
                return RemoteError(
                    f"{self.server}: no secure connection: {reason or 'TLS failed'}; does it "
                    "speak https at that port?"
                )
            if isinstance(cause, socket.gaierror):
                return _AgainError(RemoteError(f"{self.server}: no address for host {host!r}"))
            if isinstance(cause, ConnectionRefusedError):
                return _AgainError(
                    RemoteError(f"{self.server}: connection refused: does the server run there?")
                )
        system = next((cause.strerror for cause in found if isinstance(cause, OSError)), None)
        return _AgainError(RemoteError(f"{self.server}: no connection: {system or 'it failed'}"))

    def _broken(self, error: Exception) -> Exception:
        if is_lost(error):
            return _AgainError(
                RemoteError(f"{self.server}: it closed the connection before its answer was there")
            )
        if isinstance(error, zlib.error):
            return RemoteError(f"{self.server}: its compressed answer is damaged")
        if isinstance(error, http.client.HTTPException):
            return RemoteError(f"{self.server}: it answers with something that is not HTTP")
        # Its text may quote what was sent.
        return RemoteError(f"{self.server}: the request failed: {type(error).__name__}")

    def _check(self, answer: Reply) -> None:
        status = answer.status
        if status < 300:
            return
        reason = self._message(answer)
        sentence = f"{self.server} answers {status}{f': {reason}' if reason else ''}"
        if status in {401, 403}:
            names = self.headers.names
            hint = (
                f"look at the values of headers: {names}"
                if names
                else "headers: {Authorization: env:NAME} would send what it asks for"
            )
            raise RemoteError(f"{sentence} ({hint})", status)
        error = RemoteError(sentence, status)
        if status in _AGAIN:
            raise _AgainError(error, self._retry_after(answer))
        raise error

    def _next(self, url: str, answer: Reply) -> str:
        """Returns where a redirect leads, if the request may go there with what it carries."""
        try:
            to = urljoin(url, answer.headers["location"])
            old, new = urlsplit(url), urlsplit(to)
            known = new.scheme in {"http", "https"} and new.hostname and not new.username
            downgrade = (old.scheme, new.scheme) == ("https", "http")
            same = _origin(old) == _origin(new) or (
                old.hostname == new.hostname and new.scheme == "https" and new.port is None
            )
        except ValueError:
            known = None
        if known and not downgrade and (same or self._elsewhere):
            return to
        raise RemoteError(self._redirected(answer), answer.status)

    def _redirected(self, answer: Reply) -> str:
        try:
            to = urlsplit(answer.headers["location"])
            where = f"{to.scheme}://{to.hostname}" if to.hostname else ""
            where += f":{to.port}" if to.port else ""
            where += to.path
        except ValueError:
            where = ""
        target = f" to {self.headers.shown(where)}" if where else ""
        return (
            f"{self.server} redirects{target}: redirects to another server or to plain http are "
            "not followed, since what is sent would go there too; name the right address"
        )

    def _message(self, answer: Reply) -> str:
        text = answer.content[:_MOST_REFUSAL].decode(errors="replace")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return self.headers.shown(text)
        if isinstance(found, dict):
            found = next((found[key] for key in ("error", "detail", "message") if key in found), "")
        return self.headers.shown(found if isinstance(found, str) else json.dumps(found))

    def _retry_after(self, answer: Reply) -> float | None:
        text = answer.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self._clock.date())
        except (ValueError, TypeError, OverflowError):
            return None


def _origin(parts: SplitResult) -> tuple[Any, ...]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _errors(futures: Sequence[Future[Any]]) -> list[BaseException]:
    """Returns what the requests raised, in their order, less those that were only held back."""
    raised = [future.exception() for future in futures]
    return [error for error in raised if error is not None and not isinstance(error, _StoppedError)]


# Headers whose values are secrets, and texts of a server without them.

_REFERENCE = re.compile(r"(?P<before>[!-~]+ )?env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_PARTS = re.compile(r"[\s;,=]+")
_HIDDEN = "***"
_SHORTEST_PART = 6
_FRAGMENT, _HEX_FRAGMENT = 7, 10
"""Characters that carry 40 bits: of an alphabet of 64, and of hexadecimal digits."""


class Headers:
    """The headers of the spec."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    @property
    def names(self) -> str:
        """The names, as a list in words."""
        return ", ".join(self._given)

    def read(self) -> dict[str, str]:
        """Returns names and values, those of ``env:NAME`` as the environment has them now.

        Raises:
            InputError: if a variable is not set, or can't be a header.
        """
        found: dict[str, str] = {}
        for header, value in self._given.items():
            reference = _REFERENCE.fullmatch(value)
            if reference is None:
                found[header] = value
                continue
            name = reference["name"]
            secret = os.environ.get(name, "")
            if not secret:
                raise InputError(
                    f"headers.{header}: the environment variable {name} is not set: export {name} "
                    "before the run"
                )
            if not _VALUE.fullmatch(secret) or secret != secret.strip():
                raise InputError(
                    f"headers.{header}: the value of the environment variable {name} can't be a "
                    "header: it begins or ends with blanks, or holds line breaks or letters "
                    "beyond ASCII"
                )
            found[header] = f"{reference['before'] or ''}{secret}"
        return found

    def scrub(self, text: str) -> str:
        """Returns `text` without the values that came from the environment, or parts of them.

        A server may say in its error what it was sent, encoded in another way or cut short.
        """
        for value in self._given.values():
            reference = _REFERENCE.fullmatch(value)
            secret = os.environ.get(reference["name"], "") if reference else ""
            if secret:
                text = _without(text, secret)
        return text

    def shown(self, text: str, limit: int = 200) -> str:
        """Returns what a server says, fit for a message: scrubbed, escaped, shortened."""
        return shorten(visible(" ".join(self.scrub(text).split())), limit)


def _without(text: str, secret: str) -> str:
    """Returns `text` with ``***`` for each place that shows a secret.

    That is the secret, its words, and each fragment of 40 bits or more; in upper or lower case,
    reversed, in base64 (wherever it begins there), hexadecimal digits or URL encoding, and in
    these of its reverse or of another case.
    """
    words = [part for part in _PARTS.split(secret) if len(part) >= _SHORTEST_PART]
    shown = {secret.lower(), *(word.lower() for word in words)}
    for cased in {secret, secret.upper(), secret.lower()}:
        for one in (cased, cased[::-1]):
            for form, size in _encoded(one):
                lower = form.lower()
                shown |= {lower[at : at + size] for at in range(len(lower) - size + 1)}
    for word in words:
        lower = word.lower()
        shown |= {lower[at : at + _FRAGMENT] for at in range(len(lower) - _FRAGMENT + 1)}
    shown |= {form[::-1] for form in shown}
    plain = "".join(letter.lower() if letter.isascii() else letter for letter in text)
    hidden = bytearray(len(text))
    for form in shown:
        at = plain.find(form)
        while at >= 0:
            hidden[at : at + len(form)] = b"\1" * len(form)
            at = plain.find(form, at + 1)
    runs = itertools.groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
    return "".join(
        _HIDDEN if masked else "".join(letter for letter, _ in run) for masked, run in runs
    )


def _encoded(secret: str) -> Iterator[tuple[str, int]]:
    """Yields forms of a secret, and how many characters of each carry 40 bits."""
    data = secret.encode()
    yield quote(secret, safe=""), _FRAGMENT
    yield data.hex(), _HEX_FRAGMENT
    for before in range(3):
        standard = base64.b64encode(b"\0" * before + data).decode()
        inside = standard[(0, 2, 3)[before] :]
        yield inside, _FRAGMENT
        yield inside.replace("+", "-").replace("/", "_"), _FRAGMENT
