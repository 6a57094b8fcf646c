"""What holds for the whole test suite: no network, no cache of the user's, a sample plug-in."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from crucibench import registry
from crucibench.contracts.attack import attacks
from crucibench.contracts.corruption import corruptions
from crucibench.contracts.metric import metrics
from crucibench.contracts.task import task_kinds
from crucibench.engine.worker.replaced import LibraryWatch

ROOT = Path(__file__).parent.parent

# The same examples each time, and no failure for a busy machine.
settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

_REPLACED = LibraryWatch.replaced


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files that take long first, so that no process is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


class _RefusedSocket(socket.socket):
    def __init__(self, family: int = -1, *args: object, **kwargs: object) -> None:
        if family in {-1, socket.AF_INET, socket.AF_INET6}:
            raise AssertionError("a test opened a socket; mark it `sockets` if it must")
        super().__init__(family, *args, **kwargs)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "sockets" not in request.keywords:
        monkeypatch.setattr(socket, "socket", _RefusedSocket)


@pytest.fixture(scope="session", autouse=True)
def _settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRUCIBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        # Where a test is not about workers, starting them would only take time.
        patch.setenv("CRUCIBENCH_WORKERS", "0")
        # pytest-xdist gives its workers the terminal's width, and tables would be folded to it.
        patch.delenv("COLUMNS", raising=False)
        # A run in this process would leave it with a thread for each core from then on: small nets
        # take ten times as long where several such processes wait for one another.
        patch.setattr(os, "cpu_count", lambda: 1)
        # No test pulls the plug, and each sync costs milliseconds.
        patch.setattr(os, "fsync", lambda descriptor: None)
        # Ten thousand names after every cell of a run in this process; see `library_watch`. Its
        # first look stays: it loads what would count as read by the model that came first.
        patch.setattr(LibraryWatch, "replaced", lambda self: ())
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Begins each test with one thread, whatever a run before it has set."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _frozen_heap() -> None:
    """Leaves what is loaded by now out of garbage collection: a pass over torch takes 0.3 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Returns a function that compares an output with the file of a name in tests/golden.

    With CRUCIBENCH_GOLDEN=write in the environment the file is written instead: look at the
    difference before committing it.
    """

    def compare(name: str, output: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if os.environ.get("CRUCIBENCH_GOLDEN") == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(output, encoding="utf-8", newline="\n")
        assert output == path.read_text(encoding="utf-8"), f"{name}: not as in tests/golden"

    return compare


@pytest.fixture
def library_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets runs in this process look for functions that models have replaced, as they do."""
    monkeypatch.setattr(LibraryWatch, "replaced", _REPLACED)


@pytest.fixture(scope="session")
def sample_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installs tests/sample_plugin from its own wheel into a folder of its own."""
    target = tmp_path_factory.mktemp("plugin")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--disable-pip-version-check", "--no-build-isolation", "--target", str(target),
            str(ROOT / "tests" / "sample_plugin"),
        ],
        check=True,
    )  # fmt: skip
    return target


@pytest.fixture(scope="session")
def plugged() -> Callable[[Path], AbstractContextManager[None]]:
    """Returns what makes an installed plug-in importable in this process: ``plugged(folder)``."""

    @contextmanager
    def importable(folder: Path) -> Iterator[None]:
        sys.path.insert(0, str(folder))
        _forget_registries()
        try:
            yield
        finally:
            sys.path.remove(str(folder))
            _forget_registries()

    return importable


@pytest.fixture
def with_plugin(sample_plugin: Path, plugged: Any) -> Iterator[Path]:
    """Makes the sample plug-in importable in this process, for one test."""
    with plugged(sample_plugin):
        yield sample_plugin


def _forget_registries() -> None:
    for found in (
        registry.adapters, registry.suites, registry.sources, attacks, corruptions, metrics,
        task_kinds,
    ):  # fmt: skip
        found.cache_clear()


@pytest.fixture
def refusal() -> Callable[[type[Exception], Callable[[], object]], str]:
    """Returns what a call that must be refused says: ``refusal(InputError, lambda: call())``."""

    def sentence(error: type[Exception], call: Callable[[], object]) -> str:
        with pytest.raises(error) as caught:
            call()
        return str(caught.value)

    return sentence
