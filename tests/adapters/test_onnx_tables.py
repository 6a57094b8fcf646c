"""`onnx:` on tables and texts, and the outputs that scikit-learn's converters give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crucibench.contracts.adapter import Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.onnx_model import OnnxAdapter

WANT = frozenset({"scores", "labels"})
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
XY = tuple[pd.DataFrame, Any]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> OnnxAdapter:
    adapter = OnnxAdapter.open(opening(uri, card, **options))
    assert isinstance(adapter, OnnxAdapter)
    return adapter


def save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], stored: Any = ()
) -> None:
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=list(stored))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def tensor(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def maps(name: str, kind: int) -> Any:
    value = helper.make_tensor_type_proto(FLOAT, None)
    return helper.make_value_info(
        name, helper.make_sequence_type_proto(helper.make_map_type_proto(kind, value))
    )


def linear(model: Any, X: pd.DataFrame, **labels: Any) -> list[Any]:
    """The nodes of a logistic regression: from `x` to `label` and `p`, as converters write them."""
    scaler, last = model[0], model[-1]
    weight = last.coef_[0] / scaler.scale_
    offset = last.intercept_[0] - weight @ scaler.mean_
    return [
        helper.make_node(
            "LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml",
            coefficients=[*([0.0] * len(weight)), *weight.tolist()], intercepts=[0.0, offset],
            multi_class=1, post_transform="SOFTMAX", **labels,
        )
    ]  # fmt: skip


@pytest.fixture(scope="module")
def fitted(diabetes_xy: XY) -> Any:
    X, y = diabetes_xy
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, y)


NAMES = {"classlabels_strings": ["high", "low"]}
ONE_INPUT = [tensor("x", FLOAT, None, 10)]
LABEL, SCORES = tensor("label", STRING, None), tensor("p", FLOAT, None, 2)


def test_labels_and_probabilities(
    opening: Any, tmp_path: Path, fitted: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    save(tmp_path / "m.onnx", linear(fitted, diabetes.inputs, **NAMES), ONE_INPUT, [LABEL, SCORES])

    def open_adapter() -> OnnxAdapter:
        return opened(opening, "onnx:m.onnx", diabetes_card)

    check_adapter(open_adapter, diabetes)
    adapter = open_adapter()
    answer = adapter.predict(diabetes, WANT)
    expected = fitted.predict_proba(diabetes.inputs)[:, [1, 0]]  # classes_ is high, low
    assert np.abs(answer.scores - expected).max() < 1e-5
    assert (np.array(["low", "high"])[answer.labels] == fitted.predict(diabetes.inputs)).all()
    assert adapter.score_kind == "probabilities"
    told = adapter.diagnostics()
    assert told["notes"] == ["output 'p' beside labels is taken as probabilities"]
    assert told["preprocessing"] == {
        "encoding": "columns in their order, one input", "dtype": "float32",
    }  # fmt: skip
    assert "classes" in (adapter.fingerprint() or {})
    assert Capability.MISSING_VALUES not in adapter.capabilities


@pytest.mark.parametrize(
    ("kind", "labels"),
    [(STRING, NAMES), (INT64, {"classlabels_ints": [1, 0]})],
    ids=["strings", "numbers"],
)
def test_maps(
    opening: Any,
    tmp_path: Path,
    fitted: Any,
    diabetes_card: DataCard,
    diabetes: Batch,
    kind: int,
    labels: Any,
) -> None:
    nodes = linear(fitted, diabetes.inputs, **labels)
    of_map = {key.replace("_ints", "_int64s"): value for key, value in labels.items()}
    nodes.append(helper.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", **of_map))
    outputs = [tensor("label", kind, None), maps("maps", kind)]
    save(tmp_path / "m.onnx", nodes, ONE_INPUT, outputs)
    classes = None if kind == STRING else {"1": "high", "0": "low"}

    def open_adapter() -> OnnxAdapter:
        return opened(opening, "onnx:m.onnx", diabetes_card, classes=classes)

    check_adapter(open_adapter, diabetes)
    expected = fitted.predict_proba(diabetes.inputs)[:, [1, 0]]
    assert np.abs(open_adapter().predict(diabetes, WANT).scores - expected).max() < 1e-5


def test_labels_alone(
    opening: Any, tmp_path: Path, fitted: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    save(tmp_path / "m.onnx", linear(fitted, diabetes.inputs, **NAMES), ONE_INPUT, [LABEL])
    save(tmp_path / "b.onnx", linear(fitted, diabetes.inputs, **NAMES), ONE_INPUT, [LABEL, SCORES])
    numbered = linear(fitted, diabetes.inputs, classlabels_ints=[1, 0])
    save(tmp_path / "n.onnx", numbered, ONE_INPUT, [tensor("label", INT64, None)])
    expected = fitted.predict(diabetes.inputs) == "high"
    plainly = linear(fitted, diabetes.inputs, classlabels_ints=[0, 1])
    save(tmp_path / "z.onnx", plainly, ONE_INPUT, [tensor("label", INT64, None)])
    for uri, classes in (
        ("onnx:m.onnx", None),
        ("onnx:b.onnx?output=labels", None),
        ("onnx:n.onnx", {"1": "high", "0": "low"}),
        ("onnx:n.onnx", ("high", "low")),
        ("onnx:z.onnx", ("high", "low")),
        ("onnx:z.onnx", {"0": "high", "1": "low"}),
    ):
        adapter = opened(opening, uri, diabetes_card, classes=classes)
        check_adapter(lambda kept=adapter: kept, diabetes)  # type: ignore[misc]
        assert adapter.capabilities == {Capability.LABELS, Capability.ANY_INPUT}
        assert (adapter.predict(diabetes, frozenset({"labels"})).labels == expected).all()
    by_index = opened(opening, "onnx:z.onnx", diabetes_card)  # 0 is low: the other way round
    labels = by_index.predict(diabetes, frozenset({"labels"})).labels
    assert labels is not None and (labels != expected).all()
    with pytest.raises(InputError, match=r"^n.onnx: its classes are not the data's: the model ha"):
        opened(opening, "onnx:n.onnx", diabetes_card)
    with pytest.raises(InputError, match=r"classes: expected one name for each of 1, 0, got a$"):
        opened(opening, "onnx:n.onnx", diabetes_card, classes=("a",))


@pytest.mark.parametrize(
    ("classes", "declared", "expected"),
    [
        (("7", "8", "9"), ("7", "8", "9"), [0, 1, 2]),
        (("a", "b", "c"), None, [0, 1, 2]),
        (("c", "b", "a"), ("a", "b", "c"), [2, 1, 0]),
        (("2", "1", "0"), None, [2, 1, 0]),
    ],
)
def test_whole_numbers_as_labels(
    opening: Any, tmp_path: Path, classes: Any, declared: Any, expected: list[int]
) -> None:
    node = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)
    save(tmp_path / "m.onnx", [node], [tensor("x", FLOAT, None, 3)], [tensor("y", INT64, None)])
    task = Task(kind="classification", modality=Modality.TABLE, classes=classes)
    card = DataCard(name="t", uri="t", task=task, features=dict.fromkeys("abc", "float64"))
    batch = Batch(tuple("xyz"), pd.DataFrame(np.eye(3), columns=list("abc")))
    adapter = opened(opening, "onnx:m.onnx", card, classes=declared)
    labels = adapter.predict(batch, frozenset({"labels"})).labels
    assert labels is not None and labels.tolist() == expected
    check_adapter(lambda: opened(opening, "onnx:m.onnx", card, classes=declared), batch)


def test_margins_beside_labels_are_not_taken_for_probabilities(
    opening: Any, tmp_path: Path, fitted: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    (node,) = linear(fitted, diabetes.inputs, **NAMES)
    next(entry for entry in node.attribute if entry.name == "post_transform").s = b"NONE"
    save(tmp_path / "m.onnx", [node], ONE_INPUT, [LABEL, SCORES])
    with pytest.raises(InputError, match=r"^m.onnx: output 'p' stands beside labels and is no pro"):
        opened(opening, "onnx:m.onnx", diabetes_card)
    adapter = opened(opening, "onnx:m.onnx?output=logits", diabetes_card)
    assert Capability.LOGITS in adapter.capabilities
    check_adapter(lambda: opened(opening, "onnx:m.onnx?output=logits", diabetes_card), diabetes)


def test_an_input_for_each_column(
    opening: Any, tmp_path: Path, fitted: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    names = list(diabetes.inputs.columns)
    order = names[::-1]
    join = helper.make_node("Concat", names, ["x"], axis=1)
    inputs = [tensor(name, FLOAT, None, 1) for name in order]
    nodes = [join, *linear(fitted, diabetes.inputs, **NAMES)]
    save(tmp_path / "m.onnx", nodes, inputs, [LABEL, SCORES])
    check_adapter(lambda: opened(opening, "onnx:m.onnx", diabetes_card), diabetes)
    scores = opened(opening, "onnx:m.onnx", diabetes_card).predict(diabetes, WANT).scores
    expected = fitted.predict_proba(diabetes.inputs)[:, [1, 0]]
    assert np.abs(scores - expected).max() < 1e-5
    features = {name: kind for name, kind in diabetes_card.features.items() if name != "bmi"}
    card = DataCard(name="d", uri="d", task=diabetes_card.task, features=features)
    with pytest.raises(InputError) as caught:
        opened(opening, "onnx:m.onnx", card)
    assert str(caught.value) == (
        "m.onnx: the data lacks 1 of the 10 columns that it has inputs for: bmi (the data has: "
        f"{', '.join(features)})"
    )


MIXED = pd.DataFrame(
    {"colour": ["red", "blue", "red", "green"], "size": [1, 2, 3, 4], "w": [0.5, 1.5, 2.0, 0.0]}
)


def mixed(path: Path) -> None:
    """Scores from a word, a whole number and a float, each an input of its own."""
    nodes = [
        helper.make_node(
            "LabelEncoder", ["colour"], ["c"], domain="ai.onnx.ml", default_float=0.0,
            keys_strings=["red", "blue"], values_floats=[1.0, -1.0],
        ),
        helper.make_node("Cast", ["size"], ["s"], to=FLOAT),
        helper.make_node("Concat", ["c", "s", "w"], ["x"], axis=1),
        helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1),
    ]  # fmt: skip
    inputs = [tensor("colour", STRING, None, 1), tensor("size", INT64, None, 1)]
    inputs.append(tensor("w", FLOAT, None, 1))
    axes = helper.make_tensor("axes", INT64, [1], [1])
    save(path, nodes, inputs, [tensor("y", FLOAT, None, 1)], [axes])


def test_words_whole_numbers_and_gaps(opening: Any, tmp_path: Path) -> None:
    mixed(tmp_path / "m.onnx")
    task = Task(kind="classification", modality=Modality.TABLE, classes=("no", "yes"))
    features = {"colour": "string", "size": "int64", "w": "float64"}
    card = DataCard(name="t", uri="t", task=task, features=features)
    batch = Batch(tuple("abcd"), MIXED)
    check_adapter(lambda: opened(opening, "onnx:m.onnx", card), batch)
    adapter = opened(opening, "onnx:m.onnx", card)
    scores = adapter.predict(batch, WANT).scores
    assert scores is not None
    assert np.allclose(scores, [[0, 2.5], [0, 2.5], [0, 6.0], [0, 4.0]])
    for column, value, told in (
        ("colour", None, "column 'colour': 1 of 4 are missing, and input 'colour' takes string"),
        ("size", np.nan, "column 'size': 1 of 4 are missing, and input 'size' takes int64"),
        ("size", 1.5, "column 'size' is not whole numbers, and input 'size' takes int64"),
        ("w", "much", "column 'w' is not numbers, and input 'w' takes float"),
    ):
        frame = MIXED.astype({column: object})
        frame.loc[1, column] = value
        with pytest.raises(InputError) as caught:
            adapter.predict(batch.with_inputs(frame), WANT)
        assert str(caught.value) == f"m.onnx: {told}"


def test_regression_and_missing_values(
    opening: Any,
    tmp_path: Path,
    diabetes_regression_card: DataCard,
    diabetes: Batch,
    diabetes_frame: pd.DataFrame,
) -> None:
    X, y = diabetes_frame.drop(columns="target"), diabetes_frame["target"]
    model = LinearRegression().fit(X, y)
    nodes = [
        helper.make_node(
            "Imputer", ["x"], ["full"], domain="ai.onnx.ml",
            imputed_value_floats=X.mean().tolist(), replaced_value_float=float("nan"),
        ),
        helper.make_node(
            "LinearRegressor", ["full"], ["y"], domain="ai.onnx.ml",
            coefficients=model.coef_.tolist(), intercepts=[float(model.intercept_)],
        ),
    ]  # fmt: skip
    save(tmp_path / "m.onnx", nodes, ONE_INPUT, [tensor("y", FLOAT, None, 1)])
    save(
        tmp_path / "p.onnx",
        nodes[1:],
        [tensor("full", FLOAT, None, 10)],
        [tensor("y", FLOAT, None, 1)],
    )

    def open_adapter(name: str = "m") -> OnnxAdapter:
        return opened(opening, f"onnx:{name}.onnx", diabetes_regression_card)

    check_adapter(open_adapter, diabetes)
    values = open_adapter().predict(diabetes, frozenset({"values"})).values
    assert np.allclose(values, model.predict(diabetes.inputs), rtol=1e-4)
    assert open_adapter().capabilities == {
        Capability.VALUES, Capability.ANY_INPUT, Capability.MISSING_VALUES,
    }  # fmt: skip
    assert Capability.MISSING_VALUES not in open_adapter("p").capabilities
    with pytest.raises(InputError, match="option output is for classification"):
        opened(opening, "onnx:m.onnx?output=logits", diabetes_regression_card)


def test_texts(opening: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "LabelEncoder", ["text"], ["y"], domain="ai.onnx.ml", default_float=-1.0,
            keys_strings=["win money", "free"], values_floats=[2.0, 1.0],
        )
    ]  # fmt: skip
    task = Task(kind="classification", modality=Modality.TEXT, classes=("ham", "spam"))
    card = DataCard(name="t", uri="t", task=task, features={"text": "string"})
    batch = Batch(tuple("abc"), ["win money", "hello", "free"])
    for name, shape in (("flat", [None]), ("column", [None, 1]), ("fixed", [2, 1])):
        save(tmp_path / f"{name}.onnx", nodes, [tensor("text", STRING, *shape)],
             [tensor("y", FLOAT, *shape)])  # fmt: skip
        check_adapter(lambda name=name: opened(opening, f"onnx:{name}.onnx", card), batch)  # type: ignore[misc]
        scores = opened(opening, f"onnx:{name}.onnx", card).predict(batch, WANT).scores
        assert scores is not None and scores[:, 1].tolist() == [2.0, -1.0, 1.0]


def test_several_columns_of_text(opening: Any, tmp_path: Path) -> None:
    encode = {"domain": "ai.onnx.ml", "keys_strings": ["a"], "values_floats": [1.0]}
    nodes = [
        helper.make_node("LabelEncoder", ["title"], ["t"], default_float=0.0, **encode),
        helper.make_node("LabelEncoder", ["body"], ["b"], default_float=-3.0, **encode),
        helper.make_node("Add", ["t", "b"], ["y"]),
    ]
    inputs = [tensor("title", STRING, None, 1), tensor("body", STRING, None, 1)]
    save(tmp_path / "m.onnx", nodes, inputs, [tensor("y", FLOAT, None, 1)])
    task = Task(kind="classification", modality=Modality.TEXT, classes=("ham", "spam"))
    card = DataCard(name="t", uri="t", task=task, features={"title": "string", "body": "string"})
    batch = Batch(tuple("abc"), [("a", "b"), ("b", "a"), ("a", "a")])
    check_adapter(lambda: opened(opening, "onnx:m.onnx", card), batch)
    scores = opened(opening, "onnx:m.onnx", card).predict(batch, WANT).scores
    assert scores is not None and scores[:, 1].tolist() == [-2.0, 1.0, 2.0]
    alone = DataCard(name="t", uri="t", task=task, features={"text": "string"})
    with pytest.raises(InputError, match=r"^m.onnx: it has 2 inputs, the data 1 columns$"):
        opened(opening, "onnx:m.onnx", alone)


# Mistakes.


def test_tables_that_do_not_suit(
    opening: Any, tmp_path: Path, fitted: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    nodes = linear(fitted, diabetes.inputs, **NAMES)
    save(tmp_path / "m.onnx", nodes, ONE_INPUT, [LABEL, SCORES])
    features = dict(list(diabetes_card.features.items())[:3])
    card = DataCard(name="d", uri="d", task=diabetes_card.task, features=features)
    for options, told in (
        ({}, "m.onnx: input 'x' takes 10 columns, the data has 3: age, sex, bmi"),
        ({"uri": "?layout=nchw"}, "m.onnx: option layout is for images"),
        (
            {"normalisation": Normalisation(scale=2.0)},
            "m.onnx: normalisation and size are for images; a model for tables declares encode",
        ),
    ):
        query = options.pop("uri", "")
        with pytest.raises(InputError) as caught:
            opened(opening, f"onnx:m.onnx{query}", card, **options)
        assert str(caught.value) == told


def test_several_outputs_must_be_told_apart(
    opening: Any, tmp_path: Path, diabetes_card: DataCard, diabetes: Batch
) -> None:
    weight = helper.make_tensor("w", FLOAT, [10, 2], np.linspace(-1, 1, 20).tolist())
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["gates"]),
    ]
    outputs = [tensor("logits", FLOAT, None, 2), tensor("gates", FLOAT, None, 2)]
    save(tmp_path / "m.onnx", nodes, ONE_INPUT, outputs, [weight])
    with pytest.raises(InputError) as caught:
        opened(opening, "onnx:m.onnx", diabetes_card)
    assert str(caught.value) == (
        "m.onnx: expected one output of numbers, got logits tensor(float), gates tensor(float): "
        "say scores=NAME"
    )
    check_adapter(lambda: opened(opening, "onnx:m.onnx?scores=logits", diabetes_card), diabetes)
