"""Ctrl-C: once stops after the shards that are under way, twice stops now; both can be resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent as POSIX sends it"),
]

HELD = """
import pathlib
import time

import numpy as np

HERE = pathlib.Path(__file__).parent


def held(batch):
    while (HERE / "hold").exists():
        (HERE / "held").touch()
        time.sleep(0.02)
    return np.full((len(batch), 3), 1 / 3)
"""
# A shell that puts the tests in the background has its children ignore Ctrl-C.
HEEDING = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('crucibench', run_name='__main__', alter_sys=True)"
)
RESUME = "interrupted; give the same command again to resume"
STOPPING = "stopping after the shards that are under way; Ctrl-C again stops now"


class Command:
    """`crucibench run` of a model that answers no more while the file ``hold`` is there."""

    def __init__(self, folder: Path, workers: int) -> None:
        (folder / "models.py").write_text(HELD, encoding="utf-8")
        self.workers = workers
        self.hold, self.held, self.results = folder / "hold", folder / "held", folder / "results"
        self._command = [
            *(sys.executable, "-c", HEEDING, "run", "--model", "python:models.py:held"),
            *("--data", "sklearn:wine", "--batch-size", "2", "--suite", "accuracy"),
            *("--workers", str(workers), "--no-cache"),
        ]
        self._running: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._running = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @property
    def running(self) -> subprocess.Popen[str]:
        assert self._running is not None
        return self._running

    def wait_for(self, done: Callable[[], Any]) -> None:
        while not done():
            assert self.running.poll() is None, self.running.communicate()
            time.sleep(0.02)

    def shards(self) -> dict[Path, int]:
        found = self.results.glob("*/cells/*/records-*.parquet")
        return {path: path.stat().st_mtime_ns for path in found}

    def collect_some(self) -> dict[Path, int]:
        """Returns when a shard is under way, and which were there before it."""
        self.start()
        self.wait_for(self.shards)
        self.hold.touch()
        self.wait_for(self.held.is_file)
        return self.shards()

    def interrupt(self) -> None:
        self.running.send_signal(signal.SIGINT)

    def told(self, line: str) -> None:
        """Waits until it has said something."""
        assert self.running.stderr is not None
        assert any(text.rstrip("\n") == line for text in self.running.stderr)

    def ended(self) -> str:
        """Returns what it said last, after an interrupt."""
        out, told = self.running.communicate(timeout=300)
        assert self.running.returncode == 130, told
        assert out == ""
        assert "Traceback" not in told
        assert not list(self.results.glob("*/manifest.json"))
        return told.splitlines()[-1]

    def close(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.communicate()


@pytest.fixture(params=[0, 1], ids=["no worker", "one worker"])
def command(folder: Path, request: pytest.FixtureRequest) -> Iterator[Command]:
    found = Command(folder, request.param)
    yield found
    found.close()


def resumes(command: Command, kept: dict[Path, int]) -> None:
    """The same command goes on from where it was."""
    command.start()
    _, told = command.running.communicate(timeout=300)
    assert command.running.returncode == 0, told
    assert len(list(command.results.glob("*/manifest.json"))) == 1
    assert command.shards().items() >= kept.items(), "a shard was collected again"


def test_once_stops_after_the_shards_under_way(command: Command) -> None:
    before = command.collect_some()
    command.interrupt()
    command.told(STOPPING)
    command.hold.unlink()
    assert command.ended() == RESUME
    after = command.shards()
    assert after.items() > before.items()
    assert len(after) == len(before) + 1, "the shard under way, and no other"
    if command.workers:
        resumes(command, after)


@pytest.mark.parametrize("command", [0, pytest.param(1, marks=pytest.mark.thorough)], indirect=True)
def test_twice_stops_now(command: Command) -> None:
    before = command.collect_some()
    command.interrupt()
    command.told(STOPPING)
    command.interrupt()
    assert command.ended() == RESUME
    assert command.shards() == before
    command.hold.unlink()
    if not command.workers:
        resumes(command, before)


@pytest.mark.parametrize("command", [0, pytest.param(1, marks=pytest.mark.thorough)], indirect=True)
def test_nothing_is_kept_of_an_interrupted_inspection(command: Command) -> None:
    command.hold.touch()
    command.start()
    command.wait_for(command.held.is_file)
    command.interrupt()
    assert command.ended() == RESUME
    assert not command.results.exists()
