"""What is asked again after it went wrong, what is not, and secure connections."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.adapter import Adapter, InputError
from crucibench.contracts.batch import Batch
from crucibench.util.http.client import RemoteError

pytestmark = pytest.mark.sockets

Opener = Callable[..., Adapter]
SCORES = frozenset({"scores"})


def test_a_timeout_is_not_tried_again(
    server: Any, served: Any, open_served: Opener, digits: Batch, refusal: Any
) -> None:
    served(hang=True)
    adapter: Any = open_served()
    # Opening may take a slow machine longer than that.
    adapter._client._left = lambda ends: 0.2
    assert refusal(RemoteError, lambda: adapter.predict(digits.take([0, 1, 2]), SCORES)) == (
        f"{server.url}: no answer within the timeout of 60 s (remote: {{timeout: ...}})"
    )
    assert server.seen()["requests"] == 1


def test_broken_connections_are_tried_again(
    server: Any, served: Any, open_served: Opener, digits: Batch, clock: Any, expected: np.ndarray
) -> None:
    served(drop_every=3)
    adapter = open_served("batch=4", remote={"concurrency": 1})
    outputs = adapter.predict(digits, SCORES)
    assert outputs.scores is not None and np.abs(outputs.scores - expected).max() < 1e-5
    seen = server.seen()
    assert (seen["answered"], seen["requests"]) == (16, 23) and clock.waits == [0.5] * 7
    served(drop_every=1)
    with pytest.raises(RemoteError, match="closed the connection before its answer was there"):
        adapter.predict(digits.take([0]), SCORES)
    assert server.seen()["requests"] == 5
    assert clock.waits[7:] == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("after", "waits"),
    [
        (None, [0.5, 1.0]), ("7", [7.0, 7.0]), ("0", []),
        ("Tue, 14 Nov 2023 22:13:30 GMT", [10.0, 10.0]), ("soon", [0.5, 1.0]),
    ],
)  # fmt: skip
def test_a_busy_server_is_asked_again(
    server: Any, served: Any, open_served: Opener, digits: Batch, clock: Any, status: int,
    after: str | None, waits: list[float],
) -> None:  # fmt: skip
    refuse = {"status": status, "times": 2, "body": {"error": "busy"}}
    served(refuse=refuse | ({} if after is None else {"after": after}))
    open_served().predict(digits.take([0, 1, 2]), SCORES)
    assert server.seen()["requests"] == 3 and clock.waits == waits


def test_a_busy_server_is_not_asked_for_ever(
    server: Any, served: Any, open_served: Opener, digits: Batch
) -> None:
    refuse = {"status": 503, "times": 99, "body": {"error": "busy"}, "after": "1"}
    served(refuse=refuse)
    with pytest.raises(RemoteError, match="answers 503: busy"):
        open_served().predict(digits.take([0, 1, 2]), SCORES)
    assert server.seen()["requests"] == 5
    served(refuse=refuse | {"after": "3600"})
    with pytest.raises(RemoteError, match="asks to wait for 3600 s, longer than the 60 s"):
        open_served().predict(digits.take([0, 1, 2]), SCORES)
    assert server.seen()["requests"] == 1


def test_after_an_error_nothing_more_is_sent(
    server: Any, served: Any, open_served: Opener, digits: Batch
) -> None:
    served(max_rows=3)
    adapter = open_served("batch=4", remote={"concurrency": 1})
    with pytest.raises(RemoteError, match="at most 3 rows"):
        adapter.predict(digits, SCORES)
    assert server.seen()["requests"] == 1
    served(max_rows=3)
    adapter = open_served("batch=4", remote={"concurrency": 2})
    with pytest.raises(RemoteError, match="at most 3 rows"):
        adapter.predict(digits, SCORES)
    assert server.seen()["requests"] <= 2


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Makes a certificate that signs itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    paths = str(folder / "certificate.pem"), str(folder / "key.pem")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=crucibench tests", "-addext", "subjectAltName=IP:127.0.0.1",
            "-out", paths[0], "-keyout", paths[1],
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return paths


def test_https(
    server: Any, certificate: tuple[str, str], serving_digits: dict[str, Any], open_served: Opener,
    digits: Batch, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with type(server)(*certificate) as secure:
        secure.set(**serving_digits)
        with pytest.raises(InputError) as caught:
            open_served(uri=secure.uri())
        told = f"{secure.url}: its certificate is not trusted (self"
        assert str(caught.value).startswith(told) and "SSL_CERT_FILE" in str(caught.value)
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        outputs = open_served(uri=secure.uri()).predict(digits, SCORES)
        assert outputs.scores is not None and np.abs(outputs.scores - expected).max() < 1e-5
        with pytest.raises(InputError, match=r"closed the connection|not HTTP"):
            open_served(uri=secure.uri().replace("https", "http"))
    with pytest.raises(InputError, match=r"no secure connection.*does it speak https"):
        open_served(uri=server.uri().replace("http", "https"))
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at-all.pem")
    with pytest.raises(InputError, match="look at SSL_CERT_FILE"):
        open_served()
