"""A third party's package adds an adapter, a suite and a data source with one line each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def crucibench(plugin: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crucibench", *words], cwd=folder, capture_output=True,
        text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(plugin), "NO_COLOR": "1", "COLUMNS": "200"},
    )  # fmt: skip


def test_list_shows_plug_ins_and_survives_a_broken_one(sample_plugin: Path, tmp_path: Path) -> None:
    done = crucibench(sample_plugin, tmp_path, "list", "--format", "csv")
    assert done.returncode == 0, done.stderr
    for word in ("nearest", "stripes", "sample", "crucibench-sample", "1.2.3", "broken"):
        assert word in done.stdout
    assert "this plug-in is broken on purpose" in done.stdout + done.stderr


def test_using_a_broken_plug_in_names_its_package_and_the_cause(
    sample_plugin: Path, tmp_path: Path
) -> None:
    words = ("run", "--model", "broken:x", "--data", "stripes:50", "--suite", "accuracy")
    done = crucibench(sample_plugin, tmp_path, *words)
    assert done.returncode == 2
    assert (
        "model scheme 'broken' of package crucibench-sample can't be loaded from "
        "crucibench_sample.broken:Anything: RuntimeError: this plug-in is broken on purpose"
    ) in " ".join(done.stderr.split())
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_a_plug_in_runs_beside_the_projects_own_suite(sample_plugin: Path, tmp_path: Path) -> None:
    words = (
        "run", "--model", "a=nearest:0", "--model", "b=nearest:1.5", "--data", "stripes:200",
        "--suite", "accuracy,sample", "--set", "sample.reference=b", "--format", "csv",
    )  # fmt: skip
    done = crucibench(sample_plugin, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "search/broken" in done.stdout and "top-1" in done.stdout
