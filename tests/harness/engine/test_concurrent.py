"""Several processes at once: one writes a run, one times on a machine."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crucibench.engine.score.rescore import rescore
from crucibench.integrity.verify import verify
from crucibench.store import lock
from crucibench.store.lock import STALE_SECONDS, exclusive
from crucibench.store.run import Run
from crucibench.util.errors import InputError

pytestmark = pytest.mark.slow
forking = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="forks a process full of libraries"
)
KILLED = -9

SLOW = """
import time

import numpy as np


def slow(images):
    time.sleep(0.02)
    return np.tile([0.3, 0.7], (len(images), 1))
"""


@pytest.fixture(scope="module")
def whole(mortal: Any, contents: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Returns a run that nobody disturbed."""
    done = mortal.attempt(tmp_path_factory.mktemp("whole"))
    assert done["code"] == 0
    return {**done, "contents": contents(Path(done["run"]))}


@forking
@pytest.mark.parametrize(
    "times", [0, *(pytest.param(times, marks=pytest.mark.thorough) for times in range(1, 4))]
)
def test_one_of_two_that_start_at_once_does_the_run(
    mortal: Any, contents: Any, whole: dict[str, Any], tmp_path: Path, times: int
) -> None:
    answers = mortal.at_once(*[(tmp_path, {})] * (2 + times % 2))
    done = [answer for answer in answers if answer["code"] == 0]
    assert done
    for answer in answers:
        if answer["code"]:
            assert answer["code"] == 2
            assert "is being written by another process (pid " in answer["refused"]
            assert answer["refused"].endswith("or stop it and run again to resume")
    assert contents(Path(done[0]["run"])) == whole["contents"]
    assert sum("before the removal of manifest.json" in answer["steps"] for answer in done) <= 1


@forking
def test_whoever_waited_for_the_lock_finds_the_run_finished(
    mortal: Any, contents: Any, whole: dict[str, Any], tmp_path: Path
) -> None:
    """Times are not measured again, and nobody finds the run unfinished in between."""
    done = mortal.attempt(tmp_path)
    root = Path(done["run"])
    manifest = (root / "manifest.json").read_bytes()
    again = mortal.attempt(tmp_path, unseen=str(root / "manifest.json"))
    assert again["code"] == 0
    assert (root / "manifest.json").read_bytes() == manifest
    assert contents(root) == whole["contents"]


@forking
def test_two_runs_share_a_folder_and_a_cache(
    mortal: Any, contents: Any, whole: dict[str, Any], tmp_path: Path
) -> None:
    other = {"defaults": {**mortal.defaults, "seed": 1}, "cache": True}
    alone = mortal.attempt(tmp_path / "alone", **other)
    for _ in range(2):
        first, second = mortal.at_once((tmp_path / "both", {"cache": True}),
                                       (tmp_path / "both", other))  # fmt: skip
        assert first["code"] == second["code"] == 0
        assert Path(first["run"]).parent == Path(second["run"]).parent
        assert first["run"] != second["run"]
        assert contents(Path(first["run"])) == whole["contents"]
        assert contents(Path(second["run"])) == contents(Path(alone["run"]))


