"""Trying again, and giving up: `retries` and `failures` of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from crucibench.contracts.adapter import Answer
from crucibench.contracts.verdict import Status
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.run import execute
from crucibench.store.manifest import digests
from crucibench.store.run import Run
from crucibench.util.errors import StoppedError

DEFAULTS = {"batch_size": 8, "replicates": 100}
SETTING: dict[str, Any] = {"data": "stripes:48", "defaults": DEFAULTS}
STUMBLES = """
import os
from pathlib import Path

import numpy as np

STATE = Path(__file__).with_name("state")


def scores(frame):
    if len(frame) == 8 and not STATE.exists():
        STATE.touch()
        os._exit(1)
    return np.tile([0.25, 0.75], (len(frame), 1))
"""


def events(run: Run, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, run.layout.events.read_text().splitlines())
    return [event for event in lines if event["event"] == kind]


def results(run: Run) -> dict[str, str]:
    return {name: value for name, value in digests(run.layout).items() if "rounds" not in name}


def raising(honest: Any, times: int) -> Any:
    """Returns a `_predict` that raises at the first batches of eight of the leaning model."""
    left = {"count": times}

    def predict(self: Any, batch: Any, want: Any) -> Answer:
        if self.lean and len(batch) == 8 and left["count"]:
            left["count"] -= 1
            raise RuntimeError("not today")
        return honest(self, batch, want)

    return predict


def test_a_model_that_stumbles_once_is_tried_again(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_spec(out="whole", **SETTING)
    honest = model._predict
    monkeypatch.setattr(model, "_predict", raising(honest, 1))
    run = run_spec(out="retried", **SETTING, retries=1)
    assert run.exit_code == 0
    assert results(run) == results(whole)
    (told,) = events(run, "retried")
    assert (told["attempt"], told["reason"]) == (1, "RuntimeError: not today")
    timing = json.loads(run.layout.timing(told["cell"]).read_text())
    assert timing["attempts"] == 2
    others = [cell for cell in run.cells if cell != told["cell"] and "accuracy" not in cell]
    written = [run.layout.timing(cell) for cell in others if run.layout.timing(cell).is_file()]
    assert written and {json.loads(path.read_text())["attempts"] for path in written} == {1}


@pytest.mark.parametrize(("retries", "stumbles"), [(0, 1), (1, 2)])
def test_a_model_that_stumbles_more_often_fails(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch, retries: int, stumbles: int
) -> None:
    monkeypatch.setattr(model, "_predict", raising(model._predict, stumbles))
    run = run_spec(out="failed", **SETTING, retries=retries)
    assert len(events(run, "retried")) == retries
    (failed,) = [file for file in run.cells.values() if file.reason == "RuntimeError: not today"]
    assert failed.status is Status.FAILED and failed.model == "b"
    timing = json.loads(run.layout.timing(failed.cell).read_text())
    assert timing["attempts"] == 1 + retries


def test_what_a_death_cost_is_tried_again_too(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(STUMBLES)
    rows = "\n".join(f"{row},{row % 2}" for row in range(64))
    (tmp_path / "data.csv").write_text(f"x,y\n{rows}\n")
    document = {
        "models": [{"name": "m", "uri": "python:model.py:scores"}],
        "data": [{"name": "d", "uri": "csv:data.csv?target=y"}],
    }
    resolved = resolve(
        document, tmp_path, "spec", Overrides(defaults=DEFAULTS, suites=("accuracy",))
    )
    options = RunOptions(out=tmp_path, scratch=tmp_path / "scratch", workers=1, retries=1)
    run = execute(resolved, options, Listener())
    assert run is not None and run.exit_code == 0
    (told,) = events(run, "retried")
    assert "ended with exit code 1" in told["reason"]
    assert [event["state"] for event in events(run, "worker")] == ["crashed"]


# -- failures ------------------------------------------------------------------------------------


@pytest.fixture
def failing(model: Any, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The leaning model raises in every cell of its own."""
    monkeypatch.setattr(model, "_predict", raising(model._predict, 1_000_000))
    return monkeypatch


@pytest.mark.parametrize(("failures", "failed"), [(0, 1), (1, 2), (0.0, 1), (0.15, 2)])
def test_a_run_stops_when_more_cells_fail_than_may(
    run_spec: Any, failing: Any, tmp_path: Path, failures: float, failed: int
) -> None:
    # Of ten cells, a share of 0.15 is one.
    with pytest.raises(StoppedError) as caught:
        run_spec(**SETTING, failures=failures)
    assert str(caught.value).startswith(f"{failed} cells failed, more than the {failed - 1} that ")
    assert str(caught.value).endswith("the same command goes on from here")
    (root,) = (tmp_path / "out").iterdir()
    stopped = Run(root)
    assert not stopped.finished
    counts = [file.status for file in stopped.cells.values()]
    assert counts.count(Status.FAILED) == failed and counts.count(Status.OK)


@pytest.mark.parametrize("failures", [None, 9, 0.9])
def test_a_run_goes_on_while_as_many_fail_as_may(
    run_spec: Any, failing: Any, failures: float | None
) -> None:
    run = run_spec(**SETTING, failures=failures)
    assert run.finished and run.exit_code == 4
    assert {file.model for file in run.cells.values() if file.status is Status.OK} >= {"a"}


def test_a_stopped_run_goes_on_and_asks_nothing_twice(
    run_spec: Any, model: Any, failing: Any, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        run_spec(**SETTING, failures=0)
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("records-*")}
    kept = {path: at for path, at in shards.items() if "rounds" not in path.parent.name}
    assert kept
    failing.undo()
    run = run_spec(**SETTING, failures=0)
    assert run.exit_code == 0
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())
    shutil.rmtree(tmp_path / "scratch")
    assert results(run) == results(run_spec(**SETTING, out="whole"))


def test_a_model_that_fails_inspection_once_leaves_no_trace(
    run_spec: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = model.open.__func__

    def refuse(cls: Any, opening: Any) -> Any:
        if opening.name == "b":
            raise ConnectionError("not now")
        return honest(cls, opening)

    with monkeypatch.context() as patched:
        patched.setattr(model, "open", classmethod(refuse))
        first = run_spec(**SETTING, keep_going=True)
    assert first.exit_code == 4
    again = run_spec(**SETTING, keep_going=True)
    assert again.root == first.root
    assert again.exit_code == 0
    assert results(again) == results(run_spec(**SETTING, out="whole"))
