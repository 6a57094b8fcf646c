"""Every registered metric and task kind passes the conformance kit; broken ones do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crucibench.contracts.adapter import Answer
from crucibench.contracts.metric import metrics
from crucibench.contracts.statistic import RowMetric, Share
from crucibench.contracts.task import task_kinds
from crucibench.metrics.statistic import mean_statistic
from crucibench.testing import check_metric, check_task_kind


@pytest.mark.parametrize("name", metrics().names())
def test_every_metric_is_its_reference(name: str) -> None:
    check_metric(metrics().get(name))


def test_a_metric_that_is_not_its_reference_is_caught() -> None:
    top_1 = metrics().get("top-1")
    wrong = replace(top_1, form=lambda view: Share(~view.correct))
    with pytest.raises(AssertionError, match="its reference"):
        check_metric(wrong)
    constant = replace(
        top_1,
        form=lambda view: RowMetric(mean_statistic(np.full(len(view), top_1.reference(view)))),
    )
    with pytest.raises(AssertionError, match="counted 0, 1 or 2 times"):
        check_metric(constant)
    with pytest.raises(AssertionError, match="none of the answers"):
        check_metric(replace(top_1, applies=lambda _: "never"))


def test_every_task_kind_keeps_the_contract() -> None:
    targets = ["no", "yes", "no", "yes"]
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    kinds = task_kinds()
    check_task_kind(kinds.get("classification"), Answer(scores=scores), targets)
    check_task_kind(kinds.get("classification"), Answer(labels=np.array([0, 1, 0, 1])), targets)
    numbers = [0.5, 1.5, -2.0]
    check_task_kind(kinds.get("regression"), Answer(values=np.array(numbers)), numbers)
    with pytest.raises(AssertionError, match="perfect"):
        check_task_kind(kinds.get("regression"), Answer(values=np.zeros(3)), numbers)


def test_an_answer_of_another_kind_is_refused() -> None:
    with pytest.raises(AssertionError, match="declares no field 'values'"):
        check_task_kind(task_kinds().get("classification"), Answer(values=np.zeros(2)), ["a", "b"])
