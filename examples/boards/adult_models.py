"""A model of the board of census incomes that no file of scikit-learn's own types can hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

FOLDER = Path(__file__).parent


class GroupThresholds(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Another model with a threshold for each group, so that groups are selected alike often.

    Its log-odds are moved by those of the group's threshold, so that 0.5 decides for all.
    """

    def __init__(self, model: Any = None, thresholds: dict[str, float] | None = None) -> None:
        self.model = model
        self.thresholds = thresholds

    def fit(self, X: pd.DataFrame, y: object = None) -> GroupThresholds:
        """Takes the model as it is."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return self.model is not None

    @property
    def classes_(self) -> NDArray[np.object_]:
        """Those of the model."""
        found: NDArray[np.object_] = self.model.classes_
        return found

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Those of the model."""
        found: NDArray[np.object_] = self.model.feature_names_in_
        return found

    def predict_proba(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Returns probabilities under which 0.5 is each group's threshold, shape (n, 2)."""
        assert self.thresholds is not None
        p = np.clip(self.model.predict_proba(X)[:, 1], 1e-9, 1 - 1e-9)
        # A sex that was not seen, as perturbed rows have it, gets the plain threshold.
        cut = X["sex"].map(self.thresholds).astype(float).fillna(0.5).to_numpy()
        odds = p / (1 - p) * (1 - cut) / cut
        positive = odds / (1 + odds)
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: pd.DataFrame) -> NDArray[np.object_]:
        """Returns classes, shape (n,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def boosting_parity() -> GroupThresholds:
    """Returns the boosted trees with thresholds by sex, as `adult.py` left them here."""
    # `adult.py` wrote the file itself; skops asks for this type of boosted trees by name.
    trees = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
    model = skops.io.load(FOLDER / "boosting.skops", trusted=[trees])
    return GroupThresholds(model, json.loads((FOLDER / "thresholds.json").read_text()))
