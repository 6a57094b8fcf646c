from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn import datasets as bundled

from crucibench.contracts.capability import InputSpec
from crucibench.util.errors import InputError


def test_digits_are_sixteenths(open_uri: Any, sources: Any) -> None:
    data = open_uri("sklearn:digits")
    plain = bundled.load_digits()
    got = data.batch("test", range(1797), InputSpec())
    assert got.inputs.shape == (1797, 1, 8, 8)
    assert np.array_equal(got.inputs.numpy()[:, 0] * 16, plain.images)
    assert data.samples("test").targets.tolist() == plain.target.tolist()
    assert data.task.classes == tuple("0123456789")
    assert sources("sklearn:digits").facts == {"scikit-learn": sklearn.__version__}
    assert data.card.licence == "CC BY 4.0"
    assert data.card.revision == f"scikit-learn {sklearn.__version__}"


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_tables_are_scikit_learns(open_uri: Any, name: str) -> None:
    data = open_uri(f"sklearn:{name}")
    plain = getattr(bundled, f"load_{name}")(as_frame=True)
    rows = range(len(plain.data))
    inputs = data.batch("test", rows, InputSpec()).inputs
    assert inputs.equals(plain.data)
    assert data.task.classes == tuple(plain.target_names)
    assert data.samples("test").targets.tolist() == plain.target.tolist()
    assert data.card.citation


def test_diabetes(open_uri: Any) -> None:
    plain = bundled.load_diabetes(scaled=False, as_frame=True)
    data = open_uri("sklearn:diabetes")
    assert data.task.kind == "regression"
    assert list(data.card.features) == list(plain.data.columns)
    samples = data.samples("test")
    assert samples.targets.tolist() == plain.target.tolist()
    assert set(samples.groups["sex"]) == {"1", "2"}
    expected = np.where(plain.data["age"] >= 50, "yes", "no")
    assert samples.groups["age>=50"].tolist() == expected.tolist()
    assert data.card.notes == ("the source codes sex as 1 and 2 and does not say which is which",)


def test_diabetes_as_a_binary_task(open_uri: Any) -> None:
    plain = bundled.load_diabetes(scaled=False)
    data = open_uri("sklearn:diabetes?threshold=140&split=0.3")
    assert data.task.classes == ("<=140", ">140")
    both = np.concatenate([data.samples(role).targets for role in data.roles])
    assert both.sum() == (plain.target > 140).sum()
    assert data.card.counts == {"test": 132, "train": 310}
    other = open_uri("sklearn:diabetes?threshold=200&groups=sex&features=age,bmi")
    assert other.card.groups == ("sex",)
    assert list(other.card.features) == ["age", "bmi"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "sklearn:digit",
            "unknown data set of scikit-learn 'digit'; did you mean 'digits'? "
            "(known: breast_cancer, diabetes, digits, iris, wine)",
        ),
        (
            "sklearn:iris?treshold=1",
            "unknown option of sklearn: 'treshold' "
            "(known: citation, classes, cluster, features, groups, licence, on_bad_sample, split, "
            "task)",
        ),
        (
            "sklearn:diabetes?threshold=x",
            "sklearn: option threshold: expected a number, got 'x'",
        ),
        (
            "sklearn:diabetes?threshold=1000",
            "sklearn: option threshold: expected a number from 25 to below 346, got 1000",
        ),
    ],
)
def test_bad_sets(open_uri: Any, uri: str, message: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: open_uri(uri)) == message
