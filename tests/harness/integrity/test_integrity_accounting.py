"""Records that are wrong although every hash is right: the manifest was written for them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from .conftest import Planted

NOISE = ("a", "sample/noise")
PASS = ("a", "pass/test")
SEARCH = ("b", "sample/search")


def without(row: int) -> Callable[[pa.Table], pa.Table]:
    return lambda table: pa.concat_tables([table.slice(0, row), table.slice(row + 1)])


def twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(2, 1)])


def swapped(table: pa.Table) -> pa.Table:
    order = np.arange(table.num_rows)
    order[[3, 4]] = order[[4, 3]]
    return table.take(pa.array(order))


def renamed(column: str, value: str) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = [value, *table.column(column).to_pylist()[1:]]
        return table.set_column(table.column_names.index(column), column, [values])

    return change


@pytest.mark.parametrize(
    ("cell", "change", "said"),
    [
        (PASS, twice, r"1 record too many: samples have two at one point \(the first is '\w+'\)"),
        (NOISE, twice, r"1 record too many: .* at sigma=0\.1\)"),
        (PASS, without(5), r"1 of 200 samples have no record \(the first is '\w+'\)"),
        (NOISE, without(5), r"1 of 200 samples have no record at sigma=0\.1 \(the first"),
        (PASS, swapped, r"records are not in the order of the sample table \(the first"),
        (NOISE, swapped, r"records at sigma=0\.1 are not in the order of the sample table"),
        (PASS, renamed("id", "nobody"), r"1 record of samples that were not planned .*'nobody'"),
        (NOISE, renamed("point", "sigma=9"), r"1 record at point 'sigma=9', which the cell does"),
        (SEARCH, twice, r"stage 'weak': 1 record too many: samples have two at one point"),
        (SEARCH, without(1), r"stage 'weak': expected records of \d+ samples, got \d+"),
        (SEARCH, renamed("id", "nobody"), r"stage 'weak': 1 record of samples .*'nobody'"),
        (PASS, lambda table: table.drop_columns(["id"]), r"can't be read: it has no column 'id'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_row_is_found(
    planted: Planted,
    cell: tuple[str, str],
    change: Callable[[pa.Table], pa.Table],
    said: str,
) -> None:
    planted.edit_table(planted.shard(*cell), change)
    planted.seal()
    found = planted.found()
    assert any(re.search(said, sentence) for sentence in found), found
    assert all(sentence.startswith(planted.cell(*cell).cell) for sentence in found), found


def test_a_damaged_shard_is_found(planted: Planted) -> None:
    for cell in (PASS, ("a", "sample/agreement"), ("a", "sample/rounds")):
        shard = planted.shard(*cell)
        shard.write_bytes(shard.read_bytes()[:-60])
    planted.seal()
    found = planted.found()
    assert len(found) == 3
    assert all("records-00-00000.parquet' can't be read" in sentence for sentence in found)


def test_missing_and_additional_shards_are_found(planted: Planted) -> None:
    name = planted.cell(*NOISE).cell
    shard = planted.shard(*NOISE, number=1)
    shard.rename(planted.shard(*NOISE, number=77))
    planted.seal()
    assert planted.found() == [
        f"{name}: records-00-00001.parquet: missing",
        f"{name}: records-00-00077.parquet: no stage of the cell has such a shard",
    ]


def test_a_stage_must_hold_as_many_samples_as_it_says(planted: Planted) -> None:
    file = planted.cell(*SEARCH)
    name = file.stages[-1].name
    planted.edit_cell(file, lambda document: document["stages"][-1].update(samples=999))
    planted.seal()
    found = planted.found()
    assert f"{file.cell}: stage {name!r}: 999 samples of 150 can't be" in found
    assert any(f"stage {name!r}: expected records of 999 samples" in entry for entry in found)


def test_another_order_of_the_sample_table_is_found(planted: Planted) -> None:
    path = planted.layout.sample_table("stripes", "test")
    planted.edit_table(path, swapped)
    planted.seal()
    found = planted.found()
    for cell in (PASS, NOISE):
        name = planted.cell(*cell).cell
        due = f"{name}: cell.json: ids_digest is not that of the ids in the sample table"
        assert due in found


def test_a_sample_that_stands_twice_is_found(planted: Planted) -> None:
    planted.edit_table(planted.layout.sample_table("stripes", "test"), twice)
    planted.seal()
    name = planted.cell(*PASS).cell
    assert f"{name}: the sample table of 'test' has an id twice" in planted.found()
