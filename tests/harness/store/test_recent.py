"""Records are read once for all that ask, and again where their files have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucibench.contracts.records import Records, to_table
from crucibench.store import recent
from crucibench.store.recent import RecentRecords
from crucibench.store.stored_records import StoredRecords
from crucibench.store.tables import write_table


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
    monkeypatch.setattr(recent, "_HELD", 2 * max(part.size for part in parts))
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
