"""Answers of any length: known answers, the way back from a resized image, refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.task import AnswerField, OutputError
from crucibench_adapters._lists import list_answer

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
