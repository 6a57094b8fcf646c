"""A server of the tests' own in a process of its own, and models that it serves."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from crucibench.contracts.adapter import Adapter, Opening
from crucibench.contracts.data import DataCard
from crucibench.contracts.uri import parse_uri
from crucibench.util.http.limits import Remote, WaitingClock
from crucibench_adapters.open_inference import OpenInferenceAdapter


class Server:
    """A running `server.py`."""

    def __init__(self, *certificate: str) -> None:
        script = Path(__file__).with_name("server.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), *certificate],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        trusted = ssl.create_default_context(cafile=certificate[0]) if certificate else None
        # No proxy of the environment stands between.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
        )

    def uri(self, query: str = "", model: str = "cnn") -> str:
        return f"oip:{self.url}/v2/models/{model}" + (f"?{query}" if query else "")

    def set(self, **config: Any) -> None:
        """Sets how it behaves, and forgets what it has seen."""
        self._ask("/control", json.dumps(config).encode())

    def seen(self) -> dict[str, Any]:
        """Returns what it was asked."""
        found: dict[str, Any] = json.loads(self._ask("/seen"))
        return found

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        with self._opener.open(f"{self.url}{path}", body, timeout=60) as answer:
            found: bytes = answer.read()
        return found

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class StillClock(WaitingClock):
    """A clock that only waiting moves, and that nobody waits for."""

    def __init__(self) -> None:
        self.time = 0.0
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        return self.time

    def date(self) -> float:
        return 1_700_000_000.0

    def wait(self, seconds: float, stop: threading.Event) -> None:
        if seconds > 0:
            with self._lock:
                self.waits.append(seconds)
                self.time += seconds

    def jitter(self) -> float:
        return 1.0


@pytest.fixture(scope="session")
def one_server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def server(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Returns a server that serves nothing yet."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    one_server.set()
    return one_server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    """Makes clients wait for nothing, and notes how long they would have."""
    still = StillClock()
    monkeypatch.setattr(OpenInferenceAdapter, "clock", still)
    return still


@pytest.fixture(scope="session")
def digits_model() -> LogisticRegression:
    """A model of digits in [0, 1], as they are sent."""
    X, y = load_digits(return_X_y=True)
    return LogisticRegression(max_iter=200).fit(X[::3] / 16, y[::3])


@pytest.fixture(scope="session")
def serving_digits(digits_model: LogisticRegression) -> dict[str, Any]:
    """What the server is told to serve that model."""
    return {
        "weights": digits_model.coef_.tolist(),
        "bias": digits_model.intercept_.tolist(),
        "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
    }


Opener = Callable[..., Adapter]


@pytest.fixture
def open_served(
    tmp_path: Path, digits_card: DataCard, server: Server, clock: StillClock
) -> Iterator[Opener]:
    """Opens a model of the server, and closes it when the test is over."""
    opened: list[Adapter] = []

    def make(
        query: str = "",
        *,
        card: DataCard = digits_card,
        uri: str = "",
        remote: Any = None,
        **more: Any,
    ) -> Adapter:
        opening = Opening(
            name="model", uri=parse_uri(uri or server.uri(query)), base=tmp_path, data=card,
            remote=Remote(**(remote or {})), **more,
        )  # fmt: skip
        opened.append(OpenInferenceAdapter.open(opening))
        return opened[-1]

    yield make
    for adapter in opened:
        adapter.close()


@pytest.fixture(scope="session")
def expected(digits_model: LogisticRegression) -> np.ndarray:
    """The model's own probabilities of the first 64 digits."""
    found: np.ndarray = digits_model.predict_proba(load_digits().data[:64] / 16)
    return found


@pytest.fixture
def served(server: Server, serving_digits: dict[str, Any]) -> Callable[..., Any]:
    """Serves the digits, with further settings."""
    return lambda **more: server.set(**serving_digits | more)
