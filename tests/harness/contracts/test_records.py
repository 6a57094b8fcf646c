"""Records: one row a sample, point and draw; lists of any length."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from crucibench.contracts.data import Samples
from crucibench.contracts.lists import Lists
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.task import AnswerField, Modality, OutputError, Task
from crucibench.engine.ask_again import compare_records
from crucibench.store.stored_records import StoredRecords
from crucibench.store.tables import samples_to_table, table_to_samples, write_table


def drawn(**columns: Any) -> dict[str, Any]:
    keys = {"id": ["a", "b", "a", "b"], "point": "", "draw": np.array([0, 0, 1, 1])}
    return {**keys, "score": np.array([1.0, 2.0, 3.0, 6.0]), **columns}


def test_a_mean_over_draws_is_that_of_each_sample() -> None:
    records = Records(to_table(drawn(pair=np.arange(8.0).reshape(4, 2))))
    ids = np.array(["b", "a", "c"], dtype=object)
    np.testing.assert_array_equal(records.mean_over_draws("score", ids), [4.0, 2.0, np.nan])
    np.testing.assert_array_equal(records.mean_over_draws("pair", ids)[:2], [[4, 5], [2, 3]])
    one = records.at("", 1).aligned(ids[:2])
    assert one.array("score").tolist() == [6.0, 3.0]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        ([0, 0, 0, 1], "two of one draw"),
        ([0, 0, -1, 1], "from 0"),
        ([0.0, 0.0, 1.0, 1.0], "from 0"),
    ],
)
def test_draws_are_integers_from_0_each_once_a_sample(draw: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_table(drawn(draw=np.array(draw)))


def test_records_asked_again_are_matched_by_draw() -> None:
    turned = {name: list(column)[::-1] for name, column in drawn().items() if name != "point"}
    assert compare_records(to_table(drawn()), to_table(turned)).identical


BOXES = Lists.of([2, 0, 1, 1], np.arange(16, dtype=np.float32).reshape(4, 4))


def test_lists_come_back_from_disk_as_offsets_and_values(tmp_path: Path) -> None:
    columns = drawn(
        boxes=BOXES,
        classes=Lists.of([2, 0, 1, 1], np.array([5, 6, 7, 8])),
        words=Lists.of([1, 0, 0, 1], np.array(["left", "right"], dtype=object)),
    )
    table = to_table(columns)
    assert table.schema.field("boxes").type == pa.list_(pa.list_(pa.float32(), 4))
    digests = {write_table(tmp_path / name, to_table(columns)) for name in ("a", "b")}
    assert len(digests) == 1
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    # Shards one after the other, and a slice that begins within one.
    records = StoredRecords([tmp_path / "a", tmp_path / "b"])
    boxes = records.lists("boxes")
    assert boxes.lengths.tolist() == [2, 0, 1, 1] * 2
    np.testing.assert_array_equal(boxes.values, np.tile(BOXES.values, (2, 1)))
    one = Records(records.table.slice(2, 3)).lists("classes")
    assert (one.offsets.tolist(), one.values.tolist()) == ([0, 1, 2, 4], [7, 8, 5, 6])
    assert records.lists("words").values.tolist() == ["left", "right"] * 2
    with pytest.raises(ValueError, match="lists"):
        records.array("boxes")


def test_lists_are_taken_by_row_and_by_mask() -> None:
    taken = BOXES[np.array([3, 1, 0])]
    assert taken.lengths.tolist() == [1, 0, 2]
    assert taken.values[:, 0].tolist() == [12.0, 0.0, 4.0]
    assert BOXES[np.array([False, True, True, False])].values[:, 0].tolist() == [8.0]
    assert len({*map(tuple, BOXES.summary())}) == 4


def test_targets_may_be_lists() -> None:
    ids = np.array(["a", "b", "c", "d"], dtype=object)
    samples = Samples(ids, BOXES, pd.DataFrame(index=range(4)))
    back = table_to_samples(samples_to_table(samples)).take(np.array([2, 1]))
    assert back.labelled
    assert back.targets.values.tolist() == [[8.0, 9.0, 10.0, 11.0]]


def test_a_field_says_whether_it_is_lists() -> None:
    field = AnswerField(name="boxes", dimensions=2, lists=True, check=lambda *_: None)
    task = Task(kind="regression", modality=Modality.IMAGE)
    field.require(BOXES, 4, task)
    for wrong in (BOXES.values, BOXES[np.array([0])], Lists.of([1], np.array([1.0]))):
        with pytest.raises(OutputError, match="boxes"):
            field.require(wrong, 4, task)


def test_lists_asked_again_are_compared_item_by_item() -> None:
    stored = to_table(drawn(boxes=BOXES))
    moved = Lists(BOXES.offsets, BOXES.values + np.float32(0.5))
    assert compare_records(stored, to_table(drawn(boxes=moved))).largest > 0
    shorter = Lists.of([1, 1, 1, 1], BOXES.values)
    assert compare_records(stored, to_table(drawn(boxes=shorter))).flipped == ("boxes",)
