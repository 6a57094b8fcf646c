"""HTTP to an Open Inference Protocol server: addresses, headers, limits, connections, retries.

Asking a model is a read: the same request sent twice does no harm but load. So a request is sent
again where the server can't have answered it: the connection was refused or broke before the answer
was there, or the server answered that it did not process it (429, 503). It is not sent again after
a timeout, since a server that is too slow is not helped by more, nor after any other answer.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import re
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from crucibench.contracts.adapter import Remote
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.optional import need
from crucibench.util.text import shorten, visible

_ATTEMPTS = 5
_FIRST_WAIT = 0.5
_LONGEST_BACKOFF = 8.0
_LONGEST_WAIT = 60.0
_AGAIN = frozenset({429, 503})
_MOST_BYTES = 1 << 30

T = TypeVar("T")
Piece = TypeVar("Piece")


_PATH = re.compile(
    r"(?P<prefix>.*)/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/?", re.DOTALL
)
_FORM = "oip:http://HOST:PORT/v2/models/NAME[/versions/V] or oip:https://..."


@dataclass(frozen=True)
class ServerAddress:
    """Where a model is asked.

    Attributes:
        server: scheme, host, port and what stands before ``/v2``.
        model: its name, as the address spells it.
        version: "" for the one that the server chooses.
    """

    server: str
    model: str
    version: str = ""

    @property
    def url(self) -> str:
        """The model's own address."""
        version = f"/versions/{self.version}" if self.version else ""
        return f"{self.server}/v2/models/{self.model}{version}"


def parse_address(rest: str) -> ServerAddress:
    """Reads what follows ``oip:``.

    Raises:
        InputError: if it is no address of a model, or holds a user name or password.
    """
    if "@" in rest.partition("/v2/")[0]:
        # Not shown: it may be a password.
        raise InputError(
            "oip: the address holds a user name or a password, which would end up in files: say "
            "headers: {Authorization: env:NAME} in the spec instead"
        )
    shown = repr(shorten(visible(rest), 120))
    if re.search(r"[\s\x00-\x1f\x7f#\\]", rest) or not rest.isascii():
        raise InputError(f"oip: expected {_FORM}, got {shown}")
    try:
        parts = urlsplit(rest)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"oip: expected {_FORM}, got {shown}: {error}") from error
    found = _PATH.fullmatch(parts.path)
    if parts.scheme not in {"http", "https"} or not host or found is None:
        raise InputError(f"oip: expected {_FORM}, got {shown}")
    server = f"{parts.scheme}://{parts.netloc}{found['prefix']}"
    return ServerAddress(server, found["model"], found["version"] or "")


