"""The cache of cells: whole or not at all, the same bytes or a miss."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.contracts.records import to_table
from crucibench.store import cell_cache
from crucibench.store.cell_cache import CacheKey, CellCache
from crucibench.store.cells import StageFile
from crucibench.store.tables import write_table
from crucibench.util import doors
from crucibench.util.hashing import file_digest

KEY = CacheKey(identity="i" * 64, numerics="n" * 64, outputs=frozenset({"scores"}))
STAGES = [StageFile(name="all", samples=5, shards=2)]
PROBES = ["range", "repeat"]
COSTS = {"seconds": 1.25, "forwards": 5, "energy": None}
LABELS = {"model": "cnn", "data": "photos", "scenario": "pass/test"}
NAMES = ("records-00-00000.parquet", "records-00-00001.parquet", "probes-repeat.parquet")


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    return make_cell(tmp_path / "run" / "cells" / "c")


def make_cell(folder: Path, rows: int = 3) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        ids = [f"{number}-{row}" for row in range(rows)]
        write_table(folder / name, to_table({"id": ids, "scores": np.ones((rows, 2)) * number}))
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


def keep(cache: CellCache, cell: Path, key: CacheKey = KEY) -> bool:
    return cache.keep(key, cell, STAGES, PROBES, digests(cell), COSTS, labels=LABELS)


def entry_folder(cache: CellCache) -> Path:
    (path,) = cache.folder.glob("*/*/*/entry.json")
    return path.parent


def visible(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


# -- round trip ---------------------------------------------------------------------------------


def test_what_is_kept_comes_back_to_the_byte(cache: CellCache, cell: Path, tmp_path: Path) -> None:
    into = tmp_path / "other" / "cell"
    assert cache.fetch(KEY, into) is None
    assert not into.parent.exists()
    assert keep(cache, cell)
    kept = cache.fetch(KEY, into)
    assert kept is not None and kept.files == digests(cell) and kept.stages == STAGES
    assert digests(into) == digests(cell)
    assert sorted(path.name for path in into.iterdir()) == sorted(NAMES)


def test_a_cell_without_files_comes_back(cache: CellCache, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert cache.keep(KEY, empty, [], [], {}, {})
    assert cache.fetch(KEY, tmp_path / "into") is not None


def test_an_edit_on_one_side_does_not_reach_the_other(
    cache: CellCache, cell: Path, tmp_path: Path
) -> None:
    sound = digests(cell)
    keep(cache, cell)
    (cell / NAMES[0]).write_bytes(b"edited before")
    assert cache.fetch(KEY, tmp_path / "a") is not None
    with (tmp_path / "a" / NAMES[0]).open("r+b") as stream:  # in place: a link would show it
        stream.write(b"edited")
    again = cache.fetch(KEY, tmp_path / "b")
    assert again is not None and again.files == sound
    assert digests(tmp_path / "b") == sound


def test_to_keep_again_changes_nothing(cache: CellCache, cell: Path, tmp_path: Path) -> None:
    keep(cache, cell)
    before = digests(entry_folder(cache))
    other = make_cell(tmp_path / "other", rows=9)
    assert keep(cache, other)
    assert digests(entry_folder(cache)) == before


def test_what_is_there_of_an_unfinished_cell_is_replaced(
    cache: CellCache, cell: Path, tmp_path: Path
) -> None:
    keep(cache, cell)
    into = tmp_path / "into"
    into.mkdir()
    (into / NAMES[0]).write_bytes(b"half")
    (into / ".digests.json").write_text("[]")
    assert cache.fetch(KEY, into) is not None
    assert digests(into) == {**digests(cell), ".digests.json": file_digest(into / ".digests.json")}


def test_the_entry_says_what_it_is(cache: CellCache, cell: Path) -> None:
    keep(cache, cell)
    (entry,) = cache.entries()
    assert (entry.model, entry.data, entry.scenario) == ("cnn", "photos", "pass/test")
    assert (entry.kind, entry.outputs, entry.key) == ("cell", ("scores",), KEY.digest)
    folder = entry_folder(cache)
    assert entry.path == folder
    assert folder == cache.folder / KEY.digest[:2] / KEY.digest / "records+scores"
    assert entry.size == sum(path.stat().st_size for path in folder.iterdir())
    document = json.loads((folder / "entry.json").read_text())["entry"]
    assert document["format_version"] == 2
    assert document["costs"] == COSTS


def test_what_a_model_does_not_answer_any_more_makes_room(
    cache: CellCache, cell: Path, tmp_path: Path
) -> None:
    def kept(probe: dict[str, Any]) -> bool:
        return cache.keep(KEY, cell, STAGES, PROBES, digests(cell), COSTS, probe=probe)

    def fetched(into: str, probe: dict[str, Any]) -> bool:
        return cache.fetch(KEY, tmp_path / into, probe.__eq__) is not None

    assert kept({"": 1}) and fetched("same", {"": 1})
    assert not fetched("other", {"": 2})
    assert not (tmp_path / "other").exists() and cache.entries() == []
    assert kept({"": 2}) and fetched("anew", {"": 2})


# -- the key ------------------------------------------------------------------------------------

_TEXT = st.sampled_from(["", "a", "b", "ab", "a\x1f"])
_OUTPUTS = st.frozensets(st.sampled_from(["scores", "labels", "features", "values", "a-b", "A"]))
_KEYS = st.builds(CacheKey, identity=_TEXT, numerics=_TEXT, outputs=_OUTPUTS)


@settings(max_examples=60, deadline=None)
@given(kept=_KEYS, asked=_KEYS)
def test_any_other_key_misses_but_one_for_fewer_outputs(kept: CacheKey, asked: CacheKey) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "cell").mkdir()
        (root / "cell" / NAMES[0]).write_bytes(b"bytes")
        cache = CellCache(root / "cache")
        cache.keep(kept, root / "cell", STAGES, [], {}, {})
        same = (kept.identity, kept.numerics) == (asked.identity, asked.numerics)
        more = kept.outputs - asked.outputs
        fewer = bool(asked.outputs) and asked.outputs < kept.outputs
        served = same and (
            kept.outputs == asked.outputs or (fewer and more <= {"features", "labels"})
        )
        assert (cache.fetch(asked, root / "into") is not None) == served
        assert cache.fetch(kept, root / "own") is not None


def test_an_entry_in_a_wrong_place_is_a_miss(cache: CellCache, cell: Path, tmp_path: Path) -> None:
    keep(cache, cell)
    other = CacheKey(identity="other", numerics=KEY.numerics, outputs=KEY.outputs)
    place = cache.folder / other.digest[:2] / other.digest / "records+scores"
    shutil.copytree(entry_folder(cache), place)
    assert cache.fetch(other, tmp_path / "into") is None
    assert not place.exists()
    assert cache.fetch(KEY, tmp_path / "into") is not None


# -- damage -------------------------------------------------------------------------------------


def damages(content: bytes, step: int) -> Iterator[bytes]:
    """Yields every class of damage to one byte, at every `step`-th of them, and truncations."""
    for at in range(0, len(content), step):
        yield content[:at] + bytes([content[at] ^ (1 << (at % 8))]) + content[at + 1 :]
        yield content[:at] + content[at + 1 :]
        yield content[:at] + b"\x20" + content[at:]
        yield content[:at]
    yield content + b"\n"
    yield content + content


@pytest.mark.parametrize(("name", "step"), [("entry.json", 7), (NAMES[0], 61), (NAMES[2], 61)])
def test_damage_to_any_byte_is_a_miss_and_leaves_nothing(
    cache: CellCache, cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    step: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # thousands of files
    into = tmp_path / "into"
    into.mkdir()
    (into / NAMES[0]).write_bytes(b"older")
    keep(cache, cell)
    folder = entry_folder(cache)
    sound = {path.name: path.read_bytes() for path in folder.iterdir()}
    for damaged in damages(sound[name], step):
        if damaged == sound[name]:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        for other, content in sound.items():
            (folder / other).write_bytes(damaged if other == name else content)
        assert cache.fetch(KEY, into) is None, damaged
        assert not folder.exists()
        assert visible(into) == [NAMES[0]] and (into / NAMES[0]).read_bytes() == b"older"
    assert visible(cache.folder) == []
    assert keep(cache, cell)
    assert cache.fetch(KEY, into) is not None


@pytest.mark.parametrize("name", ["entry.json", NAMES[0], NAMES[2]])
@pytest.mark.parametrize("how", ["deleted", "emptied", "a folder"])
def test_a_file_that_is_not_there_is_a_miss(
    cache: CellCache, cell: Path, tmp_path: Path, name: str, how: str
) -> None:
    keep(cache, cell)
    path = entry_folder(cache) / name
    path.unlink()
    if how == "emptied":
        path.touch()
    elif how == "a folder":
        path.mkdir()
    assert cache.fetch(KEY, tmp_path / "into") is None
    assert not (tmp_path / "into").exists()
    assert visible(cache.folder) == []
    assert list(cache.folder.iterdir()) == []


def test_another_format_is_a_miss(cache: CellCache, cell: Path, tmp_path: Path) -> None:
    keep(cache, cell)
    path = entry_folder(cache) / "entry.json"
    fields = json.loads(path.read_text())["entry"]
    path.write_text(cell_cache._signed({**fields, "format_version": 1}))
    assert cache.fetch(KEY, tmp_path / "into") is None
    assert cache.entries() == []


def test_an_entry_can_name_no_file_elsewhere(cache: CellCache, cell: Path, tmp_path: Path) -> None:
    keep(cache, cell)
    path = entry_folder(cache) / "entry.json"
    fields = json.loads(path.read_text())["entry"]
    outside = cache.folder / "outside.parquet"
    outside.write_bytes(b"x")
    files = {"../../../outside.parquet": file_digest(outside)}
    path.write_text(cell_cache._signed({**fields, "files": files}))
    assert cache.fetch(KEY, tmp_path / "a" / "b" / "c" / "into") is None
    assert not (tmp_path / "a").exists()


def test_a_file_that_is_not_as_it_was_hashed_is_not_kept(cache: CellCache, cell: Path) -> None:
    stated = digests(cell)
    with (cell / NAMES[1]).open("r+b") as stream:
        stream.write(b"changed")
    assert not cache.keep(KEY, cell, STAGES, PROBES, stated, COSTS)
    (cell / NAMES[1]).unlink()
    assert not cache.keep(KEY, cell, STAGES, PROBES, stated, COSTS)
    assert visible(cache.folder) == []


@pytest.mark.parametrize("name", ["cell.json", "../records-a.parquet", "records-a.parquet/..", ""])
def test_only_records_and_probes_are_kept(cache: CellCache, cell: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"files: expected names records-\*\.parquet"):
        cache.keep(KEY, cell, STAGES, PROBES, {name: "0"}, COSTS)


# -- a cache that can't be used -----------------------------------------------------------------


def test_a_cache_that_can_not_be_written_holds_nothing(
    cache: CellCache, cell: Path, tmp_path: Path
) -> None:
    cache.folder.parent.mkdir()
    cache.folder.write_text("came later")
    assert keep(cache, cell) is False
    assert cache.fetch(KEY, tmp_path / "into") is None
    assert cache.entries() == []


@pytest.mark.parametrize("step", ["copy_file", "write_text", "_place"])
def test_a_full_disk_keeps_nothing(
    cache: CellCache, cell: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cell_cache, step, full)
    assert keep(cache, cell) is False
    monkeypatch.undo()
    assert list(cache.folder.iterdir()) == []
    assert keep(cache, cell) is True


def test_a_run_folder_that_is_full_is_no_damage(
    cache: CellCache, cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(cache, cell)
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(doors, "fsync", full)
    assert cache.fetch(KEY, tmp_path / "into") is None
    monkeypatch.undo()
    assert not (tmp_path / "into").exists()
    assert cache.fetch(KEY, tmp_path / "into") is not None


def test_what_may_not_be_read_is_a_miss_but_no_damage(
    cache: CellCache, cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(cache, cell)

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert cache.fetch(KEY, tmp_path / "into") is None
    (entry,) = cache.entries()
    assert entry.model == "" and entry.size > 0
    monkeypatch.undo()
    assert cache.fetch(KEY, tmp_path / "into") is not None
