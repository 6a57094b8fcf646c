"""Mapped tables answer as `datasets` does."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from crucibench.data.columnar import MappedTable, plain_schema, storable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    schema = pa.schema([("n", pa.int64()), ("x", pa.float32()), ("t", pa.string())])
    file = tmp_path / "0.arrow"
    with file.open("wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for rows in (3, 1, 40, 0, 16):
            numbers = rng.integers(0, 99, rows)
            texts = [None if number % 7 == 0 else str(number) for number in numbers]
            columns = [pa.array(numbers), pa.array(rng.random(rows, np.float32)), pa.array(texts)]
            writer.write(pa.record_batch(columns, schema=schema))
    return file


def test_rows_are_those_of_datasets(path: Path) -> None:
    import datasets

    ours = MappedTable(path)
    theirs = datasets.Dataset.from_file(str(path)).with_format("arrow")
    assert len(ours) == len(theirs) == 60
    assert ours.column_names == theirs.column_names
    rng = np.random.default_rng(1)
    asked = [
        slice(None), slice(2, 50), slice(59, 90), slice(7, 7), np.arange(60), np.array([59]),
        *(rng.integers(0, 60, size) for size in (1, 5, 60, 200)),
    ]  # fmt: skip
    for rows in asked:
        assert ours[rows].equals(theirs[rows])
    assert ours[np.array([], np.int64)].num_rows == 0
    some = ours.select_columns(["t", "n"])
    assert some[rows].equals(theirs.select_columns(["t", "n"])[rows])
    assert [table.num_rows for table in some.iter(25)] == [25, 25, 10]


def test_it_stays_on_disk_and_is_sent_by_its_path(path: Path) -> None:
    before = pa.total_allocated_bytes()
    table = MappedTable(path, ["x", "t"])
    assert pa.total_allocated_bytes() == before
    sent = pickle.dumps(table)
    assert len(sent) < 300
    assert pickle.loads(sent)[:].equals(table[:])


def test_what_datasets_notes_is_not_plain() -> None:
    plain = pa.schema([("c", pa.dictionary(pa.int8(), pa.string())), ("n", pa.uint8())])
    assert storable(plain) == pa.schema([("c", pa.string()), ("n", pa.uint8())])
    assert plain_schema(plain.with_metadata({"huggingface": "{}"})) is None
    assert plain_schema(pa.schema([("l", pa.list_(pa.int8()))])) is None


def test_a_table_is_read_without_datasets(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1,a\n2,b\n" * 20, encoding="utf-8")
    code = (
        "import sys, crucibench as cb;"
        "cb.run(models={'m': lambda f: [[.5, .5]] * len(f)}, data='csv:a.csv?target=y',"
        "suites=['accuracy']);"
        "assert 'datasets' not in sys.modules and 'torch' not in sys.modules"
    )
    home = os.environ | {"CRUCIBENCH_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=home, check=True)
