"""`gate --rerun`, on two runs whose models sleep."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner, Result

from crucibench.cli._app import application
from crucibench.engine.rerun import Call, Clock, Order, Rerun, Seconds

MODEL = '''
import time

import numpy as np


def iris(table):
    """Sleeps, and says what the petals say."""
    time.sleep({seconds})
    print("a model that prints")
    width = table["petal width (cm)"].to_numpy()
    scores = -np.abs(width[:, None] - np.array([0.25, 1.3, 2.0]))
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
'''
SPEC = """
models: [{name: iris, uri: "python:model.py:iris"}]
data: [{name: flowers, uri: "sklearn:iris"}]
defaults: {device: cpu}
tracks: [{name: all, models: [iris], data: flowers, suites: [accuracy]}]
"""
POLICY = 'required: [{address: "*:accuracy/clean/top-1", margin: 0.05}]'

Gate = Callable[..., Result]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("rerun")
    (place / "policy.yaml").write_text(POLICY, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRUCIBENCH_CACHE", str(place / "cache"))
        for name, seconds in (("old", 0.002), ("new", 0.004)):
            folder = place / name
            folder.mkdir()
            (folder / "model.py").write_text(MODEL.format(seconds=seconds), encoding="utf-8")
            (folder / "crucibench.yaml").write_text(SPEC, encoding="utf-8")
            done = CliRunner().invoke(
                application,
                ["run", str(folder / "crucibench.yaml"), "--out", str(folder / "results"), "-q"],
            )
            assert done.exit_code == 0, done.output
    return place


def run_of(folder: Path) -> Path:
    (found,) = (path for path in (folder / "results").iterdir() if path.is_dir())
    return found


@pytest.fixture
def gate(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRUCIBENCH_CACHE", str(place / "cache"))
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

    def call(baseline: Path, candidate: Path, *more: str) -> Result:
        return CliRunner().invoke(
            application,
            ["gate", "--baseline", str(baseline), "--candidate", str(candidate), "--policy",
             str(place / "policy.yaml"), "--report", "gate", *more],
        )  # fmt: skip

    return call


def test_a_slower_model_is_told_and_stops_nothing(gate: Gate, place: Path) -> None:
    old, new = run_of(place / "old"), run_of(place / "new")
    for rounds in (8, 16, 32):
        more = ("--rounds", str(rounds), "--batch", "16", "--format", "json")
        result = gate(old, new, "--rerun", *more)
        assert result.exit_code == 0, result.output
        found = json.loads(Path("gate/verdict.json").read_text(encoding="utf-8"))
        assert json.loads(result.stdout) == found  # what models print is no data
        assert found["outcome"] == "pass" and found["blocking"] == []
        (check,) = [c for c in found["checks"] if c["address"] == "iris:throughput/rerun/latency"]
        assert (check["tier"], check["effect"], check["n"]) == ("advisory", "note", rounds)
        if "this machine tells slowdowns from" not in check["message"]:
            break
        assert check["outcome"] == "inconclusive"
    else:
        pytest.skip(f"other work disturbs the timing: {check['message']}")
    assert check["outcome"] == "regression", check["message"]
    assert check["gain"] < -check["bound"] and check["upper"] < 0
    assert "confirmed by a second run" in check["message"]
    assert "a batch of 16 on cpu, on this machine" in check["message"]
    assert any("measured on this machine" in note for note in found["notes"])
    cases = ET.parse("gate/junit.xml").getroot().iter("testcase")
    assert any("throughput/rerun/latency" in case.get("name", "") for case in cases)
    assert "throughput/rerun/latency" in Path("gate/summary.md").read_text(encoding="utf-8")


class Scripted(Rerun):
    """Two models of which the second takes twice as long, on a machine of some jitter."""

    jitter = 0.0

    def __init__(self, baseline: Call, candidate: Call, order: Order, *, clock: Clock) -> None:
        spread = np.random.default_rng(0).uniform(-self.jitter, self.jitter, (2, len(order)))
        self.times = 0.002 * np.exp(spread)

    def floor(self) -> Seconds:
        return Seconds(tuple(self.times[0]), tuple(self.times[1]))

    def measured(self) -> Seconds:
        return Seconds(tuple(self.times[0]), tuple(2 * self.times[1]))


@pytest.mark.parametrize(
    ("jitter", "outcome", "code"), [(0.01, "regression", 1), (1.5, "inconclusive", 3)]
)
def test_a_policy_that_requires_speed(
    gate: Gate, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jitter: float,
    outcome: str, code: int,
) -> None:  # fmt: skip
    monkeypatch.setattr("crucibench.gating.rerun.Rerun", Scripted)
    monkeypatch.setattr(Scripted, "jitter", jitter)
    old, new = run_of(place / "old"), run_of(place / "new")
    file = tmp_path / "speed.yaml"
    file.write_text(f"{POLICY}\nspeed: {{tier: required, margin: 10%}}\n", encoding="utf-8")
    more = ("--rerun", "--rounds", "8", "--batch", "16", "--format", "json")
    result = gate(old, new, "--policy", str(file), *more)
    verdict = json.loads(result.stdout)
    (speed,) = (check for check in verdict["checks"] if check["rule"] == "--rerun")
    assert (speed["tier"], speed["effect"], speed["outcome"]) == ("required", "block", outcome)
    assert speed["bound"] == pytest.approx(0.1 * speed["baseline"])
    if outcome == "regression":
        assert (speed["baseline"], speed["candidate"]) == pytest.approx((2, 4), rel=0.02)
    assert verdict["blocking"] == [outcome]
    assert result.exit_code == code
    unmeasured = gate(old, new, "--policy", str(file))
    assert unmeasured.exit_code == 4 and "the policy requires speed" in unmeasured.output


def test_the_same_model_is_no_regression(gate: Gate, place: Path) -> None:
    old = run_of(place / "old")
    result = gate(old, old, "--rerun", "--rounds", "6")
    assert result.exit_code == 0, result.output
    assert "iris:throughput/rerun/" in result.stdout  # the rest is on the next line
    found = json.loads(Path("gate/verdict.json").read_text(encoding="utf-8"))
    assert found["checks"][-1]["outcome"] in {"pass", "inconclusive"}


def test_a_pack_has_no_models(gate: Gate, place: Path, tmp_path: Path) -> None:
    old, new = run_of(place / "old"), run_of(place / "new")
    packed = CliRunner().invoke(application, ["pack", str(old), "-o", "old.cbz", "-q"])
    assert packed.exit_code == 0, packed.output
    result = gate(tmp_path / "old.cbz", new, "--rerun")
    assert result.exit_code == 2
    assert "the baseline is a pack, which holds no models" in result.stderr
    assert not Path("gate").exists()


def test_files_that_changed_or_went_are_named(gate: Gate, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "old", tmp_path / "moved")
    moved = tmp_path / "moved"
    old, file = run_of(moved), moved / "model.py"
    file.write_text(MODEL.format(seconds=0.001), encoding="utf-8")
    result = gate(old, run_of(place / "new"), "--rerun")
    assert result.exit_code == 2
    assert "models.iris.model.py is not what it was when run" in result.stderr
    file.unlink()
    gone = gate(old, run_of(place / "new"), "--rerun")
    assert gone.exit_code == 2 and "model.py" in gone.stderr


@pytest.mark.parametrize(
    "more",
    [("--rounds", "8"), ("--batch", "4"), ("--rerun", "--rounds", "5"), ("--rerun", "--init")],
)
def test_flags_that_would_do_nothing(gate: Gate, place: Path, more: tuple[str, ...]) -> None:
    old = run_of(place / "old")
    assert gate(old, old, *more).exit_code == 2
    assert not Path("gate").exists()


def test_without_rerun_no_torch_is_imported(place: Path, tmp_path: Path) -> None:
    old = run_of(place / "old")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from crucibench.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    assert 'crucibench.gating.rerun' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "gate", "--baseline", str(old), "--candidate", str(old),
         "--policy", str(place / "policy.yaml"), "--report", str(tmp_path / "gate")],
        capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
