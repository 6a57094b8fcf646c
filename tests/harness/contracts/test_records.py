"""Records: one row a sample, point and draw; lists of any length."""

from typing import Any

import numpy as np
import pytest

from crucibench.contracts.records import Records, to_table
from crucibench.engine.ask_again import compare_records


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
