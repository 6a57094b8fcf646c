"""The demo's spec is found without importing the adapters, and run like any other."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from crucibench.api import prepare
from crucibench.cli import demo
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.util.errors import InputError


def test_the_bundled_spec_holds_the_models_of_each_data_set() -> None:
    resolved = prepare(demo.demo_spec())
    assert {track.name: len(track.models) for track in resolved.tracks} == {
        "digits": 3, "digits in fewer bits": 3, "shapes": 2, "diabetes": 3,
        "diabetes under attack": 2, "reviews": 3, "drawn shapes": 1,
    }  # fmt: skip
    grouped = {track.data for track in resolved.tracks if "bias" in track.suites}
    assert grouped == {"diabetes", "reviews", "drawn-shapes"}


def test_every_bundled_model_is_timed_and_one_in_fewer_bits() -> None:
    resolved = prepare(demo.demo_spec())
    timed = {
        name for track in resolved.tracks if "throughput" in (track.suites or ())
        for name in track.models
    }  # fmt: skip
    assert timed == set(resolved.models)
    assert {"cnn-fp32@bf16", "cnn-fp32@int8"} <= timed


def test_what_is_not_installed_is_left_out_with_a_sentence(
    call: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "transformers" else found(name)
    )
    document = yaml.safe_load(demo.demo_spec().read_text(encoding="utf-8"))
    shorter, left_out = demo.installed(document)
    assert left_out == ["transformer"]
    resolved = resolve(shorter, demo.demo_spec().parent, "demo.yaml", Overrides())
    assert {track.data: track.models for track in resolved.tracks}["reviews"] == [
        "gru",
        "gru-gender",
    ]
    spec = folder / "demo.yaml"
    spec.write_text(
        "defaults: {limit: 40}\n"
        "models:\n"
        '  - {name: logistic, uri: "sklearn:models.py:logistic"}\n'
        '  - {name: reviewer, uri: "hf:reviewer"}\n'
        'data: [{name: wine, uri: "sklearn:wine"}]\n'
        "tracks: [{name: wine, models: [logistic, reviewer], data: wine, suites: [accuracy]}]\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(demo, "demo_spec", lambda: spec)
    result = call("demo", "--format", "md")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith(
        "reviewer of the demo is left out: transformers is not installed: "
        'pip install "crucibench[text]"\n'
    )
    assert "| logistic |" in result.stdout


def test_nothing_is_left_out_where_all_is_installed() -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    document = yaml.safe_load(demo.demo_spec().read_text(encoding="utf-8"))
    assert demo.installed(document) == (document, [])


def test_finding_it_imports_no_adapter() -> None:
    code = (
        "import sys\n"
        "from crucibench.cli.demo import demo_spec\n"
        "assert demo_spec().is_file()\n"
        "print([name for name in sys.modules if name.startswith('crucibench_adapters')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_it_is_run(
    call: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = folder / "demo.yaml"
    spec.write_text(
        "defaults: {limit: 40}\n"
        'models: [{name: logistic, uri: "sklearn:models.py:logistic"}]\n'
        'data: [{name: wine, uri: "sklearn:wine"}]\n'
        "tracks: [{name: wine, models: [logistic], data: wine, suites: [accuracy]}]\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(demo, "demo_spec", lambda: spec)
    result = call("demo", "--out", "elsewhere", "--format", "md")
    assert result.exit_code == 0, result.stderr
    assert "| logistic |" in result.stdout
    (run,) = (folder / "elsewhere").iterdir()
    assert result.stderr.endswith(f"report: {Path('elsewhere') / run.name / 'report.html'}\n")


def test_an_installation_without_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="holds no demo models"):
        demo.demo_spec()
