"""The one HTTP client against a server with bad manners: real sockets, one process."""

from __future__ import annotations

import base64
import errno
import gzip
import os
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from crucibench.util import doors
from crucibench.util.http.client import Client, RemoteError
from crucibench.util.http.limits import LimitError, Remote, RequestBudget, WaitingClock

pytestmark = pytest.mark.sockets

TOKEN = "sk-Pl4nted-9f2A-Canary"
BOMB = gzip.compress(bytes(64 << 20))
Asked = list[tuple[str, str, dict[str, str], int]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: Asked
    over: threading.Event

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = dict(self.headers.items())
        self.asked.append((self.command, self.path, headers, self.client_address[1]))
        before = sum(path == self.path for _, path, _, _ in self.asked) - 1
        getattr(self, f"do_{self.path.strip('/').partition('?')[0]}")(before, body)

    do_GET = do_HEAD = do_POST  # noqa: N815

    def tell(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Content-Length": str(len(body)), **named}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def do_fine(self, before: int, body: bytes) -> None:
        self.tell(200, body or b"fine", ETag='"1"')

    def do_absolute(self, before: int, body: bytes) -> None:
        self.tell(200, b"through the proxy")

    def do_limited(self, before: int, body: bytes) -> None:
        self.tell(*((200, b"now") if before else (429, b"{}")), Retry_After="7")

    def do_dated(self, before: int, body: bytes) -> None:
        date = "Tue, 14 Nov 2023 22:13:30 GMT"
        self.tell(*((200, b"now") if before else (503, b"{}")), Retry_After=date)

    def do_drip(self, before: int, body: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self._drip()

    def do_headdrip(self, before: int, body: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self._drip()

    def _drip(self) -> None:
        self.close_connection = True
        try:
            while not self.over.wait(0.02):
                self.wfile.write(b"x")
        except OSError:
            pass

    def do_endless(self, before: int, body: bytes) -> None:
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 20))
        except OSError:
            pass

    def do_bomb(self, before: int, body: bytes) -> None:
        self.tell(200, BOMB, Content_Encoding="gzip")

    def do_zipped(self, before: int, body: bytes) -> None:
        self.tell(200, gzip.compress(b"packed " * 100), Content_Encoding="gzip")

    def do_damaged(self, before: int, body: bytes) -> None:
        self.tell(200, b"\0" * 40, Content_Encoding="gzip")

    def do_strange(self, before: int, body: bytes) -> None:
        self.tell(200, zlib.compress(b"x"), Content_Encoding="br")

    def do_cut(self, before: int, body: bytes) -> None:
        self.close_connection = True
        self.tell(200, b"x" * 10, Content_Length="20" if before < 2 else "10")

    def do_reset(self, before: int, body: bytes) -> None:
        if before:
            return self.tell(200, b"after all")
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)  # the system sends a reset in place of an end
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        return None

    def do_away(self, before: int, body: bytes) -> None:
        self.tell(307, Location=self.path.partition("?")[2])

    def do_loop(self, before: int, body: bytes) -> None:
        self.tell(302, Location="/loop")

    def do_echo(self, before: int, body: bytes) -> None:
        sent = self.headers["Authorization"].encode()
        word = sent.partition(b" ")[2]
        said = [
            sent, word, base64.b64encode(sent), base64.urlsafe_b64encode(b"x" + word),
            word.upper(), word[::-1], word[3:12], word.hex().encode(), word[:15],
            base64.b64encode(word.upper()), base64.b64encode(word[::-1]),
        ]  # fmt: skip
        self.tell(401, b" ".join(said[before : before + 1]))


class _Still(WaitingClock):
    """Waits for nothing, and notes how long it would have."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def date(self) -> float:
        return 1_700_000_000.0

    def wait(self, seconds: float, stop: threading.Event) -> None:
        if seconds > 0:
            self.waits.append(seconds)

    def jitter(self) -> float:
        return 0.0


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, type[_Handler]]]:
    _Handler.asked, _Handler.over = [], threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", _Handler
        _Handler.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def clock() -> _Still:
    return _Still()


Maker = Callable[..., Client]


@pytest.fixture
def client(
    running: tuple[str, Any], clock: _Still, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Maker]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    running[1].asked.clear()
    made: list[Client] = []

    def make(*, elsewhere: bool = False, **limits: Any) -> Client:
        remote = Remote(**limits)
        one = Client(running[0], remote, RequestBudget(remote), clock, elsewhere=elsewhere)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def _post(client: Client, path: str, body: bytes = b"{}") -> bytes:
    return client.post(f"{client.server}{path}", body, {}).content


def test_connections_are_kept_and_checked(client: Maker, running: Any) -> None:
    one = client()
    big = bytes(range(256)) * 4096
    assert _post(one, "/fine", big) == big
    assert one.get(f"{one.server}/fine").headers["etag"] == '"1"'
    assert one.head(f"{one.server}/fine?x").content == b""
    assert len({port for *_, port in running[1].asked}) == 1


@pytest.mark.parametrize(
    ("path", "found", "waits"),
    [
        ("/limited", b"now", [7.0]),
        ("/dated", b"now", [10.0]),
        ("/reset", b"after all", [0.25]),
        ("/cut", b"x" * 10, [0.25, 0.5]),
        ("/zipped", b"packed " * 100, []),
        ("/away?/fine", b"{}", []),
    ],
)
def test_what_goes_well_in_the_end(
    client: Maker, clock: _Still, path: str, found: bytes, waits: list[float]
) -> None:
    assert _post(client(), path) == found and clock.waits == waits


@pytest.mark.parametrize(
    ("path", "limits", "said"),
    [
        ("/drip", {"timeout": 0.3}, "no whole answer within the timeout of 0.3 s"),
        ("/headdrip", {"timeout": 0.3}, "no answer within the timeout of 0.3 s"),
        ("/bomb", {}, "its answer unpacks to more than 200 times its size"),
        ("/damaged", {}, "its compressed answer is damaged"),
        ("/strange", {}, "its answer is in an encoding that was not asked for"),
        ("/loop", {}, "redirects more than 5 times"),
        ("/away?http://127.0.0.1:1/fine", {}, "redirects to http://127.0.0.1:1/fine: redirects to"),
        ("/away?http://u:p@elsewhere.example/", {}, "redirects to http://elsewhere.example/: red"),
        ("/away?ftp://127.0.0.1/fine", {}, "redirects to ftp://127.0.0.1/fine: redirects to"),
    ],
)
def test_what_is_refused(
    client: Maker, running: Any, path: str, limits: Any, said: str, refusal: Any
) -> None:
    one = client(**limits)
    assert refusal(RemoteError, lambda: one.get(f"{one.server}{path}")).startswith(
        f"{one.server}: {said}" if not said.startswith("redir") else f"{one.server} {said}"
    )
    assert len(running[1].asked) == (6 if path == "/loop" else 1)


def test_answers_are_bounded(client: Maker, refusal: Any) -> None:
    one = client()
    taken: list[int] = []
    refused = refusal(
        RemoteError,
        lambda: one.fetch(f"{one.server}/endless", lambda piece: taken.append(len(piece)), 1 << 20),
    )
    assert refused == f"{one.server}: its answer is longer than 1,048,576 bytes"
    assert sum(taken) <= 1 << 20
    assert "longer than 16,777,216" in refusal(
        RemoteError, lambda: one.get(f"{one.server}/endless")
    )


def test_files_follow_redirects_to_other_servers_unless_a_secret_would_go_along(
    client: Maker, running: Any, monkeypatch: pytest.MonkeyPatch, refusal: Any
) -> None:
    there = running[0].replace("127.0.0.1", "localhost")
    content: list[bytes] = []
    one = client(elsewhere=True)
    one.fetch(f"{one.server}/away?{there}/fine", content.append, 100)
    assert b"".join(content) == b"fine"
    monkeypatch.setenv("TOKEN", TOKEN)
    guarded = client(elsewhere=True, headers={"Authorization": "Bearer env:TOKEN"})
    running[1].asked.clear()
    for ask in (
        lambda: guarded.get(f"{guarded.server}/away?{there}/fine"),
        lambda: guarded.post(f"{guarded.server}/away?{there}/fine", b"{}", {}),
    ):
        assert "are not followed, since what is sent" in refusal(RemoteError, ask)
    assert {path.partition("?")[0] for _, path, _, _ in running[1].asked} == {"/away"}


def test_from_https_to_http_no_redirect_is_followed(client: Maker, refusal: Any) -> None:
    from crucibench.util.http.client import Reply

    one = client(elsewhere=True)
    for to, followed in (("http://h/x", False), ("https://h/x", True), ("https://other/", True)):
        answer = Reply(302, {"location": to}, b"")
        if followed:
            assert one._next("https://h/y", answer) == to
        else:
            assert "plain http" in refusal(
                RemoteError, lambda answer=answer: one._next("https://h/y", answer)
            )


@pytest.mark.parametrize(
    ("limits", "said", "sent"),
    [
        ({"max_requests": 2}, "remote.max_requests: 2 requests have been sent", 2),
        ({"max_bytes": 2500}, "remote.max_bytes: 2,500 bytes have been sent and received", 1),
        ({"max_seconds": 1e-9}, "remote.max_seconds: 1e-09 s have gone since the first", 1),
    ],
)
def test_budgets(
    client: Maker, running: Any, limits: Any, said: str, sent: int, refusal: Any
) -> None:
    one = client(**limits)

    def ask() -> None:
        for _ in range(5):
            _post(one, "/fine", bytes(1000))
            time.sleep(1e-6)

    assert refusal(LimitError, ask).startswith(said)
    assert len(running[1].asked) == sent


def test_no_more_at_once_than_allowed(client: Maker) -> None:
    one, most, now, lock = client(concurrency=2), 0, 0, threading.Lock()
    exchange = one._exchange

    def counted(*given: Any) -> Any:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        try:
            return exchange(*given)
        finally:
            with lock:
                now -= 1

    one._exchange = counted  # type: ignore[method-assign]
    threads = [threading.Thread(target=_post, args=(one, "/fine")) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 2


def test_no_form_of_a_token_is_shown(
    client: Maker, monkeypatch: pytest.MonkeyPatch, refusal: Any
) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    one = client(headers={"Authorization": "Bearer env:TOKEN"})
    for _ in range(11):
        said = refusal(RemoteError, lambda: one.get(f"{one.server}/echo"))
        shown = said.partition("401: ")[2].partition(" (look")[0]
        # What stays is "Bearer", perhaps in base64, and ends that carry less than 40 bits.
        rest = shown.replace("Bearer", "").replace("QmVhcmVyIH", "").replace("***", "")
        assert "***" in shown and len(rest.strip()) < 7


def test_a_proxy_of_the_environment_is_asked(
    client: Maker, running: Any, monkeypatch: pytest.MonkeyPatch, refusal: Any
) -> None:
    at = running[0].removeprefix("http://")
    monkeypatch.setenv("http_proxy", f"http://me:pass%20word@{at}")
    one = client()
    monkeypatch.setattr(
        _Handler, "do_http://nowhere.example/x", _Handler.do_absolute, raising=False
    )
    assert one.get("http://nowhere.example/x").content == b"through the proxy"
    (_, path, headers, _), *_ = running[1].asked
    assert path == "http://nowhere.example/x" and headers["Host"] == "nowhere.example"
    assert headers["Proxy-Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    monkeypatch.setenv("https_proxy", running[0])
    assert refusal(RemoteError, lambda: one.get("https://nowhere.example/x")) == (
        f"{one.server}: the proxy that the environment names refuses"
    )
    monkeypatch.setenv("http_proxy", "socks5://secret@127.0.0.1:1")
    said = refusal(Exception, lambda: client().get("http://other.example/"))
    assert "proxy variables" in said and "secret" not in said


def test_a_look_up_of_a_host_ends_in_time(
    client: Maker, monkeypatch: pytest.MonkeyPatch, refusal: Any
) -> None:
    never = threading.Event()
    monkeypatch.setattr(doors, "look_up", lambda *_: never.wait() or [])
    one = client(timeout=0.05)
    assert refusal(RemoteError, lambda: one.get(f"{one.server}/fine")) == (
        f"{one.server}: no connection within the timeout of 0.05 s (remote: {{timeout: ...}})"
    )
    never.set()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "no connection: Too many open files"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
        (InterruptedError(errno.EINTR, "Interrupted system call"), "Interrupted system call"),
        (socket.gaierror(-2, "Name or service not known"), "no address for host '127.0.0.1'"),
    ],
)
def test_a_connection_that_the_system_refuses_once_is_made_again(
    client: Maker, monkeypatch: pytest.MonkeyPatch, refusal: Any, fault: OSError, said: str
) -> None:
    door = "look_up" if isinstance(fault, socket.gaierror) else "connect"
    plain, faults = getattr(doors, door), [fault]

    def failing(*arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return plain(*arguments)

    monkeypatch.setattr(doors, door, failing)
    assert _post(client(), "/fine", b"again") == b"again"
    faults += [fault] * 99
    assert said in refusal(RemoteError, lambda: _post(client(), "/fine"))


def test_the_next_address_of_a_host_is_tried(
    client: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = doors.look_up
    closed = (socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", 9))
    monkeypatch.setattr(doors, "look_up", lambda *place: [closed, *plain(*place)])
    one = client()
    assert one.get(f"{one.server}/fine").content == b"fine"
