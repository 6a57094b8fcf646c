"""Records that stay on disk: the same as in memory, and never more than a file at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from crucibench.contracts.records import BLOCK_ROWS, Records, to_table
from crucibench.store import stored_records
from crucibench.store.stored_records import RecentRecords, StoredRecords
from crucibench.store.tables import read_table, write_table
from crucibench.util.names import Names

FILES, ROWS = 3, 50


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = []
    for number in range(FILES):
        rows = np.arange(ROWS) + number * ROWS
        columns = {
            "id": [f"s{row}" for row in rows],
            "point": ["even" if row % 2 == 0 else "odd" for row in rows],
            "features": np.stack([rows, -rows], axis=1).astype(np.float32),
            "score": rows / 7,
        }
        found.append(tmp_path / f"records-{number}.parquet")
        write_table(found[-1], to_table(columns))
    return found


@pytest.fixture(params=[False, True], ids=["small", "large"])
def records(
    request: pytest.FixtureRequest, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> StoredRecords:
    if request.param:
        monkeypatch.setattr(stored_records, "_SMALL", 0)
    return StoredRecords(paths)


def test_they_are_the_records_of_their_files(records: StoredRecords) -> None:
    n = FILES * ROWS
    assert len(records) == n
    assert "features" in records and "other" not in records
    np.testing.assert_array_equal(records.array("features")[:, 0], np.arange(n))
    assert list(records.ids) == [f"s{row}" for row in range(n)]
    assert len(records.at("odd")) == n // 2
    ids = records.ids[::-1]
    np.testing.assert_array_equal(records.aligned(ids).array("score"), np.arange(n)[::-1] / 7)
    assert len(records.frame()) == n


def test_blocks_are_all_rows_in_order(records: StoredRecords) -> None:
    parts = list(records.blocks("id", "features"))
    assert all(set(part.table.column_names) == {"id", "features"} for part in parts)
    assert all(len(part) <= BLOCK_ROWS for part in parts)
    np.testing.assert_array_equal(
        np.concatenate([part.array("features") for part in parts]), records.array("features")
    )
    with pytest.raises(KeyError, match="other"):
        list(records.blocks("other"))
    with pytest.raises(KeyError, match="other"):
        records.array("other")


def test_large_ones_are_read_file_by_file(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, tuple[str, ...] | None]] = []

    def watched(path: Path, columns: list[str] | None = None) -> object:
        read.append((path.name, None if columns is None else tuple(columns)))
        return read_table(path, columns)

    monkeypatch.setattr(stored_records, "_SMALL", 0)
    monkeypatch.setattr(stored_records, "read_table", watched)
    records = StoredRecords(paths)
    blocks = records.blocks("score")
    assert len(records) == FILES * ROWS and not read
    next(blocks)
    assert read == [("records-0.parquet", ("score",))]
    assert len(list(blocks)) == FILES - 1
    assert {columns for _, columns in read} == {("score",)}


def test_blocks_of_a_table_are_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crucibench.contracts.records.BLOCK_ROWS", 4)
    records = Records(to_table({"id": [f"s{row}" for row in range(10)], "x": np.arange(10)}))
    assert [list(part.array("x")) for part in records.blocks("x")] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9],
    ]  # fmt: skip


def stored(path: Path, value: float = 0.0) -> StoredRecords:
    write_table(path, to_table({"id": ["a", "b"], "score": [value, 1.0]}))
    return StoredRecords([path])


def test_the_same_files_are_read_once(tmp_path: Path) -> None:
    held = RecentRecords()
    first = stored(tmp_path / "a.parquet")
    assert held.records(first) is first
    assert held.records(StoredRecords([tmp_path / "a.parquet"])) is first


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    held = RecentRecords()
    path = tmp_path / "a.parquet"
    assert held.records(stored(path)).array("score").tolist() == [0.0, 1.0]
    # Another size, since the clock of a file system may be coarse.
    write_table(path, to_table({"id": ["a", "b", "c"], "score": [5.0, 1.0, 2.0]}))
    assert held.records(StoredRecords([path])).array("score").tolist() == [5.0, 1.0, 2.0]


def test_no_more_is_held_than_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [stored(tmp_path / f"{name}.parquet") for name in "abc"]
    monkeypatch.setattr(stored_records, "_HELD", 2 * max(part.size for part in parts))
    held = RecentRecords()
    for part in parts:
        held.records(part)
    again = [held.records(StoredRecords([tmp_path / f"{name}.parquet"])) for name in "cba"]
    assert again[0] is parts[2] and again[1] is parts[1]
    assert again[2] is not parts[0]  # the one that was asked for longest ago


def test_what_is_in_memory_or_too_large_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = RecentRecords()
    plain = Records(to_table({"id": ["a"]}))
    assert held.records(plain) is plain
    monkeypatch.setattr("crucibench.store.stored_records._SMALL", 0)
    stored(tmp_path / "a.parquet")
    large = [StoredRecords([tmp_path / "a.parquet"]) for _ in range(2)]
    assert [held.records(one) for one in large] == large


def test_names_that_are_equal_stand_in_memory_once(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, pa.table({"id": ["x", "y"], "score": [1.0, 2.0]}))
    records, names = StoredRecords([path]), Names(pa.chunked_array([["x", "y"]]))
    assert records.aligned(names) is records
    held, given = (one.chunk(0).buffers()[2] for one in (records.table.column("id"), names.column))
    assert held.address == given.address
    assert records.array("score").tolist() == [1.0, 2.0]
    turned = records.aligned(Names(pa.chunked_array([["y", "x"]])))
    assert turned.array("score").tolist() == [2.0, 1.0]
