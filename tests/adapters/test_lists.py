"""Answers of any length: known answers, the way back from a resized image, refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.lists import Lists, differing_rows
from crucibench.contracts.task import AnswerField, OutputError
from crucibench_adapters._outputs import list_answer

TASK: Any = SimpleNamespace(
    definition=SimpleNamespace(
        fields=(
            AnswerField(name="boxes", dimensions=2, lists=True, pixels=True, check=lambda *_: None),
            AnswerField(name="classes", dimensions=1, lists=True, check=lambda *_: None),
        )
    )
)


def test_boxes_are_taken_back_to_pixels_of_the_sample() -> None:
    found = [
        {"boxes": np.array([[2.0, 8.0, 4.0, 16.0]]), "classes": np.array([7])},
        {"boxes": [], "classes": np.zeros(0, dtype=int)},
        {"boxes": np.array([[1.0, 1.0, 2.0, 3.0]]), "classes": np.array([1])},
    ]
    answer = list_answer(found, TASK, [(2.0, 4.0), (1.0, 1.0), (0.5, 1.0)], 3)
    boxes = answer.lists("boxes")
    assert boxes.lengths.tolist() == [1, 0, 1]
    assert boxes.values.tolist() == [[1.0, 2.0, 2.0, 4.0], [2.0, 1.0, 4.0, 3.0]]
    assert answer.lists("classes").values.tolist() == [7, 1]


@pytest.mark.parametrize(
    "found", [np.zeros((1, 4)), [{"boxes": np.zeros((1, 4))}], [], [{"boxes": [], "classes": []}]]
)
def test_another_form_is_refused(found: Any) -> None:
    with pytest.raises(OutputError):
        list_answer(found, TASK, None, 1)


def test_rows_that_differ_and_batches_without_an_item() -> None:
    first = Lists.of([2, 0, 1, 1], np.arange(8.0).reshape(4, 2))
    second = Lists.of([2, 1, 0, 1], np.array([[0, 1], [2, 9], [4, 5], [6, 7]], dtype=float))
    assert differing_rows(first, second).tolist() == [True, True, True, False]
    empty = Lists.of([0, 0], np.zeros((0, 2)))
    assert not differing_rows(empty, empty).any()
    assert empty.summary().tolist() == [[0.0, 0.0, 0.0]] * 2
