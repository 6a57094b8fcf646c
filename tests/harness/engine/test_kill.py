"""A run that is killed at any instant and given again is the run that was never killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from crucibench.contracts.verdict import Status
from crucibench.integrity.verify import verify
from crucibench.store.run import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"),
        reason="forks a process full of libraries and asks /proc about its files",
    ),
]

thorough = pytest.mark.thorough
Contents = Callable[[Path], dict[str, Any]]
KILLED = -9


class Whole:
    """The run that nobody killed, how long it took and which steps it took."""

    def __init__(self, mortal: Any, contents: Contents, out: Path) -> None:
        mortal.attempt(out / "warm")  # imports
        done = mortal.attempt(out / "whole")
        assert done["code"] == 0
        self.seconds: float = done["wall"]
        self.steps: list[str] = done["steps"]
        self.kinds = sorted(set(self.steps))
        self.contents = contents(Path(done["run"]))


@pytest.fixture(scope="module")
def whole(mortal: Any, contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(mortal, contents, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def same(whole: Whole, contents: Contents) -> Callable[[dict[str, Any]], None]:
    """Says that an attempt got through, and to the same bytes."""

    def check(done: dict[str, Any]) -> None:
        assert done["code"] == 0, done
        root = Path(done["run"])
        found = contents(root)
        assert sorted(found) == sorted(whole.contents)
        assert [name for name in found if found[name] != whole.contents[name]] == []
        if done["steps"]:  # else it was finished already, and nothing was touched
            hidden = {path.name for path in root.rglob(".*")}
            assert hidden <= {".lock", ".stats.json", ".reads.json", ".journal"}, (
                "something is left lying about"
            )

    return check


def test_the_steps_are_those_of_a_whole_run(whole: Whole) -> None:
    kinds = {kind.rpartition(" ")[0] for kind in whole.kinds}
    files = {kind.rpartition(" ")[2] for kind in whole.kinds}
    assert len(whole.steps) > 500
    assert {"torn", "before the replacement of", "after the replacement of"} <= kinds
    assert {
        *("records", "probes", "carry", "keep.npy", ".journal", "cell.json", "timing.json"),
        *("test.parquet", "card.json", "spec.yaml", "metrics.parquet", "manifest.json"),
    } <= files  # fmt: skip


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=thorough) for number in range(1, 8))]
)
def test_killed_by_the_clock(
    mortal: Any, whole: Whole, same: Any, tmp_path: Path, number: int
) -> None:
    instant = random.Random(f"clock {number}").uniform(0, whole.seconds)
    mortal.attempt(tmp_path, seconds=instant)  # on a busy machine it may just have got through
    same(mortal.attempt(tmp_path))


@pytest.mark.parametrize(
    "number", [0, 1, *(pytest.param(number, marks=thorough) for number in range(2, 17))]
)
def test_killed_at_a_step(
    mortal: Any, whole: Whole, same: Any, tmp_path: Path, number: int
) -> None:
    # Every fifth at any step, of which most are of records; the others at steps of all kinds.
    draw = random.Random(f"step {number}")
    step = draw.randrange(len(whole.steps))
    if number % 5:
        kind = draw.choice(whole.kinds)
        step = draw.choice([at for at, one in enumerate(whole.steps) if one == kind])
    killed = mortal.attempt(tmp_path, step=step)
    assert killed["code"] == KILLED
    assert killed["at"] == whole.steps[step]
    same(mortal.attempt(tmp_path))


def killed_until_through(
    mortal: Any, folder: Path, last: Callable[[], float], **more: Any
) -> tuple[dict[str, Any], int]:
    """Returns the attempt that got through, and how many were killed before it."""
    by = "seconds" if isinstance(last(), float) else "step"
    for kills in range(13):
        done = mortal.attempt(folder, **({by: last()} if kills < 12 else {}), **more)
        if done["code"] != KILLED:
            break
    return done, kills


@pytest.mark.parametrize("by", ["step", pytest.param("seconds", marks=thorough)])
def test_killed_again_and_again_until_it_gets_through(
    mortal: Any, whole: Whole, same: Any, tmp_path: Path, with_plugin: Path, by: str
) -> None:
    draw = random.Random(f"again by {by}")
    done, kills = killed_until_through(
        mortal, tmp_path,
        lambda: draw.randrange(len(whole.steps)) if by == "step" else draw.uniform(0, whole.seconds)
    )  # fmt: skip
    assert kills or by == "seconds"  # the machine may be faster than it was
    same(done)
    assert verify(Run(Path(done["run"]))) == []


@pytest.mark.parametrize(
    "number", [1, *(pytest.param(number, marks=thorough) for number in (0, 2, 3))]
)
def test_killed_while_the_cache_keeps_and_gives(
    mortal: Any, same: Any, kept: dict[str, Any], tmp_path: Path, number: int
) -> None:
    draw = random.Random(f"cache {number}")
    scratch = {"scratch": str(tmp_path / "scratch"), "cache": True}

    def killed(folder: Path, steps: list[str]) -> None:
        moving = [at for at, kind in enumerate(steps) if kind in kept["kinds"]]
        step = draw.choice(moving if number % 2 else range(len(steps)))
        assert mortal.attempt(folder, step=step, **scratch)["code"] == KILLED
        same(mortal.attempt(folder, **scratch))

    killed(tmp_path / "keeps", kept["keeping"])
    killed(tmp_path / "gives", kept["giving"])


@pytest.fixture(scope="module")
def kept(mortal: Any, whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Returns the steps of a run that fills the cache and of one that is served by it."""
    folder = tmp_path_factory.mktemp("kept")
    scratch = {"scratch": str(folder / "scratch"), "cache": True}
    keeping, giving = (
        mortal.attempt(folder / name, **scratch)["steps"] for name in ("keeps", "gives")
    )
    assert len(keeping) > len(whole.steps) > len(giving)
    kinds = (set(keeping) | set(giving)) - set(whole.kinds)
    assert kinds, "nothing is kept or given"
    return {"keeping": keeping, "giving": giving, "kinds": kinds}


