"""A third party's package adds an adapter, a suite and a data source with one line each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crucibench.cli._app import application

Call = Callable[..., Result]


def test_list_shows_plug_ins_and_survives_a_broken_one(sample_plugin: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crucibench", "list", "--format", "csv"], cwd=tmp_path,
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(sample_plugin), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for word in ("nearest", "stripes", "sample", "crucibench-sample", "1.2.3", "broken"):
        assert word in done.stdout
    assert "this plug-in is broken on purpose" in done.stdout + done.stderr


@pytest.fixture
def called(with_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Returns a function that runs the command line in this process, beside the plug-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(application, words)


def test_using_a_broken_plug_in_names_its_package_and_the_cause(
    called: Call, tmp_path: Path
) -> None:
    done = called("run", "--model", "broken:x", "--data", "stripes:50", "--suite", "accuracy")
    assert done.exit_code == 2
    assert (
        "model scheme 'broken' of package crucibench-sample can't be loaded from "
        "crucibench_sample.broken:Anything: RuntimeError: this plug-in is broken on purpose"
    ) in " ".join(done.stderr.split())
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_a_plug_in_runs_beside_the_projects_own_suite(called: Call) -> None:
    done = called(
        "run", "--model", "a=nearest:0", "--model", "b=nearest:1.5", "--data", "stripes:200",
        "--suite", "accuracy,sample", "--set", "sample.reference=b", "--format", "csv",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "search/broken" in done.stdout and "top-1" in done.stdout
