"""`sklearn:`: mistakes of the user's, each told in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    IsolationForest,
)
from sklearn.linear_model import LinearRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB

from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.contracts.uri import parse_uri
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.sklearn_estimator import SklearnAdapter

XY = tuple[Any, Any]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> SklearnAdapter:
    adapter = SklearnAdapter.open(opening(uri, card, **options))
    assert isinstance(adapter, SklearnAdapter)
    return adapter


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("sklearn:m.skop", "'m.skop': expected FILE.skops, FILE.py:FACTORY or PKG.MOD:FACTORY, "),
        ("sklearn:mm.skops", "file 'mm.skops' does not exist; did you mean 'm.skops'?"),
        ("sklearn:m.skops?trusted=a.B", "unknown option of sklearn: 'trusted'; did you mean 'tru"),
        ("sklearn:m.skops?scale=x", "option scale: expected a number above 0, got 'x'"),
        ("sklearn:m.py", "file 'm.py' does not exist in"),
    ],
)
def test_mistakes_show_before_anything_is_loaded(tmp_path: Path, uri: str, told: str) -> None:
    (tmp_path / "m.skops").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        SklearnAdapter.sources(parse_uri(uri), tmp_path)
    assert str(caught.value).startswith(told)


def test_damaged_files(opening: Any, tmp_path: Path, diabetes_card: DataCard) -> None:
    (tmp_path / "m.skops").write_bytes(b"no zip")
    with pytest.raises(InputError) as caught:
        opened(opening, "sklearn:m.skops", diabetes_card)
    assert str(caught.value) == (
        "m.skops can't be read by skops: BadZipFile: File is not a zip file"
    )
    (tmp_path / "m.pkl").write_bytes(b"no pickle")
    with pytest.raises(InputError, match=r"^m.pkl can't be read: "):
        opened(opening, "sklearn:m.pkl", diabetes_card, allow_pickle=True)


def test_the_wrong_kind_of_estimator(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, diabetes_frame: pd.DataFrame
) -> None:
    X, y = diabetes_xy
    for live, told in (
        (
            LinearRegression().fit(X, diabetes_frame["target"]),
            "the live LinearRegression: LinearRegression is made for regression, the data asks "
            "for classification",
        ),
        (
            IsolationForest(n_estimators=2).fit(X),
            "the live IsolationForest: IsolationForest is made for outlier_detector, the data "
            "asks for classification",
        ),
        (
            MultiOutputClassifier(GaussianNB()).fit(X, np.stack([y, y], axis=1)),
            "the live MultiOutputClassifier: MultiOutputClassifier predicts several targets at "
            "once",
        ),
    ):
        with pytest.raises(InputError) as caught:
            opened(opening, "sklearn:live", diabetes_card, live=live)
        assert str(caught.value) == told


def test_classes_are_matched_or_shown(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, diabetes: Batch
) -> None:
    X, y = diabetes_xy

    def scores(labels: Any) -> Any:
        model = GaussianNB().fit(X, labels)
        adapter = opened(opening, "sklearn:live", diabetes_card, live=model)
        return adapter.predict(diabetes, frozenset({"scores"})).scores

    by_name = scores(y)
    assert np.array_equal(scores((y == "high").astype(int)), by_name)
    assert np.array_equal(scores(y == "high"), by_name)
    assert np.array_equal(scores((y == "high").astype(np.int8)), by_name)
    with pytest.raises(InputError) as caught:
        scores(np.where(y == "high", "ill", "well"))
    assert str(caught.value) == (
        "the live GaussianNB: its classes are not the data's: the model has ill, well; "
        "the data has low, high"
    )


def test_columns_are_found_by_name(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, diabetes: Batch
) -> None:
    X, y = diabetes_xy
    model = GaussianNB().fit(X[["s1", "bmi"]], y)
    adapter = opened(opening, "sklearn:live", diabetes_card, live=model)
    scores = adapter.predict(diabetes, frozenset({"scores"})).scores
    expected = model.predict_proba(diabetes.inputs[["s1", "bmi"]])[:, [1, 0]]
    assert np.array_equal(scores, expected)


def test_missing_columns_are_named(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, diabetes: Batch
) -> None:
    X, y = diabetes_xy
    renamed = X.rename(columns={"bmi": "BMI", "s1": "tc"})
    has = ", ".join(X.columns)
    with pytest.raises(InputError) as caught:
        opened(opening, "sklearn:live", diabetes_card, live=GaussianNB().fit(renamed, y))
    assert str(caught.value) == (
        "the live GaussianNB: the data lacks 2 of the 10 columns that it was fitted on: BMI, tc "
        f"(the data has: {has})"
    )
    unnamed = GaussianNB().fit(X.to_numpy()[:, :4], y)
    with pytest.raises(InputError) as caught:
        opened(opening, "sklearn:live", diabetes_card, live=unnamed)
    assert str(caught.value) == (
        "the live GaussianNB: it was fitted on 4 columns without names, the data has 10: " + has
    )
    whole = GaussianNB().fit(X.to_numpy(), y)
    check_adapter(lambda: opened(opening, "sklearn:live", diabetes_card, live=whole), diabetes)


def test_scale_is_for_images(opening: Any, diabetes_card: DataCard, diabetes_xy: XY) -> None:
    with pytest.raises(InputError, match=r"^the live GaussianNB: option scale is for images$"):
        opened(
            opening,
            "sklearn:live?scale=16",
            diabetes_card,
            live=GaussianNB().fit(*diabetes_xy),
        )