@forking
def test_a_killed_holder_holds_nothing(
    mortal: Any, contents: Any, whole: dict[str, Any], tmp_path: Path
) -> None:
    assert mortal.attempt(tmp_path, step=len(whole["steps"]) // 2)["code"] == KILLED
    (held,) = tmp_path.glob("out/*/.lock")
    assert json.loads(held.read_text(encoding="utf-8"))["pid"]
    done = mortal.attempt(tmp_path)
    assert done["code"] == 0
    assert held.read_text(encoding="utf-8") == ""
    assert contents(Path(done["run"])) == whole["contents"]


@forking
def test_a_holder_on_another_machine_is_waited_for_while_its_heart_beats(
    mortal: Any, contents: Any, whole: dict[str, Any], tmp_path: Path
) -> None:
    assert mortal.attempt(tmp_path, step=len(whole["steps"]) // 2)["code"] == KILLED
    (held,) = tmp_path.glob("out/*/.lock")
    held.write_text(json.dumps({"host": "elsewhere", "pid": 17}), encoding="utf-8")
    before = sorted(tmp_path.glob("out/*/cells/*/*"))
    refused = mortal.attempt(tmp_path)
    assert refused["code"] == 2
    assert "is being written by another process (pid 17 on elsewhere)" in refused["refused"]
    assert sorted(tmp_path.glob("out/*/cells/*/*")) == before, "it wrote nonetheless"
    silent = time.time() - STALE_SECONDS - 1
    os.utime(held, (silent, silent))
    done = mortal.attempt(tmp_path)
    assert done["code"] == 0
    assert contents(Path(done["run"])) == whole["contents"]


@forking
def test_who_holds_a_run_is_not_disturbed_by_a_fresh_start(
    mortal: Any, whole: dict[str, Any], tmp_path: Path
) -> None:
    done = mortal.attempt(tmp_path)
    with exclusive(Path(done["run"])):
        refused = mortal.attempt(tmp_path, fresh=True)
    assert refused["code"] == 2
    assert f"(pid {os.getpid()} on " in refused["refused"]
    assert Path(done["run"], "manifest.json").is_file()
    assert mortal.attempt(tmp_path, fresh=True)["code"] == 0


def test_a_lock_is_that_of_the_folder_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening the file and taking it, its holder may have thrown the folder away."""
    honest: Callable[[int], bool] = lock.take
    path = tmp_path / "run" / ".lock"
    calls = []

    def late(descriptor: int) -> bool:
        if not calls:
            path.unlink()
        calls.append(descriptor)
        return honest(descriptor)

    monkeypatch.setattr(lock, "take", late)
    with exclusive(path.parent):
        assert len(calls) == 2
        with pytest.raises(InputError, match="another process"), exclusive(path.parent):
            pass
    with exclusive(path.parent):
        pass


def test_nobody_scores_a_run_that_another_process_writes(run_spec: Any) -> None:
    run = run_spec(data="stripes:40")
    with exclusive(run.root), pytest.raises(InputError, match="another process"):
        rescore(Run(run.root))
    assert rescore(Run(run.root)).exit_code == 0


def test_a_heart_beats_while_the_lock_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    with exclusive(tmp_path):
        os.utime(tmp_path / ".lock", (0, 0))
        with contextlib.suppress(StopIteration):
            next(None for _ in range(3000) if _beaten(tmp_path / ".lock"))
        assert (tmp_path / ".lock").stat().st_mtime > 0


def _beaten(path: Path) -> bool:
    time.sleep(0.01)
    return path.stat().st_mtime > 0


@forking
def test_timings_of_two_runs_do_not_overlap(mortal: Any, tmp_path: Path, with_plugin: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    spec = {
        "models": [
            {"name": name, "uri": f"python:{tmp_path / 'slow.py'}:slow"} for name in ("a", "b")
        ],
        "data": mortal.spec["data"],
    }  # fmt: skip
    settings = [
        {"spec": spec, "defaults": {**mortal.defaults, "batch_size": 40, "seed": seed}}
        for seed in (0, 1)
    ]
    answers = mortal.at_once(*((tmp_path / "runs", one) for one in settings))
    spans = []
    for answer in answers:
        assert answer["code"] in {0, 4}, answer
        run = Run(Path(answer["run"]))
        timed = [cell for cell, file in run.cells.items() if file.kind == "timed"]
        records = [run.records(cell) for cell in timed]
        assert [len(one) for one in records] == [6, 6]
        spans.append(
            (min(one.begun.min() for one in records),
             max((one.begun + one.seconds).max() for one in records))
        )  # fmt: skip
        assert spans[-1][1] - spans[-1][0] > 12 * 0.02
        assert verify(run) == []
    first, second = sorted(spans)
    assert first[1] <= second[0], "both were timed at once"
