"""Ctrl-C, SIGTERM and SIGHUP end a run; workers that are killed; what the system refuses."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

MODEL = """
import os
import pathlib
import time

import numpy as np

HERE = pathlib.Path(__file__).parent


def held(batch):
    if (HERE / "armed").exists() and any(HERE.glob("results/*/cells/*/records-*.parquet")):
        (HERE / "hold").touch()
    while (HERE / "hold").exists():
        (HERE / "held").write_text(str(os.getpid()))
        time.sleep(0.02)
    return np.full((len(batch), 3), 1 / 3)
"""
# A shell that puts the tests in the background has its children ignore Ctrl-C, nohup hang-ups.
HEEDING = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    "runpy.run_module('crucibench', run_name='__main__', alter_sys=True)"
)
RESUME = "interrupted; give the same command again to resume"
STOPPING = "stopping after the shards that are under way; Ctrl-C again stops now"
EXITS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SECOND = pytest.param((signal.SIGINT, signal.SIGINT), 1, marks=pytest.mark.thorough)


def each_signal(*workers: int) -> pytest.MarkDecorator:
    """Returns every signal with every count of workers; the first tier has each of both once."""
    first = set(zip(EXITS, itertools.cycle(workers), strict=False))
    pairs = [
        pytest.param(number, count, marks=[] if (number, count) in first else pytest.mark.thorough)
        for number, count in itertools.product(EXITS, workers)
    ]
    return pytest.mark.parametrize(("number", "workers"), pairs)


class Command:
    """`crucibench run` of a model that answers no more while the file ``hold`` is there.

    While ``armed`` is there, the model makes that file itself as soon as a shard is written.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "models.py").write_text(MODEL, encoding="utf-8")
        self.folder = folder
        self.hold, self.held, self.armed, self.results = (
            folder / name for name in ("hold", "held", "armed", "results")
        )
        self.running: subprocess.Popen[str] | None = None

    def start(self, workers: int, *options: str) -> subprocess.Popen[str]:
        self.running = subprocess.Popen(
            [
                *(sys.executable, "-c", HEEDING, "run", "--model", "python:models.py:held"),
                *("--data", "sklearn:wine", "--batch-size", "2", "--limit", "40"),
                *("--suite", "accuracy"),
                *("--workers", str(workers), "--no-cache", *options),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        return self.running

    def wait_for(self, done: Callable[[], object]) -> None:
        assert self.running is not None
        while not done():
            assert self.running.poll() is None, self.running.communicate()
            time.sleep(0.02)

    def shards(self) -> dict[Path, int]:
        """Returns when each shard was written."""
        found = self.results.glob("*/cells/*/records-*.parquet")
        return {path: path.stat().st_mtime_ns for path in found}

    def hold_one(self, workers: int) -> dict[Path, int]:
        """Returns, while a shard is under way, those that were there before it."""
        self.armed.touch()
        self.start(workers)
        self.holder()
        self.armed.unlink()
        return self.shards()

    def interrupt(self, number: int) -> None:
        """Sends a signal, and waits until the run says that it stops."""
        assert self.running is not None and self.running.stderr is not None
        self.running.send_signal(number)
        assert any(line.rstrip("\n") == STOPPING for line in self.running.stderr)

    def ended(self, code: int) -> None:
        """Holds an interrupted run to its exit code and its last words."""
        assert self.running is not None
        out, printed = self.running.communicate(timeout=300)
        assert (self.running.returncode, out) == (code, ""), printed
        assert printed.splitlines()[-1] == RESUME
        assert "Traceback" not in printed
        assert not list(self.results.glob("*/manifest.json"))
        assert self.orphans() == []

    def resumes(self, workers: int, kept: dict[Path, int]) -> None:
        """The same command goes on from where it was."""
        running = self.start(workers)
        _, printed = running.communicate(timeout=300)
        assert running.returncode == 0, printed
        assert len(list(self.results.glob("*/manifest.json"))) == 1
        if workers:
            assert self.shards().items() >= kept.items(), "a shard was collected again"

    def holder(self) -> int:
        """Returns the process that holds the model, once it does."""
        seen: list[str] = []  # the file is empty while it is being written

        def holds() -> bool:
            seen[:] = [self.held.read_text()] if self.held.is_file() else [""]
            return bool(seen[0])

        self.wait_for(holds)
        return int(seen[0])

    def orphans(self) -> list[int]:
        """Returns the processes that work in the folder, and which still run after some seconds."""
        until = time.monotonic() + 20
        while (found := self._processes()) and time.monotonic() < until:
            time.sleep(0.05)
        return found

    def _processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (
                    int(entry.name) != os.getpid()
                    and (entry / "cwd").resolve(strict=True) == self.folder.resolve()
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@pytest.fixture
def command(folder: Path) -> Iterator[Command]:
    found = Command(folder)
    yield found
    if found.running is not None:
        found.running.kill()
        found.running.communicate()


@each_signal(2, 0, 1)
def test_a_signal_ends_after_the_shard_and_the_run_resumes(
    command: Command, number: signal.Signals, workers: int
) -> None:
    before = command.hold_one(workers)
    command.interrupt(number)
    command.hold.unlink()
    command.ended(EXITS[number])
    after = command.shards()
    assert after.items() > before.items()
    if workers < 2:
        assert len(after) == len(before) + 1, "the shard under way, and no other"
    command.resumes(workers, after)


@pytest.mark.parametrize(
    ("signals", "workers"),
    [
        ((signal.SIGINT, signal.SIGINT), 0), SECOND,
        pytest.param((signal.SIGTERM, signal.SIGHUP), 0, marks=pytest.mark.thorough),
        ((signal.SIGTERM, signal.SIGHUP), 1),
    ],
)  # fmt: skip
def test_a_second_signal_ends_at_once(
    command: Command, signals: tuple[signal.Signals, signal.Signals], workers: int
) -> None:
    before = command.hold_one(workers)
    command.interrupt(signals[0])
    assert command.running is not None
    command.running.send_signal(signals[1])
    command.ended(128 + signals[1])
    assert command.shards() == before
    command.hold.unlink()
    if not workers:
        command.resumes(workers, before)


@each_signal(0, 2)
def test_a_signal_ends_an_inspection(
    command: Command, number: signal.Signals, workers: int
) -> None:
    command.hold.touch()
    running = command.start(workers)
    command.holder()
    running.send_signal(number)
    command.ended(EXITS[number])
    assert not command.results.exists()


@pytest.mark.parametrize("retries", [0, 1])
def test_a_worker_killed_at_inspection(command: Command, retries: int) -> None:
    command.hold.touch()
    running = command.start(1, "--retries", str(retries))
    killed = set[int]()
    for _ in range(retries + 1):
        command.wait_for(lambda: command.holder() not in killed)
        killed.add(command.holder())
        os.kill(command.holder(), signal.SIGKILL)
    _, printed = running.communicate(timeout=300)
    assert running.returncode == 4, printed
    assert "killed by SIGKILL" in printed.splitlines()[-1]
    assert printed.count("again: ") == retries
    assert not command.results.exists()
    assert command.orphans() == []


def test_a_retry_goes_on_after_a_worker_killed_at_inspection(command: Command) -> None:
    command.hold.touch()
    running = command.start(1, "--retries", "1")
    first = command.holder()
    command.hold.unlink()
    command.hold.touch()
    os.kill(first, signal.SIGKILL)
    command.hold.unlink()
    _, printed = running.communicate(timeout=300)
    assert running.returncode == 0, printed
    assert "again: held" in printed


def test_a_worker_killed_at_collection_fails_its_cell(command: Command) -> None:
    command.hold_one(1)
    os.kill(command.holder(), signal.SIGKILL)
    command.hold.unlink()
    running = command.running
    assert running is not None
    _, printed = running.communicate(timeout=300)
    assert running.returncode == 4, printed
    assert "killed by SIGKILL" in printed
    assert command.orphans() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_place_where_the_system_makes_no_folder(command: Command, workers: int) -> None:
    running = command.start(workers, "--out", "/proc/x")
    _, printed = running.communicate(timeout=300)
    assert running.returncode in {74, 2}, printed
    assert running.returncode == (74 if os.access("/proc", os.W_OK) else 2)
    last = printed.splitlines()[-1]
    assert last.startswith("error: ")
    assert "/proc/x" in last
    assert "Traceback" not in printed
    assert command.orphans() == []
