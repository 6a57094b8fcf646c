"""The cache of cells: what goes and what stays; several processes, and killed ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.records import to_table
from crucibench.store.cell_cache import (
    CacheKey,
    CellCache,
    KeptCell,
    cache_limit,
    overdue,
    remove,
    sweep,
)
from crucibench.store.tables import write_table
from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digest


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    return make_cell(tmp_path / "cell")


def make_cell(folder: Path, rows: int = 3) -> Path:
    folder.mkdir(parents=True)
    for name in ("records-00-00000.parquet", "probes-repeat.parquet"):
        ids = [f"{name}-{row}" for row in range(rows)]
        write_table(folder / name, to_table({"id": ids, "scores": np.eye(rows, 2)}))
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


def numbered(number: int) -> CacheKey:
    return CacheKey(identity=str(number), numerics="n")


def keep(cache: CellCache, cell: Path, number: int) -> bool:
    return cache.keep(numbered(number), cell, [], [], digests(cell), {})


def visible(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


# -- limits -------------------------------------------------------------------------------------


def age(cache: CellCache, number: int, seconds: float) -> None:
    key = numbered(number)
    (path,) = (cache.folder / key.digest[:2] / key.digest).glob("*/entry.json")
    then = time.time() - seconds
    os.utime(path, (then, then))


def held(cache: CellCache, count: int) -> set[int]:
    keys = {numbered(number).digest: number for number in range(count)}
    return {keys[entry.key] for entry in cache.entries()}


def test_pruning_keeps_the_most_recently_used(cache: CellCache, cell: Path, tmp_path: Path) -> None:
    for number in range(5):
        keep(cache, cell, number)
        age(cache, number, seconds=1000 - number)
    size = cache.entries()[0].size
    assert cache.fetch(numbered(0), tmp_path / "into") is not None  # renewed
    removed = remove(overdue(cache.entries(), limit=2 * size + size // 2))
    assert held(cache, 5) == {0, 4}
    assert [entry.key for entry in removed] == [numbered(n).digest for n in (1, 2, 3)]
    assert visible(cache.folder) == sorted(
        path.relative_to(cache.folder).as_posix()
        for entry in cache.entries()
        for path in entry.path.iterdir()
    )
    assert len(list(cache.folder.iterdir())) <= 2  # no empty folders


def test_keeping_lets_go_of_what_is_beyond_the_limit(tmp_path: Path, cell: Path) -> None:
    roomy = CellCache(tmp_path / "cache")
    keep(roomy, cell, 0)
    size = roomy.entries()[0].size
    cache = CellCache(tmp_path / "cache", limit=3 * size + 9)
    for number in range(1, 12):
        age(cache, number - 1, seconds=100 - number)
        assert keep(cache, cell, number)
        assert sum(entry.size for entry in cache.entries()) <= cache.limit
        assert held(cache, 12) == set(range(max(0, number - 2), number + 1))


def test_what_was_just_kept_stays_even_where_clocks_differ(tmp_path: Path, cell: Path) -> None:
    roomy = CellCache(tmp_path / "cache")
    keep(roomy, cell, 0)
    age(roomy, 0, seconds=-3600)  # another machine's clock is ahead
    cache = CellCache(tmp_path / "cache", limit=roomy.entries()[0].size + 9)
    assert keep(cache, cell, 1)
    assert held(cache, 2) == {1}


def test_a_cell_larger_than_the_limit_is_not_kept_and_evicts_nothing(
    tmp_path: Path, cell: Path
) -> None:
    roomy = CellCache(tmp_path / "cache")
    keep(roomy, cell, 0)
    size = roomy.entries()[0].size
    big = make_cell(tmp_path / "big", rows=5000)
    cache = CellCache(tmp_path / "cache", limit=size + 100)
    assert keep(cache, big, 1) is False
    assert held(cache, 2) == {0}
    assert keep(cache, cell, 2) is True
    assert held(cache, 3) == {2}
    nothing = CellCache(tmp_path / "none", limit=0)
    assert keep(nothing, cell, 3) is False


def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRUCIBENCH_CACHE_LIMIT", raising=False)
    assert cache_limit() == 10 * 1024**3
    monkeypatch.setenv("CRUCIBENCH_CACHE_LIMIT", "20GiB")
    assert cache_limit() == 20 * 1024**3
    monkeypatch.setenv("CRUCIBENCH_CACHE_LIMIT", "much")
    with pytest.raises(InputError, match=r"^CRUCIBENCH_CACHE_LIMIT: expected a size .*'much'$"):
        cache_limit()


# -- several processes, and killed ones ---------------------------------------------------------


def test_several_processes_at_once(cache: CellCache, cell: Path, tmp_path: Path) -> None:
    files = digests(cell)
    assert keep(cache, cell, 0) and keep(cache, cell, 1)
    entries = cache.entries()
    tasks: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
    for turn in range(12):
        for number in range(2):
            key = numbered(number)
            tasks += [(cache.keep, (key, cell, [], [], files, {}))] * 2
            tasks.append((cache.fetch, (key, tmp_path / f"into-{turn}-{number}")))
        if turn in {4, 8}:
            tasks.append((remove, (entries,)))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        waiting = [pool.apply_async(task, arguments) for task, arguments in tasks]
        results = [entry.get(timeout=120) for entry in waiting]
    kept = [result for result in results if isinstance(result, bool)]
    assert len(kept) == 48 and all(kept)
    fetched = [result for result in results if isinstance(result, KeptCell)]
    assert fetched and all(result.files == files for result in fetched)
    into = list(tmp_path.glob("into-*"))
    assert len(into) == len(fetched) and all(digests(folder) == files for folder in into)
    assert held(cache, 2) <= {0, 1}
    assert not [path for path in cache.folder.iterdir() if path.name.startswith(".")]


_KILLED = """
import os, signal, sys
from pathlib import Path
from crucibench.store import cell_cache
from crucibench.store.cell_cache import CacheKey, CellCache
from crucibench.util.hashing import file_digest

