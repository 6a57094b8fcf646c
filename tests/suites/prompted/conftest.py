"""A language model of known probabilities behind a server, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import crucibench as cb

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from _mock_server import SCRIPT, Server


@pytest.fixture(scope="session")
def one_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


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
        model: dict[str, Any] | None = None, reuse: Path | None = None,
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
            reuse_answers=reuse,
        )

    return run
