"""Matching a model's classes to the data's, in every adapter that has classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.naive_bayes import GaussianNB
from torch import nn

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.logged_predictions import PredictionsAdapter
from crucibench_adapters.python_function import FunctionAdapter
from crucibench_adapters.sklearn_estimator import SklearnAdapter
from crucibench_adapters.torch_module import TorchAdapter


def task(*classes: str) -> Task:
    return Task(kind="classification", modality=Modality.TABLE, classes=classes)


CAT_DOG = task("cat", "dog")


class Linear(nn.Module):
    def __init__(self, out: int, names: list[str] | None = None) -> None:
        super().__init__()
        self.fc = nn.Linear(10, out)
        if names:
            self.crucibench_classes = names

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x / 100)


def opened(opening: Any, card: DataCard, module: nn.Module, classes: Any = None) -> TorchAdapter:
    adapter = TorchAdapter.open(opening("live:m", card, live=module, classes=classes))
    assert isinstance(adapter, TorchAdapter)
    return adapter


@pytest.mark.parametrize(
    ("names", "classes", "groups"),
    [
        (["high", "low", "mid"], None, [[1], [0]]),
        (None, ("mid", "high", "low"), [[2], [1]]),
        (["a", "b", "c"], {"a": "low", "c": "low", "b": "high"}, [[0, 2], [1]]),
    ],
)
def test_torch(
    opening: Any, diabetes_card: DataCard, diabetes: Batch, names: Any, classes: Any, groups: Any
) -> None:
    torch.manual_seed(0)
    module = Linear(3, names)

    def open_adapter() -> TorchAdapter:
        return opened(opening, diabetes_card, module, classes)

    check_adapter(open_adapter, diabetes)
    adapter = open_adapter()
    with torch.no_grad():
        own = module.eval()(adapter.encode(diabetes))
        expected = torch.stack([own[:, group].logsumexp(dim=1) for group in groups], dim=1)
    scores = adapter.predict(diabetes, frozenset({"scores"})).scores
    assert np.allclose(scores, expected.numpy(), atol=1e-5)
    joined = any(len(group) > 1 for group in groups)
    assert (Capability.HEAD in adapter.capabilities) == (not joined)
    if not joined:
        assert adapter.head()[0].shape == (2, 10)
    assert set(adapter.fingerprint() or ()) >= {"classes"}
    plain = opened(opening, diabetes_card, Linear(2))
    assert "classes" not in (plain.fingerprint() or {})
    assert plain.diagnostics()["classes"].startswith("classes are matched by position")


def test_torch_takes_a_list_of_names(opening: Any, diabetes_card: DataCard) -> None:
    module = Linear(2)
    module.crucibench_classes = "low,high"  # type: ignore[assignment]
    with pytest.raises(InputError) as caught:
        opened(opening, diabetes_card, module)
    assert str(caught.value) == (
        "the live module: crucibench_classes: expected a list of names, got str"
    )


def test_one_column_speaks_for_the_model_s_second_class(
    opening: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    torch.manual_seed(0)
    module = Linear(1, ["high", "low"])
    adapter = opened(opening, diabetes_card, module)
    check_adapter(lambda: adapter, diabetes)
    scores = adapter.predict(diabetes, frozenset({"scores"})).scores
    with torch.no_grad():
        column = module(adapter.encode(diabetes)).ravel().numpy()
    assert scores is not None
    assert np.allclose(scores[:, 0] - scores[:, 1], column, atol=1e-5)
    assert adapter.diagnostics()["notes"] == [
        "the model's one column is taken as the logit of class 'low'"
    ]


def test_sklearn(
    opening: Any, diabetes_card: DataCard, diabetes: Batch, diabetes_frame: pd.DataFrame
) -> None:
    X = diabetes_frame.drop(columns="target")
    thirds = np.array(["low", "mid", "high"])[pd.qcut(diabetes_frame["target"], 3, labels=False)]
    model = GaussianNB().fit(X, thirds)  # classes_: high, low, mid

    def open_adapter(classes: Any = None) -> Any:
        return SklearnAdapter.open(
            opening("sklearn:live", diabetes_card, live=model, classes=classes)
        )

    check_adapter(open_adapter, diabetes)
    want = frozenset({"scores", "labels"})
    own = model.predict_proba(diabetes.inputs)
    narrow = open_adapter().predict(diabetes, want)
    kept = own[:, [1, 0]]
    assert np.allclose(narrow.scores, kept / kept.sum(axis=1, keepdims=True))
    assert (narrow.labels == kept.argmax(axis=1)).all()
    assert (
        "2 of the model's 3 classes speak for the data's 2" in open_adapter().diagnostics()["notes"]
    )
    joined = open_adapter({"mid": "high"}).predict(diabetes, want)
    assert np.allclose(joined.scores, np.stack([own[:, 1], own[:, 0] + own[:, 2]], axis=1))
    check_adapter(lambda: open_adapter({"mid": "high"}), diabetes)
    labels = open_adapter().predict(diabetes, frozenset({"labels"})).labels
    assert (labels == narrow.labels).all()


def test_python(opening: Any, diabetes_card: DataCard, diabetes: Batch) -> None:
    def three(frame: pd.DataFrame) -> Any:
        raised = frame["bmi"].to_numpy() / 100
        return np.stack([raised, 0.5 - raised, np.full(len(frame), 0.5)], axis=1)

    def label(frame: pd.DataFrame) -> list[str]:
        return ["HI" if bmi > 25 else "LO" for bmi in frame["bmi"]]

    def open_adapter(function: Any, classes: Any, query: str = "") -> Any:
        return FunctionAdapter.open(
            opening(f"python:live{query}", diabetes_card, live=function, classes=classes)
        )

    raised = diabetes.inputs["bmi"].to_numpy() / 100
    named = open_adapter(three, ("high", "low", "mid"))
    check_adapter(lambda: open_adapter(three, ("high", "low", "mid")), diabetes)
    scores = named.predict(diabetes, frozenset({"scores"})).scores
    assert np.allclose(scores, np.stack([1 - 2 * raised, 2 * raised], axis=1))
    numbered = open_adapter(three, {"0": "high", "1": "low", "2": "low"})
    scores = numbered.predict(diabetes, frozenset({"scores"})).scores
    assert np.allclose(scores, np.stack([1 - raised, raised], axis=1))
    mapped = open_adapter(label, {"HI": "high", "LO": "low"}, "?output=labels")
    labels = mapped.predict(diabetes, frozenset({"labels"})).labels
    assert (labels == (raised > 0.25)).all()


def test_predictions(opening: Any, tmp_path: Path) -> None:
    card = DataCard(name="d", uri="csv:d.csv", task=CAT_DOG, counts={"test": 3})
    batch = Batch(tuple("abc"), pd.DataFrame({"x": range(3)}), rows=(0, 1, 2))
    frame = pd.DataFrame(
        {
            "prediction": ["dog", "tabby", "dog"],
            "proba_tabby": [0.1, 0.5, 0.3],
            "proba_dog": [0.4, 0.2, 0.6],
            "proba_cat": [0.1, 0.2, 0.1],
            "proba_bird": [0.4, 0.1, 0.0],
        }
    )
    frame.to_csv(tmp_path / "p.csv", index=False)

    def open_adapter(query: str = "", classes: Any = None) -> Any:
        return PredictionsAdapter.open(opening(f"predictions:p.csv{query}", card, classes=classes))

    def scores(query: str = "", classes: Any = None) -> Any:
        return open_adapter(query, classes).predict(batch, frozenset({"scores"})).scores

    check_adapter(lambda: open_adapter(classes={"tabby": "cat"}), batch)
    joined = scores(classes={"tabby": "cat"})
    assert np.allclose(joined, [[1 / 3, 2 / 3], [7 / 9, 2 / 9], [0.4, 0.6]])
    of_tuple = ("bird", "dog", "cat")
    listed = scores(
        "?scores=proba_bird,proba_dog,proba_cat&prediction=prediction", {"tabby": "cat"}
    )
    assert np.allclose(listed, [[0.2, 0.8], [0.5, 0.5], [1 / 7, 6 / 7]])
    with pytest.raises(InputError, match="1 of 3 predictions are no class"):
        open_adapter("?scores=proba_bird,proba_dog,proba_cat", of_tuple)
    alone = scores("?prediction=&score=proba_dog", ("dog", "cat"))
    assert np.allclose(alone[:, 0], frame["proba_dog"])
