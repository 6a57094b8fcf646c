"""Whatever this program writes goes through the doors, and they say which file was refused."""

from __future__ import annotations

import ast
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crucibench.store.tables import read_table, write_table
from crucibench.util import doors
from crucibench.util.doors import StorageError

ROOT = Path(__file__).parents[3]
METHODS = {"unlink", "mkdir", "write_bytes", "write_text", "rmtree", "OSFile", "socketpair"}
OF_OS = {"fsync", "fork", "pipe", "replace", "rename", "unlink", "mkdir", "write"}
OTHERS = {
    "util/doors.py",
    "util/memory.py",  # /proc
    "engine/worker/timed.py",  # the lease of a device, which lies with no run
    "engine/executors/ray_cluster.py",  # another program's folders
    "cli/doctor.py",  # looks if a folder can be written
}


def _around(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name, of = node.func.attr, getattr(node.func.value, "id", "")
        mode = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
        writes = name == "open" and isinstance(mode, str) and mode[:1] in {"a", "w", "x"}
        if of != "doors" and (name in METHODS or writes or (of == "os" and name in OF_OS)):
            yield f"{file.relative_to(ROOT)}:{node.lineno}: {name}"


def test_nothing_is_written_around_the_doors() -> None:
    found = [
        line
        for folder in ("harness", "suites", "adapters")
        for file in (ROOT / folder).rglob("*.py")
        if not any(file.as_posix().endswith(f"crucibench/{other}") for other in OTHERS)
        for line in _around(file)
    ]
    assert found == []


def test_short_writes_are_completed_and_refused_ones_leave_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, table = tmp_path / "t.parquet", pa.table({"a": list(range(5000))})
    honest, written = doors.write, []

    def short(descriptor: int, data: Any) -> int:
        written.append(len(data))
        return honest(descriptor, memoryview(data)[: max(1, len(data) // 2)])

    monkeypatch.setattr(doors, "write", short)
    write_table(path, table)
    assert read_table(path).equals(table) and len(written) > 5
    whole = path.read_bytes()

    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(doors, "write", full)
    with pytest.raises(StorageError, match=r"^No space left on device: .*t\.parquet"):
        write_table(path, table.slice(7))
    assert path.read_bytes() == whole and [file.name for file in tmp_path.iterdir()] == [path.name]
