"""No pack, bundle or part, however it was forged, reaches a file that is not the reader's own."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from crucibench.engine.packing import pack_run
from crucibench.report.bundle import make_bundle
from crucibench.store.archive import write_archive
from crucibench.store.redaction import Disclosure
from crucibench.store.run import Run

pytestmark = pytest.mark.slow

Call = Callable[..., Result]

NAMES = {
    "empty": "", "dot": ".", "root": "/", "up": "..", "beside": "../x", "below": "a/b",
    "absolute": "/tmp/crucibench-canary", "nul": "a\0b", "long": "x" * 5000, "backslash": "..\\x",
    "drive": "C:x", "hidden": ".ssh", "spaces": "   ", "newline": "a\nb", "part": "a.part-1-of-2",
    "surrogate": "\ud800",
}  # fmt: skip
FILES = {"below", "hidden", "part"}
"""Those that files may well have."""
NO_TEXT: tuple[Any, ...] = (7, None, ["a"], {})

VERBS = (
    ("show", "FILE"),
    ("show", "FILE", "--metrics"),
    ("verify", "FILE"),
    ("score", "FILE"),
    ("compare", "FILE", "GOOD"),
    ("compare", "GOOD", "FILE"),
    ("compare", "FILE", "FILE"),
    ("gate", "--baseline", "FILE", "--candidate", "GOOD"),
    ("gate", "--baseline", "GOOD", "--candidate", "FILE"),
    ("gate", "--baseline", "GOOD", "--candidate", "GOOD", "--anchor", "FILE"),
    ("gate", "--init", "--baseline", "FILE"),
    ("report", "FILE", "-o", "report.html"),
    ("leaderboard", "FILE"),
    ("leaderboard", "GOOD", "FILE", "--format", "csv"),
    ("publish", "--site", "site", "FILE"),
    ("publish", "--card", "cards", "FILE"),
    ("publish", "--every-eval-ever", "shared", "FILE"),
    ("publish", "--bundle", "again.zip", "FILE"),
    ("pack", "FILE", "-o", "again.cbz"),
    ("merge", "FILE"),
)


@pytest.fixture(scope="module")
def archives(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("archives")
    run = Run(finished)
    make_bundle(run, place / "good.zip", Disclosure())
    gc.collect()
    gc.freeze()  # each look at the folder collects garbage, and need not pass over torch again
    return {"pack": pack_run(run, place / "good.cbz"), "bundle": place / "good.zip"}


@pytest.fixture
def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a TMPDIR with canaries in it; more are beside it, and in the current folder."""
    place = folder / "machine" / "tmp"
    for one in (place, place / "other" / "deeper", place.parent, place.parent / "x", folder):
        one.mkdir(parents=True, exist_ok=True)
        (one / "canary").write_text("alive")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def everything(folder: Path) -> dict[str, bytes | None]:
    gc.collect()  # an opened run removes what it was unpacked into when it goes
    # Where the gate writes what it found, that a run can't be read too; and what the test forged.
    own = {folder / name for name in ("gate", "evil.file", "part")}
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not own & {path, *path.parents}
    }


def forged(
    archive: Path, path: Path, *, run: Any = ..., adds: str | None = None, **changed: Any
) -> Path:
    """Writes an archive anew with every digest right: another id, a file more, cells changed."""
    with zipfile.ZipFile(archive) as stream:
        files = {name: stream.read(name) for name in stream.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    kind = "pack" if "pack" in manifest else "bundle"
    if run is not ...:
        manifest[kind]["run"] = run
    if adds is not None:
        files[adds] = b"evil"
        manifest["files"][adds] = ""
    for name, content in files.items():
        if changed and name.endswith("cell.json"):
            files[name] = json.dumps({**json.loads(content), **changed}).encode()
    for stated in (manifest["files"], manifest[kind].get("files", {}), manifest[kind].get("views")):
        for name in stated or ():
            stated[name] = hashlib.sha256(files[name]).hexdigest()
    files["manifest.json"] = json.dumps(manifest).encode()
    write_archive(path, kind, files)
    return path


def refused(done: Result) -> None:
    assert done.exit_code in {2, 4}, (done.exit_code, done.stderr)
    sentence, *more = done.stderr.splitlines()
    assert sentence.startswith(("error: ", "pack '", "bundle '"))
    assert not more or (more[0].startswith("gate stops: 1 error") and not more[1:]), done.stderr
    assert len(sentence) < 600


@pytest.fixture(scope="module")
def policy(archives: dict[str, Path]) -> str:
    from crucibench.cli._app import application

    return (
        CliRunner()
        .invoke(application, ["gate", "--init", "--baseline", str(archives["pack"])])
        .stdout
    )


@pytest.fixture
def ask(call: Call, archives: dict[str, Path], policy: str, temporary: Path, folder: Path) -> Any:
    """Returns a function that gives a verb a file; it says what was answered."""
    good = folder / "good.cbz"
    shutil.copy(archives["pack"], good)
    (folder / "policy.yaml").write_text(policy)

    def run(verb: tuple[str, ...], file: Path) -> Result:
        return call(*({"FILE": str(file), "GOOD": str(good)}.get(word, word) for word in verb))

    return run


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("empty", "bundle"),
        ("up", "pack"),
        pytest.param("empty", "pack", marks=pytest.mark.thorough),
        pytest.param("up", "bundle", marks=pytest.mark.thorough),
    ],
)
def test_no_verb_follows_a_run_id(
    ask: Any, archives: dict[str, Path], folder: Path, kind: str, name: str
) -> None:
    evil = forged(archives[kind], folder / "evil.file", run=NAMES[name])
    before = everything(folder)
    for verb in VERBS:
        refused(done := ask(verb, evil))
        assert everything(folder) == before, (verb, done.stderr)


