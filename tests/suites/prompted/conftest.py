"""A language model of known probabilities behind a server, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import crucibench as cb

SCRIPT = Path(__file__).parents[3] / "examples" / "mock_language_model.py"


class Server:
    """The example's server, running."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def uri(self, api: str = "completions", more: str = "") -> str:
        return f"openai:{self.url}/v1?model=mock&api={api}{more}"

    def set(self, **manners: Any) -> None:
        self._opener.open(f"{self.url}/control", json.dumps(manners).encode(), timeout=60).close()

    def seen(self) -> dict[str, Any]:
        with self._opener.open(f"{self.url}/seen", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@pytest.fixture(scope="session")
def one_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.communicate()  # its input ends, and so does it


@pytest.fixture
def server(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    one_server.set()
    return one_server


@pytest.fixture(scope="session")
def mock() -> ModuleType:
    """The example as a module: what the server's answers should be."""
    spec = importlib.util.spec_from_file_location("mock_language_model", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., cb.Run]:
    """Runs the suite on items."""

    def run(
        uri: str, items: list[dict[str, Any]], task: dict[str, Any], options: str = "",
        model: dict[str, Any] | None = None,
    ) -> cb.Run:  # fmt: skip
        path = tmp_path / "items.jsonl"
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
        return cb.run(
            {
                "models": [{"name": "m", "uri": uri, **(model or {})}],
                "data": [{"name": "d", "uri": f"items:{path}?target=answer{options}"}],
                "tracks": [{"name": "t", "models": ["m"], "data": "d", "suites": ["prompted"]}],
                "suites": {"prompted": {"tasks": {"t": task}}},
            },
            out=tmp_path / "results",
            workers=0,
        )

    return run
