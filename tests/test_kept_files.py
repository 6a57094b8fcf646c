"""Files that version 0.1.0 wrote, in tests/kept: every later version reads them, and says so."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

import crucibench as cb
from crucibench.gating.policy import read_policy
from crucibench.store.archive import write_archive
from crucibench.util.errors import InputError, UnreadableError

KEPT = Path(__file__).parent / "kept"
VERSIONS = sorted(path.name for path in KEPT.iterdir() if path.is_dir())
FIRST = {"first": 1.0, "second": 0.85}


@pytest.fixture(params=VERSIONS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return shutil.copytree(KEPT / request.param, tmp_path / request.param)


@pytest.mark.parametrize("name", ["run", "baseline.cbz", "evidence.zip"])
def test_numbers_of_a_kept_file_are_read_as_they_were_written(kept: Path, name: str) -> None:
    run = cb.load(kept / name)
    rows = run.metrics()
    rows = rows[(rows["metric"] == "top-1") & (rows["scenario"] == "clean")]
    assert dict(zip(rows["model"], rows["value"], strict=True)) == pytest.approx(FIRST)


def test_a_kept_run_is_sound_and_scored_alike(kept: Path) -> None:
    assert cb.verify(kept / "run") == []


def test_a_kept_policy_judges_a_kept_run_against_a_kept_pack(kept: Path) -> None:
    read_policy(kept / "policy.yaml")
    verdict = cb.gate(
        baseline=kept / "baseline.cbz", candidate=kept / "run", policy=kept / "policy.yaml"
    )
    assert verdict.exit_code == 0
    assert len(verdict.checks) == 12


def test_a_kept_spec_is_run(kept: Path, tmp_path: Path) -> None:
    run = cb.run(kept / "spec.yaml", out=tmp_path / "out")
    rows = run.metrics()
    rows = rows[(rows["metric"] == "top-1") & (rows["scenario"] == "clean")]
    assert dict(zip(rows["model"], rows["value"], strict=True)) == pytest.approx(FIRST)
    # Samples are known by their content: a run of today is compared with the kept one.
    found = cb.compare(kept / "run", run)
    assert not found.incomparable


@pytest.mark.parametrize("name", ["run/manifest.json", "spec.yaml", "policy.yaml"])
def test_a_file_of_a_later_format_is_refused_in_a_sentence(kept: Path, name: str) -> None:
    path = kept / name
    text = path.read_text()
    for mark in ('"format_version": 1', "schema_version: 1"):
        text = text.replace(mark, mark.replace("1", "2"))
    assert text != path.read_text()
    path.write_text(text)
    with pytest.raises((InputError, UnreadableError), match="1"):
        {"manifest.json": lambda: cb.load(kept / "run").manifest,
         "spec.yaml": lambda: cb.run(path, out=kept / "out"),
         "policy.yaml": lambda: read_policy(path)}[path.name]()  # fmt: skip


def test_a_pack_of_a_later_format_is_refused_in_a_sentence(kept: Path) -> None:
    with zipfile.ZipFile(kept / "baseline.cbz") as old:
        files = {name: old.read(name) for name in old.namelist()}
    files["manifest.json"] = files["manifest.json"].replace(
        b'"format_version": 1', b'"format_version": 2'
    )
    write_archive(kept / "later.cbz", "pack", files)
    with pytest.raises(UnreadableError, match="expected formats 1 and 1, got 2 and 2"):
        cb.load(kept / "later.cbz")
