"""Whatever a server does wrong is one sentence, and no secret is in it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.adapter import Adapter, InputError
from crucibench.contracts.batch import Batch
from crucibench.contracts.task import NonFiniteError, OutputError
from crucibench.contracts.uri import parse_uri
from crucibench.util.errors import CrucibenchError
from crucibench.util.http.client import RemoteError
from crucibench_adapters.open_inference import OpenInferenceAdapter

pytestmark = pytest.mark.sockets

Opener = Callable[..., Adapter]
SCORES = frozenset({"scores"})
SECRET = "Bearer s3cr3t-value-9f2a"
TOKEN = {"headers": {"Authorization": "env:TOKEN"}}


# -- addresses and options ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("oip:localhost:8000/v2/models/cnn", "oip: expected oip:http://HOST:PORT/v2/models/NAME"),
        ("oip:http://localhost:8000/models/cnn", "oip: expected oip:http://HOST:PORT/v2/models"),
        ("oip:http://localhost:8000/v2/models/cnn/infer", "oip: expected oip:http://HOST:PORT"),
        ("oip:http://localhost:80000/v2/models/cnn", "oip: expected oip:http://HOST:PORT/v2/mod"),
        ("oip:ftp://localhost/v2/models/cnn", "oip: expected oip:http://HOST:PORT/v2/models/NAME"),
        ("oip:http:///v2/models/cnn", "oip: expected oip:http://HOST:PORT/v2/models/NAME"),
        ("oip:http://h/v2/models/a b", "oip: expected oip:http://HOST:PORT/v2/models/NAME"),
        ("oip:http://h/v2/models/a?output=probs", "unknown output of oip: 'probs'; did you mean"),
        ("oip:http://h/v2/models/a?layout=chw", "unknown layout of oip: 'chw'; did you mean"),
        ("oip:http://h/v2/models/a?datatype=FP31", "unknown datatype of oip: 'FP31'; did you"),
        ("oip:http://h/v2/models/a?batch=0", "oip: option batch: expected a whole number from 1"),
        ("oip:http://h/v2/models/a?binary=maybe", "oip: option binary: expected true or false"),
        ("oip:http://h/v2/models/a?ouput=labels", "unknown option of oip: 'ouput'; did you mean"),
    ],
)
def test_mistakes_in_the_address(tmp_path: Path, uri: str, told: str, refusal: Any) -> None:
    assert refusal(
        InputError, lambda: OpenInferenceAdapter.sources(parse_uri(uri), tmp_path)
    ).startswith(told)


def test_a_password_in_the_address_is_not_even_shown(tmp_path: Path) -> None:
    for user in ("bob:hunter22", "bob", "bob:hunter22/x"):
        uri = parse_uri(f"oip:http://{user}@h:80/v2/models/a")
        with pytest.raises(InputError, match="user name or a password") as caught:
            OpenInferenceAdapter.sources(uri, tmp_path)
        assert "hunter" not in str(caught.value)


# -- opening --------------------------------------------------------------------------------------


def test_nobody_listens(open_served: Opener) -> None:
    with socket.socket() as own:  # bound and not listening: nobody else gets the port
        own.bind(("127.0.0.1", 0))
        port = own.getsockname()[1]
        with pytest.raises(InputError) as caught:
            open_served(uri=f"oip:http://127.0.0.1:{port}/v2/models/cnn")
    assert str(caught.value) == (
        f"http://127.0.0.1:{port}: connection refused: does the server run there?"
    )


def test_no_such_host(open_served: Opener, monkeypatch: pytest.MonkeyPatch, refusal: Any) -> None:
    def nobody(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    assert (
        refusal(InputError, lambda: open_served(uri="oip:http://host.invalid:80/v2/models/cnn"))
        == "http://host.invalid:80: no address for host 'host.invalid'"
    )


def test_no_model_of_that_name(server: Any, served: Any, open_served: Opener, refusal: Any) -> None:
    served(models=["cnn", "resnet"])
    assert refusal(InputError, lambda: open_served(uri=server.uri(model="resnet5"))) == (
        f"{server.url} has no model 'resnet5'; did you mean 'resnet'? (it has: cnn, resnet)"
    )
    served()
    assert (
        refusal(InputError, lambda: open_served(uri=server.uri(model="other/versions/4")))
        == f"{server.url} has no model 'other' in version 4"
    )


def test_not_ready(server: Any, served: Any, open_served: Opener) -> None:
    told = "model 'cnn' is there and not ready"
    for config in ({"ready": 400}, {"ready": 503}, {"ready_body": {"ready": False}}):
        served(**config)
        with pytest.raises(InputError, match=told):
            open_served()
    served(ready=404)
    open_served()


def test_a_server_that_is_none(server: Any, served: Any, open_served: Opener, refusal: Any) -> None:
    served(server_text="<html>Welcome\x1b[2J</html>")
    assert refusal(InputError, open_served) == (
        f"{server.url}: the server's metadata is not JSON: '<html>Welcome\\u001b[2J</html>'"
    )


@pytest.mark.parametrize("to", ["http://127.0.0.1:1/v2", "http://elsewhere.example/v2?key=abc"])
def test_redirects_are_refused(
    server: Any, served: Any, open_served: Opener, to: str, refusal: Any
) -> None:
    served(redirect=to)
    assert refusal(InputError, open_served) == (
        f"{server.url} redirects to {to.partition('?')[0]}: redirects to another "
        "server or to plain http are not followed, since what is sent would go there too; name the "
        "right address"
    )


# -- headers --------------------------------------------------------------------------------------


def test_headers_come_from_the_environment_at_each_request(
    server: Any,
    served: Any,
    open_served: Opener,
    digits: Batch,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Any,
) -> None:
    served(authorization=SECRET)
    monkeypatch.setenv("TOKEN", SECRET)
    given = {"Authorization": "env:TOKEN", "X-Plain": "shown"}
    adapter = open_served(remote={"headers": given})
    adapter.predict(digits, SCORES)
    assert {entry["X-Plain"] for entry in server.seen()["headers"]} == {"shown"}
    monkeypatch.setenv("TOKEN", "Bearer another-token")
    assert refusal(RemoteError, lambda: adapter.predict(digits, SCORES)) == (
        f"{server.url} answers 401: who are you? you said '***' (look at the values of headers: "
        "Authorization, X-Plain)"
    )
    monkeypatch.setenv("TOKEN", SECRET.partition(" ")[2])
    prefixed = open_served(remote={"headers": {"Authorization": "Bearer env:TOKEN"}})
    prefixed.predict(digits, SCORES)


def test_no_header_where_one_is_needed(
    server: Any, served: Any, open_served: Opener, refusal: Any
) -> None:
    served(authorization=SECRET)
    assert refusal(InputError, open_served) == (
        f"{server.url} answers 401: who are you? you said None (headers: {{Authorization: "
        "env:NAME} would send what it asks for)"
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "the environment variable TOKEN is not set: export TOKEN before the run"),
        ("", "the environment variable TOKEN is not set: export TOKEN before the run"),
        ("s3cr3t\n", "the value of the environment variable TOKEN can't be a header"),
        ("s3cr3t-é", "the value of the environment variable TOKEN can't be a header"),
    ],
)
def test_variables_that_are_no_header(
    server: Any, served: Any, open_served: Opener, monkeypatch: pytest.MonkeyPatch,
    value: str | None, told: str,
) -> None:  # fmt: skip
    served()
    monkeypatch.delenv("TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("TOKEN", value)
    with pytest.raises(InputError) as caught:
        open_served(remote=TOKEN)
    assert str(caught.value).startswith(f"headers.Authorization: {told}")
    assert "s3cr3t" not in str(caught.value)
    assert server.seen()["requests"] == 0


# -- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "kind", "told"),
    [
        ({"garbage": "<b>\x07no</b>"}, OutputError, "not JSON: '<b>\\u0007no</b>'"),
        ({"garbage": ""}, OutputError, "the answer is not JSON: ''"),
        ({"garbage": "[1]"}, OutputError, "the answer has no list of outputs"),
        ({"garbage": '{"outputs": [3]}'}, OutputError, "the answer has an output without a name"),
        (
            {"entry": {"datatype": "FP31"}}, OutputError,
            "output 'probabilities': expected a datatype of the protocol, got 'FP31'",
        ),
        ({"entry": {"datatype": []}}, OutputError, "expected a datatype of the protocol, got '[]'"),
        ({"entry": {"shape": "x"}}, OutputError, "output 'probabilities': expected a shape, got"),
        ({"entry": {"data": [["x"]]}}, OutputError, "its data is no list of FP32 values"),
        ({"entry": {"data": "x"}}, OutputError, "its data is no list of FP32 values"),
        (
            {"extra_rows": 1}, OutputError,
            "output 'probabilities': shape (4, 10) has 40 values, the answer has 30",
        ),
        (
            {"answers": [["probabilities", "INT64"]]}, OutputError,
            "expected probabilities as FP16, BF16, FP32 or FP64, got INT64; for labels say",
        ),
        (
            {"answers": [["other", "FP32"]]}, OutputError,
            "the answer has no output 'probabilities' (it has: 'other'): say ?outputs=NAME",
        ),
        ({"columns": 7}, OutputError, "scores: the data has 10 classes, the model returned 7"),
        ({"nan": True}, NonFiniteError, "scores: 1 of 3 rows in a batch are not finite"),
        (
            {"max_rows": 2}, RemoteError,
            "answers 400: at most 2 rows\\u001b[31m, please (a request held 3 samples: ?batch=N",
        ),
        (
            {"refuse": {"status": 422, "times": 9, "body": {"detail": [{"msg": "bad"}]}}},
            RemoteError, 'answers 422: [{"msg": "bad"}]',
        ),
        (
            {"refuse": {"status": 500, "times": 9, "body": {"error": "boom " + "x" * 500}}},
            RemoteError, "answers 500: boom xxx",
        ),
        ({"not_http": "what do you want?\r\n\r\n"}, RemoteError, "something that is not HTTP"),
    ],
)  # fmt: skip
def test_wrong_answers(
    served: Any, open_served: Opener, digits: Batch, config: dict[str, Any],
    kind: type[CrucibenchError], told: str,
) -> None:  # fmt: skip
    served(**config)
    with pytest.raises(kind) as caught:
        open_served().predict(digits.take([0, 1, 2]), SCORES)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"extra_bytes": 2}, "FP32 of shape (3, 10) takes 120 bytes, the answer has 122"),
        ({"cut_bytes": 3}, "the answer announces 120 bytes and holds 117"),
        ({"cut_bytes": -3, "entry": {"parameters": {}}}, "its data is no list of FP32 values"),
    ],
)
def test_wrong_binary_answers(
    served: Any, open_served: Opener, digits: Batch, config: dict[str, Any], told: str, refusal: Any
) -> None:
    served(extensions=["binary_tensor_data"], **config)
    assert told in refusal(
        OutputError, lambda: open_served().predict(digits.take([0, 1, 2]), SCORES)
    )


def test_a_binary_request_may_be_answered_in_json(
    served: Any, open_served: Opener, digits: Batch, expected: np.ndarray
) -> None:
    served(extensions=["binary_tensor_data"], json_only=True)
    outputs = open_served().predict(digits, SCORES)
    assert outputs.scores is not None and np.abs(outputs.scores - expected).max() < 1e-5


# What is asked again after it went wrong, what is not, and secure connections.


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


@pytest.mark.parametrize("status", [429, 500, 503])
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
