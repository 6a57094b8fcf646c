"""The form of every number makes the same number as its row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.statistic import Ranking, Share, TableMetric
from crucibench.metrics.forms import evaluate
from crucibench_suites.accuracy.scenario import Clean

NOT_COMPARED = {
    "temperature",
    "ece-15-equal-width-top-label-before-temperature",
    "ece-15-equal-width-top-label-after-temperature",
    "top-1-train-minus-test",
    "mae-train-minus-test",
}


@pytest.mark.parametrize("clusters", [False, True])
@pytest.mark.parametrize("case", ["binary", "seven classes", "labels", "regression"])
def test_forms_make_the_numbers_of_the_rows(
    case: str, clusters: bool, build: Any, honest: Any, clean: Clean, score: Callable[..., Any]
) -> None:
    n = 240
    given: dict[str, Any] = {"clusters": [f"k{row // 2}" for row in range(n)] if clusters else None}
    if case == "regression":
        rng = np.random.default_rng(1)
        targets = rng.normal(size=n)
        given |= {"predictions": targets + rng.normal(size=n)}
    else:
        targets, scores = honest(n, [1.0, 2.0] if case == "binary" else [1.0] * 7)
        given |= {"predictions": scores.argmax(axis=1)} if case == "labels" else {"scores": scores}
    evidence = build(targets, **given)
    forms = {(one.metric, one.group): one.form for one in clean.numbers(evidence) if one.make}
    rows = score(evidence)
    for key, row in rows.items():
        if row.value is None:
            continue
        assert (key in forms) is (key[0] not in NOT_COMPARED), key
        if key in forms:
            assert evaluate(forms[key], n) == pytest.approx(row.value, abs=1e-12), key
    assert all(
        rows[key].value is not None for key in forms if not np.isnan(evaluate(forms[key], n))
    )
    if case == "binary":
        kinds = {metric: type(form) for (metric, group), form in forms.items() if not group}
        assert kinds["top-1"] is kinds["recall"] is kinds["fpr"] is Share
        assert kinds["auroc"] is Ranking and kinds["mcc"] is TableMetric
        assert not forms["precision", ""].same_samples


def test_nothing_is_computed_before_it_is_asked_for(
    build: Any, honest: Any, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed too early")

    for name in ("average_precision_statistic", "log_loss_statistic"):
        monkeypatch.setattr(f"crucibench.tasks.classification.metrics.{name}", refuse)
    targets, scores = honest(50, [1.0, 1.0])
    assert clean.numbers(build(targets, scores=scores))
