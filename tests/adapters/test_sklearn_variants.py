"""Forms of an estimator: threads where answering heeds them; weights where there are some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.util.errors import InputError
from crucibench_adapters.sklearn_estimator import SklearnAdapter

SCORES = frozenset({"scores"})


def opened(opening: Any, card: DataCard, estimator: Any) -> SklearnAdapter:
    found = SklearnAdapter.open(opening("live:model", card, live=estimator))
    assert isinstance(found, SklearnAdapter)
    return found


@pytest.fixture(scope="module")
def forest(digits_xy: tuple[Any, Any]) -> Any:
    X, y = digits_xy
    return make_pipeline(
        StandardScaler(), RandomForestClassifier(n_estimators=8, max_depth=4, random_state=0)
    ).fit(X[:300] / 16, y[:300])


def test_a_forest_answers_alike_with_any_threads(
    opening: Any, digits_card: DataCard, digits: Batch, forest: Any
) -> None:
    adapter = opened(opening, digits_card, forest)
    variant = adapter.with_variant("threads-2")
    assert forest[-1].n_jobs is None  # the caller's own estimator stays as it is
    assert variant._estimator[-1].n_jobs == 2  # type: ignore[attr-defined]
    plain, other = (one.predict(digits, SCORES).scores for one in (adapter, variant))
    np.testing.assert_allclose(plain, other, atol=1e-12)
    assert variant.numerics()["n_jobs"] == "2"
    assert adapter.with_variant("fp32") is adapter


def test_a_variant_is_told_from_the_model_by_its_fingerprint(
    opening: Any, digits_card: DataCard, forest: Any, tmp_path: Path
) -> None:
    skops.io.dump(forest, tmp_path / "forest.skops")
    adapter = SklearnAdapter.open(opening("sklearn:forest.skops", digits_card))
    kept, changed = adapter.fingerprint(), adapter.with_variant("threads-2").fingerprint()
    assert kept is not None and changed == {**kept, "variant": "threads-2"}


def test_variants_that_there_are_not(
    opening: Any, digits_card: DataCard, digits_xy: tuple[Any, Any], forest: Any
) -> None:
    X, y = digits_xy
    linear = LogisticRegression(max_iter=20, tol=1.0).fit(X[:200] / 16, y[:200])
    for model, variant, message in (
        (linear, "threads-2", "LogisticRegression does not divide the work"),
        (forest, "thread-2", "unknown variant 'thread-2'; did you mean 'threads-1'"),
        (forest, "int8", "unknown variant 'int8'"),
    ):
        with pytest.raises(InputError, match=message):
            opened(opening, digits_card, model).with_variant(variant)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_weights_are_counted_where_there_are_some(
    opening: Any, digits_card: DataCard, digits_xy: tuple[Any, Any], forest: Any
) -> None:
    X, y = digits_xy[0][:200] / 16, digits_xy[1][:200]
    linear = LogisticRegression(max_iter=20, tol=1.0).fit(X, y)
    layers = MLPClassifier((5,), max_iter=1, random_state=0).fit(X, y)
    told = [opened(opening, digits_card, one).diagnostics() for one in (linear, layers, forest)]
    assert told[0]["parameters"] == 64 * 10 + 10
    assert told[1]["parameters"] == 64 * 5 + 5 + 5 * 10 + 10
    assert "parameters" not in told[2]
