"""A task of a kind that nobody knows is refused, never answered as if it were classification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crucibench.contracts.adapter import Adapter, Answer, Opening
from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.suite import SuiteRequest
from crucibench.contracts.task import (
    AnswerField,
    Modality,
    OutputError,
    Task,
    task_kinds,
    task_name,
)
from crucibench.registry import suites
from crucibench.tasks.regression.kind import Regression
from crucibench.util.errors import InputError


class Tags(Regression):
    """Several labels a sample: neither one class nor one number."""

    name = "tags"
    one_number = False
    fields = (AnswerField(name="tags", dimensions=2, check=lambda array, _: None),)


class Scorer(Adapter):
    """Answers with scores, whatever is asked."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.capabilities = frozenset()

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
        return Answer(scores=np.ones((len(batch), 2)))


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> Task:
    monkeypatch.setitem(task_kinds()._loaded, "tags", Tags())
    return Task(kind="tags", modality=Modality.TABLE, classes=("red", "round"))


def test_scores_are_no_answer_to_another_kind(tags: Task) -> None:
    with pytest.raises(OutputError, match="scores: no field of an answer to tags"):
        Scorer(tags).predict(Batch(("a", "b"), [[0], [1]]), frozenset({"tags"}))


@pytest.mark.parametrize("name", ["shift", "ood", "adversarial", "bias"])
def test_suites_that_need_classes_or_numbers_say_so(tags: Task, name: str) -> None:
    suite: Any = suites().get(name)()
    model = ModelInfo(
        name="m", uri="test:m", capabilities=frozenset(), score_kind="probabilities", geometry={},
        fingerprint=None,
    )  # fmt: skip
    data = DataCard(name="d", uri="test:d", task=tags, counts={"test": 10}, groups=("sex",))
    reason = suite.scenarios(SuiteRequest(model=model, data=data, config=suite.config(),
                                          preset="quick"))  # fmt: skip
    assert isinstance(reason, str) and reason


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'regression'"):
        task_name("regresion")