step, folder, cell = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
real = getattr(cell_cache, step)
calls = []

def killed(*arguments):
    calls.append(arguments)
    if step != "copy_file" or len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

setattr(cell_cache, step, killed)
files = {path.name: file_digest(path) for path in cell.iterdir()}
key = CacheKey(identity="0", numerics="n")
CellCache(folder).keep(key, cell, [], [], files, {})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("step", ["copy_file", "write_text", "_place"])
def test_a_killed_process_leaves_nothing_that_is_seen(
    cache: CellCache, cell: Path, tmp_path: Path, step: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, step, str(cache.folder), str(cell)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = cache.folder.iterdir()
    assert left.name.startswith(".") and visible(left) != []
    assert cache.entries() == []
    assert cache.fetch(numbered(0), tmp_path / "into") is None
    assert sweep(cache.folder) == 0  # it could be at work still
    assert keep(cache, cell, 0)
    assert cache.fetch(numbered(0), tmp_path / "into") is not None
    for path in [left, *left.iterdir()]:
        os.utime(path, (1.0, time.time() - 90_000))
    assert sweep(cache.folder) == 1
    assert not left.exists() and len(cache.entries()) == 1


def test_sweeping_spares_what_is_being_made_and_what_is_not_ours(tmp_path: Path) -> None:
    old, at_work, strange = (
        tmp_path / name for name in (f".{'a' * 32}", f".{'b' * 32}", ".config")
    )
    for folder in (old, at_work, strange):
        folder.mkdir()
        (folder / "file").write_text("")
        for path in (folder / "file", folder):
            os.utime(path, (1.0, 1.0))
    (at_work / "file").write_text("still growing")
    assert sweep(tmp_path) == 1
    assert not old.exists() and at_work.exists() and strange.exists()