def test_killed_parts_make_the_whole_run_however_often_merging_is_killed(
    mortal: Any, whole: Whole, same: Any, tmp_path: Path
) -> None:
    draw = random.Random("parts")
    parts = []
    for number in (1, 2):
        done, kills = killed_until_through(
            mortal, tmp_path, lambda: draw.randrange(400), part=[number, 2]
        )
        assert done["code"] == 0 and kills
        parts.append(done["run"])
    steps = mortal.attempt(tmp_path / "once", merge=parts)["steps"]
    for _ in range(3):
        merging = {"merge": parts, "out": str(tmp_path / "out"), "step": draw.randrange(len(steps))}
        assert mortal.attempt(tmp_path, **merging)["code"] == KILLED
    merged = mortal.attempt(tmp_path, merge=parts)
    assert merged["code"] == 0
    same(merged)


def test_a_run_is_sound_however_often_scoring_it_again_is_killed(
    mortal: Any, whole: Whole, same: Any, contents: Contents, tmp_path: Path, with_plugin: Path
) -> None:
    root = mortal.attempt(tmp_path)["run"]
    steps = mortal.attempt(tmp_path, score=root)["steps"]
    draw = random.Random("score")
    for _ in range(3):
        killed = mortal.attempt(tmp_path, score=root, step=draw.randrange(len(steps)))
        assert killed["code"] == KILLED
        assert contents(Path(root)) == whole.contents
        assert verify(Run(Path(root))) == []
    same(mortal.attempt(tmp_path, score=root))


HELD = """
import os
import pathlib
import time

import numpy as np

HERE = pathlib.Path(__file__).parent


def held(images):
    while (HERE / "hold").exists():
        (HERE / "held").write_text(str(os.getpid()))
        time.sleep(0.02)
    return np.tile([0.3, 0.7], (len(images), 1))
"""