@pytest.mark.parametrize("kind", ["pack", "bundle"])
def test_no_run_id_leads_anywhere(
    ask: Any, archives: dict[str, Path], folder: Path, kind: str
) -> None:
    before = everything(folder)
    for run in (*NAMES.values(), *NO_TEXT):
        evil = forged(archives[kind], folder / "evil.file", run=run)
        refused(done := ask(("show", "FILE"), evil))
        assert "expected the id of a run, a plain name, got " in done.stderr
        assert everything(folder) == before, run


@pytest.mark.parametrize("kind", ["pack", "bundle"])
def test_no_file_of_an_archive_leads_anywhere(
    ask: Any, archives: dict[str, Path], folder: Path, kind: str
) -> None:
    before = everything(folder)
    names = [NAMES[name] for name in NAMES if name not in FILES]
    for entry in (*names, *(f"cells/{name}/cell.json" for name in names), "spec.yaml/x"):
        try:
            evil = forged(archives[kind], folder / "evil.file", adds=entry)
        except (UnicodeEncodeError, KeyError):
            continue  # no archive can hold it
        refused(ask(("show", "FILE"), evil))
        assert everything(folder) == before, entry


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("cell", "pack"),
        ("needs", "bundle"),
        ("data", "pack"),
        ("model", "bundle"),
        ("role", "pack"),
        pytest.param("cell", "bundle", marks=pytest.mark.thorough),
        pytest.param("needs", "pack", marks=pytest.mark.thorough),
        pytest.param("data", "bundle", marks=pytest.mark.thorough),
        pytest.param("model", "pack", marks=pytest.mark.thorough),
        pytest.param("role", "bundle", marks=pytest.mark.thorough),
    ],
)
def test_no_cell_leads_anywhere(
    ask: Any, archives: dict[str, Path], folder: Path, kind: str, field: str
) -> None:
    before = everything(folder)
    for name in ("empty", "up", "beside", "absolute"):
        value = {"scores": NAMES[name]} if field == "needs" else NAMES[name]
        evil = forged(archives[kind], folder / "evil.file", **{field: value})
        for verb in (("show", "FILE"), ("compare", "FILE", "GOOD")):
            done = ask(verb, evil)
            assert everything(folder) == before, (verb, name)
            if field in {"cell", "needs"}:
                refused(done)


@pytest.mark.parametrize("kind", ["pack", "bundle"])
def test_nothing_is_left_of_what_was_read(
    ask: Any, archives: dict[str, Path], temporary: Path, kind: str
) -> None:
    before = everything(temporary.parent)
    for verb in VERBS:
        done = ask(verb, archives[kind])
        assert done.exit_code in {0, 1, 2, 3, 4}, (verb, done.stderr)
        assert everything(temporary.parent) == before, verb


def test_nothing_is_left_when_the_process_ends(
    shell: Callable[..., Any], archives: dict[str, Path], temporary: Path
) -> None:
    before = everything(temporary.parent)
    for file in archives.values():
        done = shell("compare", str(file), str(file), TMPDIR=str(temporary))
        assert done.returncode in {0, 2}, done.stderr
        assert everything(temporary.parent) == before


def test_no_part_leads_anywhere(call: Call, finished: Path, temporary: Path, folder: Path) -> None:
    part = folder / "part"
    shutil.copytree(finished, part)
    file = json.loads(next(part.glob("cells/*/cell.json")).read_text())
    account: dict[str, Any] = {"part": 1, "of": 1, "run": "a", "cells": {}}
    held = {"file": file, "whole": True, "files": {}}
    forged = [{**account, "run": name} for name in NAMES.values()]
    forged += [
        {**account, "cells": {file["cell"]: {**held, "files": {NAMES[name]: "0" * 64}}}}
        for name in NAMES
        if name not in FILES
    ]
    before = everything(folder)
    for one in forged:
        (part / "environment" / "part.json").write_text(json.dumps(one))
        refused(done := call("merge", str(part), "--out", str(folder / "out")))
        assert "expected " in done.stderr
        assert everything(folder) == before


def test_a_run_may_be_named_by_a_dot(
    call: Call, finished: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder / "results" / finished.name
    shutil.copytree(finished, run)
    for place, reference in ((run, "."), (run / "cells", "..")):
        monkeypatch.chdir(place)
        made = folder / "x.cbz"
        assert call("pack", "-o", str(made), reference).exit_code == 0
        assert json.loads(call("show", str(made), "--format", "json").stdout)["run"] == run.name


def test_a_folder_that_is_no_id_is_not_packed(call: Call, finished: Path, folder: Path) -> None:
    odd = folder / "results" / "we?rd"
    shutil.copytree(finished, odd)
    for verb in (("pack", "-o", "x.cbz"), ("publish", "--bundle", "x.zip")):
        done = call(*verb, str(odd))
        refused(done)
        assert "its folder's name can't stand in a file" in done.stderr
        assert not list(folder.glob("x.*"))
