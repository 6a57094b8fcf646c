"""What a served model answers is what the same model answers here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from crucibench.contracts.adapter import Adapter, InputError, Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, OutputError, Task
from crucibench.testing import check_adapter

pytestmark = pytest.mark.sockets

Opener = Callable[..., Adapter]
SCORES = frozenset({"scores", "labels"})
BINARY = ["binary_tensor_data"]


def _scores(adapter: Adapter, batch: Batch) -> np.ndarray:
    outputs = adapter.predict(batch, SCORES)
    assert outputs.scores is not None and outputs.labels is not None
    assert (outputs.labels == outputs.scores.argmax(axis=1)).all()
    return outputs.scores


@pytest.mark.parametrize("extensions", [[], BINARY])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16", "BF16"])
def test_the_same_labels_and_probabilities_as_here(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch,
    expected: np.ndarray, extensions: list[str], datatype: str,
) -> None:  # fmt: skip
    serving_digits = serving_digits | {
        "inputs": [{"name": "pixels", "datatype": datatype, "shape": [-1, 1, 8, 8]}],
        "answers": [["probabilities", datatype]],
        "extensions": extensions,
    }
    server.set(**serving_digits)
    adapter = open_served()
    scores = _scores(adapter, digits)
    if datatype in {"FP32", "FP64"}:
        assert np.abs(scores - expected).max() < 1e-5
    else:
        assert np.abs(scores - expected).max() < {"FP16": 5e-3, "BF16": 5e-2}[datatype]
    clear = np.sort(expected, axis=1)[:, -1] > 0.6
    assert (scores.argmax(axis=1) == expected.argmax(axis=1))[clear].all()
    assert adapter.numerics()["encoding"] == ("binary" if extensions else "json")
    assert adapter.fingerprint() is None
    assert adapter.capabilities == {
        Capability.LABELS, Capability.SCORES, Capability.ANY_INPUT
    }  # fmt: skip


@pytest.mark.parametrize("query", ["", "binary=true&batch=5", "output=labels"])
def test_it_conforms(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch, query: str
) -> None:
    answers = [["labels", "INT64"]] if "labels" in query else [["probabilities", "FP64"]]
    shape = {"outputs": [{"name": answers[0][0], "datatype": answers[0][1], "shape": [-1, 10]}]}
    server.set(**serving_digits | shape | {"answers": answers})
    check_adapter(lambda: open_served(query), digits)


@pytest.mark.parametrize(
    ("shape", "query", "sent"),
    [
        ([-1, 1, 8, 8], "", [2, 1, 8, 8]),
        ([-1, 8, 8, 1], "", [2, 8, 8, 1]),
        ([-1, -1, -1, -1], "layout=nhwc", [2, 8, 8, 1]),
        ([-1, 8, 8], "", [2, 8, 8]),
        ([-1, 64], "", [2, 64]),
        (None, "", [2, 1, 8, 8]),
        (None, "layout=flat&input=x", [2, 64]),
    ],
)
def test_layouts(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch,
    expected: np.ndarray, shape: list[int] | None, query: str, sent: list[int],
) -> None:  # fmt: skip
    tensors = [] if shape is None else [{"name": "x", "datatype": "FP32", "shape": shape}]
    server.set(**serving_digits | {"inputs": tensors})
    adapter = open_served(query)
    assert np.abs(_scores(adapter, digits.take([0, 1])) - expected[:2]).max() < 1e-5
    (body,) = server.seen()["bodies"]
    assert json.loads(body)["inputs"][0]["shape"] == sent
    fixed = shape is not None and 8 in shape
    assert adapter.input_spec.size == ((8, 8) if fixed else None)


def test_bytes_of_pixels_and_normalisation(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch,
    expected: np.ndarray,
) -> None:  # fmt: skip
    pixels = [{"name": "x", "datatype": "UINT8", "shape": [-1, 1, 8, 8]}]
    server.set(**serving_digits | {"inputs": pixels, "scale": 1 / 255})
    adapter = open_served()
    assert np.abs(_scores(adapter, digits) - expected).max() < 0.05
    assert "from 0 to 255" in str(adapter.diagnostics()["notes"])
    server.set(**serving_digits | {"scale": 1 / 4})
    normalisation = Normalisation(scale=2.0, mean=(0.5,), std=(0.25,))
    adapter = open_served(normalisation=normalisation)
    sent = (digits.inputs * 2 - 0.5) / 0.25
    adapter.predict(digits.take([3]), SCORES)
    body = json.loads(server.seen()["bodies"][0])
    assert np.allclose(body["inputs"][0]["data"], sent[3].ravel())
    assert adapter.normalisation == normalisation


@pytest.mark.parametrize(
    ("query", "config", "sizes"),
    [
        ("", {}, [32, 32]),
        ("batch=20", {}, [20, 20, 20, 4]),
        ("", {"extensions": ["model_configuration"], "max_batch_size": 40}, [40, 24]),
        ("batch=50", {"extensions": ["model_configuration"], "max_batch_size": 40}, [40, 24]),
        ("batch=3", {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64]}]}, [1] * 64),
    ],
)
def test_a_batch_is_split_and_comes_back_in_order(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch,
    expected: np.ndarray, query: str, config: dict[str, Any], sizes: list[int],
) -> None:  # fmt: skip
    server.set(**serving_digits | config | {"delays": True})
    adapter = open_served(query, remote={"concurrency": 4})
    assert np.abs(_scores(adapter, digits) - expected).max() < 1e-5
    assert sorted(server.seen()["rows"]) == sorted(sizes)
    assert adapter.diagnostics()["request_batch"] == max(sizes)


def test_classes_by_name_by_spec_and_by_position(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch,
    digits_card: DataCard, expected: np.ndarray,
) -> None:  # fmt: skip
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    task = dataclasses.replace(digits_card.task, classes=tuple(sorted(names)))
    card = dataclasses.replace(digits_card, task=task)
    order = [names.index(name) for name in task.classes]
    for parameters in (
        {"labels": names},
        {"classes": ",".join(names)},
        {"labels": json.dumps(names)},
    ):
        server.set(**serving_digits | {"parameters": parameters})
        assert np.abs(_scores(open_served(card=card), digits) - expected[:, order]).max() < 1e-5
    server.set(**serving_digits)
    told = open_served(card=card, classes=tuple(names))
    assert np.abs(_scores(told, digits) - expected[:, order]).max() < 1e-5
    by_position = open_served(card=card)
    assert np.abs(_scores(by_position, digits) - expected).max() < 1e-5
    assert "by position" in str(by_position.diagnostics()["notes"])
    server.set(**serving_digits | {"parameters": {"labels": [*names[:-1], "ten"]}})
    with pytest.raises(InputError, match="its classes are not the data's"):
        open_served(card=card)


@pytest.mark.parametrize("extensions", [[], BINARY])
def test_labels(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch,
    expected: np.ndarray, extensions: list[str],
) -> None:  # fmt: skip
    names = [str(entry) for entry in range(10)]
    for answers in (["labels", "INT64"], ["names", "BYTES"]):
        described = [{"name": answers[0], "datatype": answers[1], "shape": [-1]}]
        config = {"answers": [answers], "outputs": described, "names": names}
        config["extensions"] = extensions
        server.set(**serving_digits | config)
        adapter = open_served()
        labels = adapter.predict(digits, frozenset({"labels"})).labels
        assert (labels == expected.argmax(axis=1)).all()
        assert Capability.SCORES not in adapter.capabilities


def test_numbers_that_name_classes_are_no_positions(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch,
    digits_card: DataCard,
) -> None:  # fmt: skip
    task = dataclasses.replace(digits_card.task, classes=tuple(map(str, range(1, 11))))
    described = [{"name": "labels", "datatype": "INT64", "shape": [-1]}]
    server.set(**serving_digits | {"answers": [["labels", "INT64"]], "outputs": described})
    adapter = open_served(card=dataclasses.replace(digits_card, task=task))
    with pytest.raises(OutputError, match="unknown class '0'"):
        adapter.predict(digits, frozenset({"labels"}))


def test_one_of_several_outputs(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch,
    expected: np.ndarray,
) -> None:  # fmt: skip
    described = [
        {"name": "labels", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        {"name": "logits", "datatype": "FP32", "shape": [-1, 10]},
    ]
    answers = [[entry["name"], entry["datatype"]] for entry in described]
    server.set(**serving_digits | {"outputs": described, "answers": answers})
    with pytest.raises(InputError, match=r"the model has 3 outputs: say \?outputs=NAME \('labels"):
        open_served()
    logits = open_served("outputs=logits&output=logits")
    assert logits.score_kind == "logits" and Capability.LOGITS in logits.capabilities
    scores = _scores(logits, digits)
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert np.abs(softmax - expected).max() < 1e-5
    server.set(**serving_digits | {"outputs": described[:2], "answers": answers[:2]})
    assert np.abs(_scores(open_served(), digits) - expected).max() < 1e-5
    server.set(**serving_digits | {"outputs": [], "answers": [["deep", "FP32"]]})
    assert np.abs(_scores(open_served(), digits) - expected).max() < 1e-5


def _table_model(card: DataCard, frame: pd.DataFrame) -> tuple[dict[str, Any], np.ndarray]:
    draws = np.random.default_rng(3)
    weights = draws.normal(size=(2, frame.shape[1])) / frame.to_numpy().std(axis=0)
    logits = frame.to_numpy(dtype=float) @ weights.T
    second = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    config = {"weights": weights.tolist(), "bias": [0.0, 0.0]}
    return config, np.stack([1 - second, second], axis=1)


@pytest.mark.parametrize("extensions", [[], BINARY])
def test_tables(
    server: Any,
    open_served: Opener,
    diabetes: Batch,
    diabetes_card: DataCard,
    extensions: list[str],
) -> None:
    config, wanted = _table_model(diabetes_card, diabetes.inputs)
    config["extensions"] = extensions
    config["answers"] = [["second", "FP64"]]  # one column speaks for the second class
    columns = list(diabetes.inputs.columns)
    whole = {name for name in columns if (diabetes.inputs[name] % 1 == 0).all()}
    by_column = [
        {"name": name, "datatype": "INT32" if name in whole else "FP64", "shape": [-1, 1]}
        for name in columns
    ]
    for inputs in (
        [{"name": "features", "datatype": "FP64", "shape": [-1, len(columns)]}], by_column, [],
    ):  # fmt: skip
        server.set(**config | {"inputs": inputs})
        adapter = open_served("" if inputs else "datatype=FP64", card=diabetes_card)
        assert np.abs(_scores(adapter, diabetes) - wanted).max() < 1e-9
    check_adapter(lambda: open_served("datatype=FP64", card=diabetes_card), diabetes)


def test_regression(
    server: Any, open_served: Opener, diabetes: Batch, diabetes_regression_card: DataCard
) -> None:
    config, _ = _table_model(diabetes_regression_card, diabetes.inputs)
    server.set(**config, answers=[["value", "FP64"]])
    adapter = open_served("datatype=FP64", card=diabetes_regression_card)
    values = adapter.predict(diabetes, frozenset({"values"})).values
    assert np.allclose(values, diabetes.inputs.to_numpy() @ np.array(config["weights"])[0])
    check_adapter(lambda: open_served("datatype=FP64", card=diabetes_regression_card), diabetes)
    with pytest.raises(InputError, match="output=probabilities: the data asks for regression"):
        open_served("output=probabilities", card=diabetes_regression_card)


@pytest.mark.parametrize(
    ("datatype", "told"),
    [
        ("UINT8", "column 'bmi': 1 of .* are missing, and .* takes uint8"),
        ("BYTES", "column 'bmi': 1 of .* are missing, and .* takes string"),
        ("FP32", "input 'bmi' holds missing or infinite values, which JSON can't say"),
    ],
)
def test_values_that_a_datatype_can_not_hold(
    server: Any, open_served: Opener, diabetes: Batch, diabetes_card: DataCard, datatype: str,
    told: str,
) -> None:  # fmt: skip
    server.set(inputs=[{"name": "bmi", "datatype": datatype, "shape": [-1]}])
    frame = diabetes.inputs.copy()
    frame.loc[0, "bmi"] = np.nan
    with pytest.raises(OutputError, match=told):
        open_served(card=diabetes_card).predict(diabetes.with_inputs(frame), SCORES)
    server.set(inputs=[{"name": "s4", "datatype": "UINT8", "shape": [-1]}])
    frame["s4"] = 300
    with pytest.raises(OutputError, match=r"'s4' reaches from 300.* takes 0 to 255"):
        open_served(card=diabetes_card).predict(diabetes.with_inputs(frame), SCORES)
    assert server.seen()["requests"] == 0


@pytest.mark.parametrize("extensions", [[], BINARY])
@pytest.mark.parametrize("shape", [[-1], [-1, 1]])
def test_texts(server: Any, open_served: Opener, extensions: list[str], shape: list[int]) -> None:
    card = DataCard(
        name="reviews", uri="csv:reviews.csv",
        task=Task(kind="classification", modality=Modality.TEXT, classes=("bad", "good")),
        features={"text": "string"}, counts={"test": 4},
    )  # fmt: skip
    texts = ["a dull thing", "très bien", "", "yes"]
    server.set(
        weights=[[0.0, 0.0], [0.1, 1.0]], bias=[0.0, -1.0], extensions=extensions,
        inputs=[{"name": "text", "datatype": "BYTES", "shape": shape}],
        answers=[["probabilities", "FP64"]],
    )  # fmt: skip
    batch = Batch(tuple("abcd"), texts)
    logit = np.array([0.1 * len(text) + ("e" in text) - 1 for text in texts])
    adapter = open_served(card=card)
    assert np.abs(_scores(adapter, batch)[:, 1] - 1 / (1 + np.exp(-logit))).max() < 1e-9
    check_adapter(lambda: open_served(card=card), batch)


@pytest.mark.parametrize(
    ("inputs", "query", "told"),
    [
        ([["a", "FP32", [8, 64]]], "", "expected -1 or 1 as its first dimension"),
        ([["a", "INT64", [-1, 64]]], "", "expected FP16, BF16, FP32, FP64 or UINT8 for images"),
        ([["a", "FP32", [-1, 5, 8, 8]]], "", "expected 1 or 3 channels as nchw, got 5"),
        ([["a", "FP32", [-1, 1, 1, 8, 8]]], "", "expected 2, 3 or 4 dimensions for images"),
        ([["a", "FP32", [-1, 64]], ["b", "FP32", [-1, 2]]], "", "the model has 2 inputs, and one"),
        (
            [["a", "FP32", [-1, 64]]],
            "input=aa",
            "unknown input of the model 'aa'; did you mean 'a'",
        ),
        ([["a", "FP32", [-1, 64]]], "datatype=FP64", "datatype=FP64: the server says: 'a' (FP32"),
        ([["a", "FP99", [-1, 64]]], "", "'a': expected a datatype of the protocol, got 'FP99'"),
    ],
)
def test_models_that_images_do_not_fit(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], inputs: list[Any], query: str,
    told: str, refusal: Any,
) -> None:  # fmt: skip
    tensors = [dict(zip(("name", "datatype", "shape"), entry, strict=True)) for entry in inputs]
    server.set(**serving_digits | {"inputs": tensors})
    assert told in refusal(InputError, lambda: open_served(query))


def test_sizes(
    server: Any, open_served: Opener, serving_digits: dict[str, Any], digits: Batch
) -> None:
    server.set(**serving_digits)
    with pytest.raises(InputError, match=r"input.size: the spec says \[16, 16\], .* \[8, 8\]"):
        open_served(size=(16, 16))
    large = digits.with_inputs(torch.zeros(64, 3, 16, 16))
    with pytest.raises(InputError, match=r"does not take images of shape \[3, 16, 16\] as nchw"):
        open_served().predict(large, SCORES)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([["x", "FP32", [-1, 4]]], "takes 4 columns, the data has 10: age, sex, bmi"),
        ([["age", "FP32", [-1]], ["weight", "FP32", [-1]]], "the data lacks 1 of the model's 2"),
        ([["age", "FP32", [-1, 2]], ["bmi", "FP32", [-1]]], "'age' (FP32 [-1, 2]) is no single"),
    ],
)
def test_models_that_a_table_does_not_fit(
    server: Any,
    open_served: Opener,
    diabetes_card: DataCard,
    inputs: list[Any],
    told: str,
    refusal: Any,
) -> None:
    tensors = [dict(zip(("name", "datatype", "shape"), entry, strict=True)) for entry in inputs]
    server.set(inputs=tensors)
    assert told in refusal(InputError, lambda: open_served(card=diabetes_card))
