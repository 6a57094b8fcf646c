"""Whether a model answers rows with gaps is asked, not read off its type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

import crucibench as cb
from crucibench.contracts.capability import Capability

ROWS = pd.DataFrame({"age": np.arange(60.0), "city": ["a", "b", "c"] * 20, "count": range(60)})


class _Rule(ClassifierMixin, BaseEstimator):
    """Answers by age; as a user's own class, nothing but asking shows what it makes of gaps."""

    def __init__(self, fill: float | None, alone: bool = True) -> None:
        self.fill = fill
        self.alone = alone
        self.classes_ = np.array(["no", "yes"])
        self.feature_names_in_ = np.array(["age", "city", "count"], dtype=object)

    def fit(self) -> None: ...

    def predict(self, rows: Any) -> Any:
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]

    def predict_proba(self, rows: Any) -> Any:
        age = rows["age"]
        if self.fill is not None:
            age = age.fillna(self.fill if self.alone else age.mean())
        high = 1 / (1 + np.exp(-(age.to_numpy(dtype=float) - 30) / 10))
        return np.stack([1 - high, high], axis=1)


@pytest.mark.parametrize(
    ("model", "answers"), [(_Rule(30.0), True), (_Rule(None), False), (_Rule(0.0, False), False)]
)
def test_a_model_that_answers_gaps_is_shown_gaps(
    tmp_path: Path, model: _Rule, answers: bool
) -> None:
    table = ROWS.assign(target=np.where(ROWS["age"] > 30, "yes", "no"))
    run = cb.run(
        models={"rule": model}, data=table, data_options={"target": "target"}, suites=["shift"],
        defaults={"replicates": 100}, out=tmp_path,
    )  # fmt: skip
    ((info),) = run.models.values()
    assert (Capability.MISSING_VALUES in info.capabilities) is answers
    done = {file.scenario: file.status for file in run.cells.values()}
    assert (str(done["missing_values"]) == "ok") is answers
