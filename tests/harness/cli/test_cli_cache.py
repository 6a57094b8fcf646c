"""``crucibench cache``: what is listed, what goes, and what stays."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from crucibench.cli import cache as verb
from crucibench.contracts.records import to_table
from crucibench.data.cache import cached_folder
from crucibench.store.cell_cache import CacheKey, CellCache, kept_entries
from crucibench.store.cells import StageFile
from crucibench.store.tables import write_table
from crucibench.util.hashing import file_digest

Call = Callable[..., Result]
DAY = 86_400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CRUCIBENCH_CACHE", str(folder))
    monkeypatch.delenv("CRUCIBENCH_CACHE_LIMIT", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    return folder


@pytest.fixture
def call(cache: Path) -> Call:
    def run(*arguments: str) -> Result:
        from crucibench.cli._app import application

        return CliRunner().invoke(application, ["cache", *arguments])

    return run


@pytest.fixture
def filled(cache: Path, tmp_path: Path) -> dict[str, Path]:
    """Returns the folders of two cells, a data index and converted data, the oldest first."""
    cell = tmp_path / "cell"
    cell.mkdir()
    path = cell / "records-00-00000.parquet"
    write_table(path, to_table({"id": list("abc"), "scores": np.eye(3)}))
    kept = CellCache(cache / "cells")
    folders: dict[str, Path] = {}
    for name in ("old cell", "new cell"):
        known = set(folders.values())
        assert kept.keep(
            CacheKey(identity=name, numerics="n", outputs=frozenset({"scores"})), cell,
            [StageFile(name="all", samples=3, shards=1)], [], {path.name: file_digest(path)}, {},
            labels={"model": f"cnn of the {name}", "data": "photos", "scenario": "pass/test"},
        )  # fmt: skip
        (folders[name],) = (e.path for e in kept.entries() if e.path not in known)
    for name, file in (("index", "index.json"), ("arrow", "content.json")):

        def fill(folder: Path, file: str = file) -> None:
            (folder / file).write_text("{}")
            (folder / "0.arrow").write_bytes(b"0" * 1000)

        folders[name] = cached_folder(cache / name, "1" * 64, fill)
    for age, (name, folder) in enumerate(reversed(folders.items()), 1):
        then = time.time() - age * 10 * DAY
        for path in (*folder.iterdir(), folder):
            os.utime(path, (then, then))
        assert name in folders
    return folders


def kinds(result: Result) -> list[str]:
    return [entry["kind"] for entry in json.loads(result.stdout)["entries"]]


def present(filled: dict[str, Path]) -> list[str]:
    return [name for name, folder in filled.items() if folder.exists()]


def test_ls_shows_what_is_kept(call: Call, filled: dict[str, Path]) -> None:
    result = call("ls")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "kind", "model", "data", "scenario", "outputs", "size", "last", "used", "key",
    ]  # fmt: skip
    assert [line.split("  ")[0] for line in lines[2:6]] == [
        "converted data", "data index", "cell", "cell",
    ]  # fmt: skip
    assert "cnn of the new cell" in lines[4] and "photos" in lines[4] and "pass/test" in lines[4]
    assert lines[3].endswith("111111111111") and "1.1 KiB" in lines[3]
    assert result.stderr.startswith("4 entries, ")
    assert "cells are kept up to 10.0 GiB" in result.stderr


def test_ls_in_other_formats(call: Call, cache: Path, filled: dict[str, Path]) -> None:
    document = json.loads(call("ls", "--format", "json").stdout)
    assert document["folder"] == str(cache) and document["limit"] == 10 * 1024**3
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in filled.values()]
    assert [entry["size"] for entry in document["entries"]] == sizes[::-1]
    assert document["size"] == sum(sizes)
    cell = document["entries"][-1]
    assert cell["model"] == "cnn of the old cell" and cell["outputs"] == ["scores"]
    assert len(cell["key"]) == 64
    assert document["entries"][0]["model"] is None
    rows = call("ls", "--format", "csv").stdout.splitlines()
    assert rows[0] == "kind,model,data,scenario,outputs,size,last_used,key" and len(rows) == 5
    assert call("ls", "--format", "md").stdout.count("| cell |") == 2


def test_an_empty_cache(call: Call, cache: Path) -> None:
    result = call("ls")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith(f"nothing is kept in {str(cache)!r}")
    assert json.loads(call("ls", "--format", "json").stdout)["entries"] == []
    assert call("prune").stderr == "there is nothing to remove\n"
    assert call("clear", "--yes").stderr == "there is nothing to remove\n"
    assert not cache.exists()


def test_prune_by_size_takes_the_least_recently_used_of_all_kinds(
    call: Call, filled: dict[str, Path]
) -> None:
    dry = call("prune", "--max-size", "2.4kB", "--dry-run", "--format", "json")
    assert kinds(dry) == ["cell", "cell"] and json.loads(dry.stdout)["dry_run"] is True
    assert "would remove 2 entries" in dry.stderr
    assert present(filled) == list(filled)
    wet = call("prune", "--max-size", "2.4kB", "--format", "json")
    assert kinds(wet) == ["cell", "cell"] and "removed 2 entries" in wet.stderr
    assert present(filled) == ["index", "arrow"]
    assert kinds(call("prune", "--max-size", "0", "--format", "json")) == [
        "data index", "converted data",
    ]  # fmt: skip
    assert present(filled) == []


def test_prune_by_age(call: Call, filled: dict[str, Path]) -> None:
    assert call("prune", "--older-than", "35d").exit_code == 0
    assert present(filled) == ["new cell", "index", "arrow"]
    assert call("prune", "--older-than", "15d", "--max-size", "1TB").exit_code == 0
    assert present(filled) == ["arrow"]


def test_prune_alone_holds_cells_to_the_limit(
    call: Call, filled: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nothing to remove" in call("prune").stderr
    size = sum(path.stat().st_size for path in filled["old cell"].iterdir())
    monkeypatch.setenv("CRUCIBENCH_CACHE_LIMIT", str(size + 1))
    assert call("prune").exit_code == 0
    assert present(filled) == ["new cell", "index", "arrow"]


def test_prune_removes_what_killed_processes_left(call: Call, cache: Path) -> None:
    left = [cache / kind / f".{'a' * 32}" for kind in ("cells", "index", "arrow")]
    for folder in left:
        folder.mkdir(parents=True)
        os.utime(folder, (1.0, 1.0))
    (cache / "cells" / f".{'b' * 32}").mkdir()
    assert "nothing to remove" in call("prune", "--dry-run").stderr
    assert call("prune").stderr == "removed what 3 killed processes left\n"
    assert [path.name for path in (cache / "cells").iterdir()] == [f".{'b' * 32}"]


def test_clear_removes_all_that_is_ours_and_nothing_else(
    call: Call, cache: Path, filled: dict[str, Path]
) -> None:
    others = [cache / "notes.txt", cache / "index" / "notes", cache / "cells" / "notes"]
    others[0].write_text("mine")
    for folder in others[1:]:
        folder.mkdir()
    result = call("clear", "--yes")
    assert result.exit_code == 0 and result.stdout == ""
    assert result.stderr.startswith("removed 4 entries, ")
    assert present(filled) == [] and all(path.exists() for path in others)


def test_a_reader_keeps_what_it_has_open(call: Call, filled: dict[str, Path]) -> None:
    with (filled["index"] / "0.arrow").open("rb") as stream:
        assert call("clear", "--yes").exit_code == 0
        assert not filled["index"].exists()
        assert len(stream.read()) == 1000


def test_clear_refuses_where_nobody_can_be_asked(call: Call, filled: dict[str, Path]) -> None:
    result = call("clear")
    assert result.exit_code == 2
    assert result.stderr == "error: clear: nobody can be asked here; expected --yes\n"
    assert present(filled) == list(filled)


@pytest.mark.parametrize(("answer", "left"), [(True, 0), (False, 4)])
def test_clear_asks(
    call: Call, filled: dict[str, Path], monkeypatch: pytest.MonkeyPatch, answer: bool, left: int
) -> None:
    asked: list[str] = []

    def confirm(question: str, *, err: bool) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(click, "confirm", confirm)
    monkeypatch.setattr(verb, "_can_ask", lambda: True)
    result = call("clear")
    assert result.exit_code == 0 and len(asked) == 1
    assert asked[0].startswith("Remove 4 entries, ")
    assert len(present(filled)) == left
    assert ("nothing was removed" in result.stderr) == (not answer)


def test_what_can_not_be_removed_is_told(
    call: Call, filled: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    for words in (("clear", "--yes"), ("prune", "--max-size", "0")):
        result = call(*words)
        assert result.exit_code == 74
        assert "4 entries, " in result.stderr and "can't be removed" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["prune", "--max-size", "2G"], "expected a size such as 500MB, 2GiB"),
        (["prune", "--older-than", "soon"], "expected an age such as 12h or 30d, got 'soon'"),
        (["prune", "--older-than", "-1d"], "expected an age such as 12h or 30d, got '-1d'"),
        (["prune", "--older-than", "nan"], "expected an age such as 12h or 30d, got 'nan'"),
        (["prun"], "unknown command 'prun'; did you mean 'prune'? (known: clear, ls, prune)"),
        ([], "Missing command."),
    ],
)
def test_mistakes(call: Call, words: list[str], told: str) -> None:
    result = call(*words)
    assert result.exit_code == 2 and result.stdout == ""
    assert told in result.stderr


def test_a_cache_folder_that_is_a_file(call: Call, cache: Path) -> None:
    cache.write_text("")
    for words in (("ls",), ("prune",), ("clear", "--yes")):
        result = call(*words)
        assert result.exit_code == 2
        assert f"expected a folder, but {str(cache)!r} is a file" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX terminal")
def test_a_terminal_is_somebody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    main, other = os.openpty()
    with os.fdopen(other, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert verb._can_ask()
    os.close(main)
    monkeypatch.setattr(sys, "stdin", None)
    assert not verb._can_ask()


def test_an_entry_is_listed_by_when_it_was_last_read(call: Call, filled: dict[str, Path]) -> None:
    path = filled["index"] / "index.json"
    os.utime(path, (time.time() - 3 * DAY, time.time() - 40 * DAY))
    found = kept_entries(filled["index"].parent.parent)
    assert found[0].kind == "data index"
    assert abs(time.time() - 3 * DAY - found[0].last_used) < 60


def test_data_that_is_found_again_is_used_now(call: Call, filled: dict[str, Path]) -> None:
    folder = filled["index"]
    assert cached_folder(folder.parent, folder.name, lambda empty: None) == folder
    assert present(filled) and call("prune", "--older-than", "15d").exit_code == 0
    assert "index" in present(filled)