_REFERENCE = re.compile(r"(?P<before>[!-~]+ )?env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_PARTS = re.compile(r"[\s;,=]+")
_HIDDEN = "***"
_SHORTEST_PART = 6


_FRAGMENT, _HEX_FRAGMENT = 7, 10
"""Characters that carry 40 bits: of an alphabet of 64, and of hexadecimal digits."""


def _without(text: str, secret: str) -> str:
    """Returns `text` with ``***`` for each place that shows a secret.

    That is the secret, its words, and each fragment of 40 bits or more; in upper or lower case,
    reversed, in base64 (wherever it begins there), hexadecimal digits or URL encoding.
    """
    words = [part for part in _PARTS.split(secret) if len(part) >= _SHORTEST_PART]
    shown = {secret.lower(), *(word.lower() for word in words)}
    data = secret.encode()
    encoded = [quote(secret, safe=""), *words]
    for before in range(3):
        standard = base64.b64encode(b"\0" * before + data).decode()
        inside = standard[(0, 2, 3)[before] :]
        encoded += [inside, inside.replace("+", "-").replace("/", "_")]
    for form, size in [*((form, _FRAGMENT) for form in encoded), (data.hex(), _HEX_FRAGMENT)]:
        lower = form.lower()
        shown |= {lower[at : at + size] for at in range(len(lower) - size + 1)}
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
            if not secret:
                continue
            text = _without(text, secret)
        return text

    def shown(self, text: str, limit: int = 200) -> str:
        """Returns what a server says, fit for a message: scrubbed, escaped, shortened."""
        return shorten(visible(" ".join(self.scrub(text).split())), limit)


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
        headers: of the answer; names are matched in any case.
        content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class Client:
    """Asks one server; may be used by several threads."""

    def __init__(
        self, server: str, remote: Remote, budget: RequestBudget, clock: WaitingClock
    ) -> None:
        """Opens no connection yet.

        Raises:
            InputError: if httpx is not installed, a header's variable is not set, or the
                certificates that the environment names can't be read.
        """
        self._httpx = need("httpx", "http")
        self.server = server
        self.headers = Headers(remote.headers)
        self.headers.read()
        self._remote = remote
        self._budget = budget
        self._clock = clock
        self._pool: ThreadPoolExecutor | None = None
        try:
            self._http = self._httpx.Client(
                timeout=remote.timeout,
                follow_redirects=False,
                limits=self._httpx.Limits(
                    max_connections=remote.concurrency,
                    max_keepalive_connections=remote.concurrency,
                ),
                headers={"User-Agent": "crucibench", "Accept-Encoding": "identity"},
            )
        except (OSError, ValueError) as error:
            # SSL_CERT_FILE or a proxy; a proxy's address may hold a password.
            raise InputError(
                "the connection can't be set up as the environment says: look at SSL_CERT_FILE, "
                f"SSL_CERT_DIR and the proxy variables ({type(error).__name__})"
            ) from None

    def close(self) -> None:
        """Closes all connections."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def get(self, url: str) -> Reply:
        """Asks for what a server says of itself. A server that is not there is not asked again.

        Raises:
            RemoteError: if there is no answer, or one above 299.
        """
        return self._ask("GET", url, b"", {}, threading.Event(), patient=False)

    def post(
        self, url: str, content: bytes, headers: Mapping[str, str], stop: threading.Event
    ) -> Reply:
        """Asks for an inference.

        Raises:
            RemoteError: if there is no answer, or one above 299.
            LimitError: if no more requests are allowed.
        """
        return self._ask("POST", url, content, headers, stop, patient=True)

    def index(self) -> list[str]:
        """Returns the names of the models that the server has; empty if it does not say."""
        url = f"{self.server}/v2/repository/index"
        headers = {"Content-Type": "application/json"}
        try:
            answer = self._ask("POST", url, b"{}", headers, threading.Event(), patient=False)
            found = json.loads(answer.content)
            names = [entry["name"] for entry in found]
        except (RemoteError, ValueError, TypeError, KeyError, RecursionError):
            return []
        return sorted({self.headers.shown(str(name), 60) for name in names})

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

    def _ask(
        self,
        method: str,
        url: str,
        content: bytes,
        headers: Mapping[str, str],
        stop: threading.Event,
        *,
        patient: bool,
    ) -> Reply:
        for attempt in range(_ATTEMPTS):
            if stop.is_set():
                raise _StoppedError
            self._budget.take(self._clock, stop, counted=patient)
            if stop.is_set():
                raise _StoppedError
            try:
                return self._once(method, url, content, headers)
            except _AgainError as again:
                known = again.error.status in _AGAIN
                if attempt + 1 == _ATTEMPTS or not (patient or known):
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

    def _once(self, method: str, url: str, content: bytes, headers: Mapping[str, str]) -> Reply:
        # Read each time: a token may be renewed while the run goes on.
        given = {**headers, **self.headers.read()}
        httpx = self._httpx
        ends = self._clock.now() + self._remote.timeout
        try:
            with self._http.stream(method, url, content=content, headers=given) as response:
                body = b"".join(self._parts(response, ends))
        except httpx.ConnectTimeout as error:
            raise _AgainError(self._late("no connection")) from error
        except httpx.TimeoutException as error:
            raise self._late("no answer") from error
        except httpx.ProxyError:
            raise RemoteError(
                f"{self.server}: the proxy that the environment names refuses"
            ) from None
        except httpx.ConnectError as error:
            raise self._unconnected(error) from None
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
            raise self._broken(error) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Its text may quote what was sent.
            raise RemoteError(
                f"{self.server}: the request failed: {type(error).__name__}"
            ) from None
        answer = Reply(response.status_code, response.headers, body)
        self._check(answer)
        return answer

    def _parts(self, response: Any, ends: float) -> Iterator[bytes]:
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > _MOST_BYTES:
                raise RemoteError(f"{self.server}: its answer is longer than 1 GiB")
            # httpx limits each read alone: a server may send a byte now and then for ever.
            if self._clock.now() > ends:
                raise self._late("no whole answer")
            yield part

    def _late(self, what: str) -> RemoteError:
        return RemoteError(
            f"{self.server}: {what} within the timeout of {self._remote.timeout:g} s "
            "(remote: {timeout: ...})"
        )

    def _unconnected(self, error: Exception) -> Exception:
        host = urlsplit(self.server).hostname
        causes = list(_causes(error))
        for cause in causes:
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
        system = next((cause.strerror for cause in causes if isinstance(cause, OSError)), None)
        return _AgainError(RemoteError(f"{self.server}: no connection: {system or 'it failed'}"))

    def _broken(self, error: Exception) -> Exception:
        text = str(error)
        lost = not isinstance(error, self._httpx.RemoteProtocolError) or text.startswith(
            ("Server disconnected", "peer closed")
        )
        if lost:
            return _AgainError(
                RemoteError(f"{self.server}: it closed the connection before its answer was there")
            )
        return RemoteError(f"{self.server}: it answers with something that is not HTTP")

    def _check(self, answer: Reply) -> None:
        status = answer.status
        if status < 300:
            return
        if status < 400:
            raise RemoteError(self._redirected(answer), status)
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

    def _redirected(self, answer: Reply) -> str:
        try:
            to = urlsplit(answer.headers.get("location", ""))
            where = f"{to.scheme}://{to.hostname}" if to.hostname else ""
            where += f":{to.port}" if to.port else ""
            where += to.path
        except ValueError:
            where = ""
        target = f" to {self.headers.shown(where)}" if where else ""
        return (
            f"{self.server} redirects{target}: redirects are not followed, since headers would be "
            "sent there too; name the right address in the URI"
        )

    def _message(self, answer: Reply) -> str:
        text = answer.content[:100_000].decode(errors="replace")
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


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _errors(futures: Sequence[Future[Any]]) -> list[BaseException]:
    """Returns what the requests raised, in their order, less those that were only held back."""
    raised = [future.exception() for future in futures]
    return [error for error in raised if error is not None and not isinstance(error, _StoppedError)]
