"""`python:`: functions from inputs to scores, labels or values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.naive_bayes import GaussianNB

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import OutputError
from crucibench.contracts.uri import parse_uri
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.python_function import FunctionAdapter

Write = Callable[[str, str], Path]

FUNCTIONS = """
    import numpy as np
    import pandas as pd
    import torch
    from crucibench.contracts.batch import Batch

    def tensor(images):
        return images.flatten(1)[:, 20:30].softmax(dim=1)

    def logits(images):
        return images.flatten(1)[:, 20:30].bfloat16()

    def names(images):
        return [str(i) for i in images.flatten(1)[:, 20:30].argmax(dim=1).tolist()]

    def indices(images):
        return images.flatten(1)[:, 20:30].argmax(dim=1)

    def strange(images):
        return ["eleven"] * len(images)

    def five(images):
        return images.flatten(1)[:, :5].softmax(dim=1)

    def column(frame):
        return 1 / (1 + np.exp(-(frame["bmi"] - 25) / 5))

    def frame(frame):
        p = column(frame)
        return pd.DataFrame({"low": 1 - p, "high": p})

    def value(frame):
        return frame[["bmi"]] * 5

    def whole(batch: Batch):
        assert len(batch.ids) == len(batch.inputs)
        return column(batch.inputs)

    class Model:
        def __init__(self):
            self.slope = 5

        def __call__(self, batch: "Batch"):
            return column(batch.inputs)

    class Broken(Model):
        def __init__(self):
            raise OSError("disk gone")

    number = 3
"""


@pytest.fixture(autouse=True)
def functions(write: Write) -> None:
    write("functions.py", FUNCTIONS)


@pytest.mark.parametrize(
    ("rest", "capabilities"),
    [
        ("tensor", {Capability.SCORES}),
        ("logits?output=logits", {Capability.SCORES, Capability.LOGITS}),
        ("names?output=labels", set()),
        ("indices?output=labels", set()),
    ],
)
def test_images(
    opening: Any,
    digits_card: DataCard,
    digits: Batch,
    rest: str,
    capabilities: set[Capability],
) -> None:
    def open_adapter() -> Any:
        return FunctionAdapter.open(opening(f"python:functions.py:{rest}", digits_card))

    check_adapter(open_adapter, digits)
    adapter = open_adapter()
    assert adapter.capabilities == capabilities | {Capability.LABELS, Capability.ANY_INPUT}
    assert adapter.fingerprint() is None
    labels = adapter.predict(digits, frozenset({"labels"})).labels
    assert (labels == digits.inputs.flatten(1)[:, 20:30].argmax(dim=1).numpy()).all()


@pytest.mark.parametrize("name", ["column", "frame", "whole", "Model"])
def test_binary_tables(opening: Any, diabetes_card: DataCard, diabetes: Batch, name: str) -> None:
    def open_adapter() -> Any:
        return FunctionAdapter.open(opening(f"python:functions.py:{name}", diabetes_card))

    check_adapter(open_adapter, diabetes)
    scores = open_adapter().predict(diabetes, frozenset({"scores"})).scores
    positive = 1 / (1 + np.exp(-(diabetes.inputs["bmi"].to_numpy() - 25) / 5))
    assert np.allclose(scores, np.stack([1 - positive, positive], axis=1))


def test_regression(opening: Any, diabetes_regression_card: DataCard, diabetes: Batch) -> None:
    def open_adapter() -> Any:
        return FunctionAdapter.open(opening("python:functions.py:value", diabetes_regression_card))

    check_adapter(open_adapter, diabetes)
    values = open_adapter().predict(diabetes, frozenset({"values"})).values
    assert np.array_equal(values, diabetes.inputs["bmi"] * 5)


def test_live_functions(opening: Any, digits_card: DataCard, digits: Batch) -> None:
    def live(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, 20:30].softmax(dim=1)

    assert FunctionAdapter.accepts(live)
    assert not FunctionAdapter.accepts(torch.nn.Linear(1, 1))
    assert not FunctionAdapter.accepts(GaussianNB())
    assert not FunctionAdapter.accepts(GaussianNB)
    assert not FunctionAdapter.accepts(3)
    check_adapter(lambda: FunctionAdapter.open(opening("live:f", digits_card, live=live)), digits)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("python:functions.py:tensors", "unknown function of functions.py 'tensors'; did you me"),
        ("python:function.py:tensor", "file 'function.py' does not exist in"),
        ("python:functions.py:tensor?outputs=labels", "unknown option of python: 'outputs'; did"),
        ("python:functions.py:tensor?output=label", "unknown output of python: 'label'; did you"),
    ],
)
def test_mistakes_show_before_anything_is_loaded(
    tmp_path: Path, uri: str, told: str, refusal: Any
) -> None:
    assert refusal(
        InputError, lambda: FunctionAdapter.sources(parse_uri(uri), tmp_path)
    ).startswith(told)


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("Broken", "functions.py:Broken raised OSError: disk gone"),
        ("number", "functions.py:number: expected a function or a class, got int 'number'"),
        (
            "tensor?output=values",
            "functions.py:tensor: output=values for data that asks for classification",
        ),
    ],
)
def test_what_is_no_function_of_that_kind(
    opening: Any, digits_card: DataCard, rest: str, told: str, refusal: Any
) -> None:
    assert (
        refusal(
            InputError,
            lambda: FunctionAdapter.open(opening(f"python:functions.py:{rest}", digits_card)),
        )
        == told
    )


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (
            "strange?output=labels",
            "functions.py:strange: unknown class 'eleven' (known: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)",
        ),
        (
            "names",
            "functions.py:names: expected probabilities as numbers, got <U1; for labels say "
            "output=labels",
        ),
        ("five", "scores: the data has 10 classes, the model returned 5 columns"),
    ],
)
def test_wrong_answers_fail_the_cell(
    opening: Any, digits_card: DataCard, digits: Batch, rest: str, told: str, refusal: Any
) -> None:
    adapter = FunctionAdapter.open(opening(f"python:functions.py:{rest}", digits_card))
    assert refusal(OutputError, lambda: adapter.predict(digits, frozenset({"labels"}))) == told
