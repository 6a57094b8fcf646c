"""Numbers, tables and records that say different things."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from crucibench.store.tables import read_frame, write_frame

from .conftest import Planted


def put(column: str, value: Any, row: int = 0) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[row].update({column: value})


def drop(rows: list[dict[str, Any]]) -> None:
    del rows[1]


def double(rows: list[dict[str, Any]]) -> None:
    rows.insert(1, dict(rows[0]))


def invent(rows: list[dict[str, Any]]) -> None:
    rows.append(rows[0] | {"metric": "charm"})


def swap(rows: list[dict[str, Any]]) -> None:
    rows[0], rows[1] = rows[1], rows[0]


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("value", 0.5), r"row 0 \(accuracy at sigma=0\.1 of a\): value is 0\.5, the records g"),
        (put("value", None), r"row 0 \(accuracy .*\): value is None, the records give [\d.]+$"),
        (put("lower", 0.0), r"row 0 \(accuracy .*\): lower is 0\.0, the records give"),
        (put("verdict", "suspect"), r"verdict is 'suspect', the records give 'valid'"),
        (put("n", 201), r"n is 201, the records give 200"),
        (put("direction", "lower"), r"direction is 'lower', the records give 'higher'"),
        (put("comparison_key", "0"), r"comparison_key is '0', the records give '\w{16}'"),
        (put("model", "c"), r"model is 'c', the records give 'a'"),
        (put("cell", "nowhere"), r"row 0 is of 'nowhere', which the run does not have"),
        (drop, r"the row accuracy at sigma=0\.3 of a is missing"),
        (double, r"expected 2 rows of the cell, got 3"),
        (invent, r"row \d+ \(charm at sigma=0\.1 of a\): the records give no such number"),
        (swap, r"row 0 \(accuracy at sigma=0\.3 of a\): point is 'sigma=0\.3'"),
    ],
)
def test_an_edited_number_is_found(
    planted: Planted, change: Callable[[list[dict[str, Any]]], None], said: str, sealed: bool
) -> None:
    def edited(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        assert rows[0]["scenario"] == "noise" and rows[0]["model"] == "a"
        change(rows)
        return pa.Table.from_pylist(rows, schema=table.schema)

    planted.edit_table(planted.layout.metrics, edited)
    if sealed:
        planted.seal()
    found = planted.found()
    assert any(re.search(said, sentence) for sentence in found), found
    assert found[0].startswith("metrics.parquet: not what was scored") is not sealed


def test_an_edited_record_gives_another_number(planted: Planted) -> None:
    def other_answer(table: pa.Table) -> pa.Table:
        column = table.column("prediction").to_pylist()
        values = pa.array([1 - column[0], *column[1:]], pa.int32())
        return table.set_column(table.column_names.index("prediction"), "prediction", values)

    planted.edit_table(planted.shard("a", "sample/noise"), other_answer)
    planted.seal()
    found = planted.found()
    assert len(found) == 1
    due = r"row 0 \(accuracy at sigma=0\.1 of a\): value is 1\.0, the records give 0\.995$"
    assert re.search(due, found[0]), found


def test_an_edited_table_is_found(planted: Planted) -> None:
    name = planted.cell("a", "accuracy/clean").cell
    path = planted.layout.table(name, "per-class")
    frame = read_frame(path)
    column = next(key for key in frame if pd.api.types.is_float_dtype(frame[key]))
    frame.loc[1, column] = 0.123
    write_frame(path, frame)
    found = planted.found()
    assert len(found) == 1
    assert f"tables/{name}/per-class.parquet: row 1: {column} is 0.123, the rec" in found[0]
    path.rename(path.with_name("other.parquet"))
    assert f"{name}: tables/{name}/other.parquet: the scenario makes no such" in planted.found()[0]
    path.with_name("other.parquet").unlink()
    assert planted.found() == [f"{name}: tables/{name}/per-class.parquet: missing"]


def test_a_scenario_that_raises_or_a_new_metric_version_is_said(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_sample import suite  # type: ignore[import-not-found]

    names = sorted(planted.cell(model, "sample/noise").cell for model in ("a", "b"))
    monkeypatch.setattr(suite.Noise, "score", lambda self, evidence: 1 / 0)
    due = f"{names[0]} and 1 more can't be scored again: scoring raised: ZeroDivisionError"
    found = planted.found()
    assert len(found) == 1 and found[0].startswith(due), found
    monkeypatch.undo()
    monkeypatch.setattr(suite.Search, "metrics", (suite.BROKEN.__class__(
        id="broken", name="broken", direction="lower", definition="Other.", version=2
    ),))  # fmt: skip
    found = planted.found()
    assert len(found) == 1
    assert "metric 'broken' is version 1 in the run, version 2 is installed" in found[0]