class Engine:
    """`crucibench run` in a process of its own, with worker processes."""

    def __init__(self, mortal: Any, plugin: Path, folder: Path) -> None:
        self.folder = folder
        self.spec = {**mortal.spec, "defaults": mortal.defaults}
        self.command = [
            *(sys.executable, "-m", "crucibench", "run", "spec.yaml", "--out", "out"),
            *("--suite", "sample", "--set", "sample.reference=b"),
            *("--no-cache", "--quiet", "--format", "json"),
        ]  # fmt: skip
        self.settings = {
            **os.environ, "PYTHONPATH": str(plugin), "CRUCIBENCH_CACHE": str(folder / "scratch"),
            "TMPDIR": str(folder),
        }  # fmt: skip

    def start(self, *more: str) -> subprocess.Popen[str]:
        (self.folder / "spec.yaml").write_text(json.dumps(self.spec), encoding="utf-8")
        return subprocess.Popen(
            [*self.command, *more], cwd=self.folder, env=self.settings, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def finish(self, *more: str) -> int:
        with self.start(*more) as running:
            running.communicate(timeout=300)
        return running.returncode

    def run(self) -> Run:
        (root,) = (self.folder / "out").iterdir()
        return Run(root)

    def shards(self) -> int:
        return len(list(self.folder.glob("out/*/cells/*/records-*.parquet")))


def wait_for(done: Callable[[], Any], running: subprocess.Popen[str]) -> Any:
    while not (found := done()):
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    return found


@pytest.fixture
def engine(mortal: Any, sample_plugin: Path, tmp_path: Path) -> Engine:
    return Engine(mortal, sample_plugin, tmp_path)


@pytest.mark.parametrize("shards", [pytest.param(0, marks=thorough), 20])
def test_a_killed_engine_leaves_no_worker_behind(
    mortal: Any, engine: Engine, same: Any, shards: int
) -> None:
    with engine.start("--workers", "2") as running:
        own = psutil.Process(running.pid)
        wait_for(lambda: engine.shards() >= shards, running)
        workers = wait_for(lambda: own.children(recursive=True), running)
        running.kill()
    # At once, in fact: the system ends them. A busy machine may take its time to say so.
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    # Those who resume it may be fewer: it is the same run.
    same(mortal.attempt(engine.folder))


@pytest.mark.parametrize("retries", [pytest.param(0, marks=thorough), 1])
def test_a_killed_worker_fails_its_own_cell_or_is_replaced(
    engine: Engine, with_plugin: Path, retries: int
) -> None:
    (engine.folder / "held.py").write_text(HELD, encoding="utf-8")
    engine.spec["models"] = [
        {"name": "a", "uri": "python:held.py:held"}, {"name": "b", "uri": "nearest:0"},
    ]  # fmt: skip
    hold, held = engine.folder / "hold", engine.folder / "held"
    with engine.start("--workers", "2", "--retries", str(retries)) as running:
        wait_for(engine.shards, running)
        hold.touch()
        os.kill(int(wait_for(lambda: held.is_file() and held.read_text(), running)), signal.SIGKILL)
        hold.unlink()
        running.communicate(timeout=300)
    cells = engine.run().cells.values()
    failed = [file for file in cells if file.status is Status.FAILED]
    if retries:
        assert running.returncode == 0 and not failed
        assert '"retried"' in engine.run().layout.events.read_text(encoding="utf-8")
    else:
        assert running.returncode == 4
        assert {file.model for file in failed} == {"a"}
        killed, *needing = sorted(failed, key=lambda file: len(file.needs))
        assert killed.reason.startswith("the worker process was killed by SIGKILL")
        assert all("which failed: the worker process was killed" in one.reason for one in needing)
        assert len(failed) < sum(file.model == "a" for file in cells), "it took others down"
        assert engine.finish() == 0, "the same command heals it"
    assert verify(engine.run()) == []
