"""Matching a model's classes to the data's: tables of cases."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
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
from crucibench.contracts.lists import Lists, differing_rows
from crucibench.contracts.task import AnswerField, Modality, OutputError, Task
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters._classes import ClassMap, LabelMap
from crucibench_adapters._outputs import list_answer
from crucibench_adapters.logged_predictions import PredictionsAdapter
from crucibench_adapters.python_function import FunctionAdapter
from crucibench_adapters.sklearn_estimator import SklearnAdapter
from crucibench_adapters.torch_module import TorchAdapter


def task(*classes: str) -> Task:
    return Task(kind="classification", modality=Modality.TABLE, classes=classes)


CAT_DOG = task("cat", "dog")
THOUSAND = tuple(f"n{at:04}" for at in range(1000))


# The map alone.


@pytest.mark.parametrize(
    ("names", "declared", "width", "columns", "note"),
    [
        (["cat", "dog"], None, 2, ((0,), (1,)), ""),
        (["dog", "cat"], None, None, ((1,), (0,)), ""),
        (["dog", "bird", "cat"], None, 3, ((2,), (0,)), "2 of the model's 3 classes speak for"),
        (None, ("dog", "cat"), 2, ((1,), (0,)), ""),
        (["a", "b"], ("dog", "cat"), 2, ((1,), (0,)), ""),
        (["Katze", "Hund"], {"Katze": "cat", "Hund": "dog"}, 2, ((0,), (1,)), ""),
        (["dog", "Katze"], {"Katze": "cat"}, 2, ((1,), (0,)), ""),
        (
            ["tabby", "dog", "siamese"],
            {"tabby": "cat", "siamese": "cat"},
            3,
            ((0, 2), (1,)),
            "the model's 3 classes are joined to the data's 2",
        ),
        (
            ["tabby", "dog", "siamese", "cat", "bird"],
            {"tabby": "cat", "siamese": "cat", "bird": "parrot"},
            5,
            ((0, 2, 3), (1,)),
            "4 of the model's 5 classes speak for the data's 2; mapped to what the data has not: ",
        ),
        (["LABEL_1", "x"], {"LABEL_1": "dog", "x": "cat"}, 2, ((1,), (0,)), ""),
        (None, {"1": "cat", "0": "dog"}, 2, ((1,), (0,)), ""),
        (None, None, 2, ((0,), (1,)), "classes are matched by position: the model does not name"),
        (None, None, None, ((0,), (1,)), "classes are matched by position: the model does not"),
        (["LABEL_0", "LABEL_1"], None, 2, ((0,), (1,)), "classes are matched by index: LABEL_0"),
        (["class_0", "class_1"], None, 2, ((0,), (1,)), "classes are matched by index: class_0"),
        ([0, 1], None, 2, ((0,), (1,)), "classes are matched by index: 0 is 'cat', and so on"),
        ([0.0, 1.0], None, 2, ((0,), (1,)), "classes are matched by index: 0 is 'cat'"),
        ([False, True], None, 2, ((0,), (1,)), "classes are matched by index: False is 'cat'"),
    ],
)
def test_matches(names: Any, declared: Any, width: Any, columns: Any, note: str) -> None:
    found = ClassMap.match(names, CAT_DOG, "m", declared=declared, width=width)
    assert found.columns == columns
    assert found.note.startswith(note) and bool(note) == bool(found.note)
    assert found.identity == (columns == ((0,), (1,)) and found.width == 2)
    assert (found.fingerprint() == {}) == found.identity


@pytest.mark.parametrize(
    ("names", "declared", "width", "told"),
    [
        (
            ["ill", "well"],
            None,
            2,
            "m: its classes are not the data's: the model has ill, well; the data has cat, dog",
        ),
        (
            ["Cat", "dog"],
            None,
            2,
            "m: its classes are not the data's: the model has Cat, dog; the data has cat, dog; the "
            "model lacks cat; is 'cat' the model's 'Cat'? Map it with classes",
        ),
        (
            THOUSAND,
            None,
            1000,
            "m: its classes are not the data's: the model has 1000 (n0000, n0001, n0002, ...); the "
            "data has cat, dog",
        ),
        (
            ["tabby", "dog"],
            {"dog": "hound"},
            2,
            "m: its classes are not the data's: the model has tabby, dog; the data has cat, dog "
            "(after the mapping of classes)",
        ),
        (["cat", "dog"], {"tby": "cat"}, 2, "m: classes: it has no class 'tby' (has: cat, dog)"),
        (
            ["tabby", "dog"],
            {"taby": "cat"},
            2,
            "m: classes: it has no class 'taby'; did you mean 'tabby'? (has: tabby, dog)",
        ),
        (
            None,
            ("cat", "dog", "bird"),
            2,
            "m: classes: expected one name for each of its 2 scores, got cat, dog, bird",
        ),
        (
            None,
            None,
            3,
            "m: it has 3 classes without names of their own, the data has 2 (cat, dog): name the "
            "model's with classes",
        ),
        (
            ["LABEL_0", "LABEL_1", "LABEL_2"],
            None,
            3,
            "m: it has 3 classes without names of their own (LABEL_0, LABEL_1, LABEL_2), the data "
            "has 2 (cat, dog): name the model's with classes",
        ),
        (
            None,
            {"tabby": "cat"},
            None,
            "m: classes: the model does not name its classes, so they can't be mapped by name: "
            "list them in the order of its scores",
        ),
        (
            ["cat", "dog", "cat"],
            None,
            3,
            "m: 2 of its classes are called 'cat': give each a name of its own with classes",
        ),
    ],
)
def test_does_not_match(names: Any, declared: Any, width: Any, told: str, refusal: Any) -> None:
    assert (
        refusal(
            InputError, lambda: ClassMap.match(names, CAT_DOG, "m", declared=declared, width=width)
        )
        == told
    )


def test_names_go_before_positions_where_both_fit() -> None:
    found = ClassMap.match([0, 1], task("1", "0"), "m", width=2)
    assert found.columns == ((1,), (0,))


JOINED = ClassMap(((0, 2), (4,)), 5, names=("tabby", "bird", "siamese", "fish", "dog"))


@pytest.mark.parametrize("classes", [JOINED, ClassMap(((3,), (0,)), 5), ClassMap(((1,), (0,)), 2)])
def test_scores_are_those_of_the_conditional_distribution(classes: ClassMap) -> None:
    logits = np.random.default_rng(0).normal(size=(20, classes.width)) * 3
    whole = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    kept = np.stack([whole[:, list(columns)].sum(axis=1) for columns in classes.columns], axis=1)
    expected = kept / kept.sum(axis=1, keepdims=True)
    assert np.allclose(classes.apply_scores(whole, "probabilities"), expected)
    of_logits = np.exp(classes.apply_scores(logits, "logits"))
    assert np.allclose(of_logits / of_logits.sum(axis=1, keepdims=True), expected)
    for kind, scores in (("logits", logits), ("probabilities", whole)):
        tensor = torch.tensor(scores, requires_grad=True)
        answer = classes.apply_tensor(tensor, kind)  # type: ignore[arg-type]
        assert np.allclose(answer.detach().numpy(), classes.apply_scores(scores, kind))  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(lambda x: classes.apply_tensor(x, kind), tensor)  # type: ignore[arg-type]  # noqa: B023


def test_no_probability_left_is_an_error(refusal: Any) -> None:
    scores = np.array([[0.5, 0.1, 0.2, 0.1, 0.1], [0.0, 1.0, 0.0, 0.0, 0.0]])
    assert refusal(OutputError, lambda: JOINED.apply_scores(scores, "probabilities")) == (
        "scores: 1 of 2 rows give no probability to any of the data's 2 classes, of the model's 5"
    )
    assert torch.isnan(JOINED.apply_tensor(torch.tensor(scores), "probabilities")[1]).all()


def test_another_number_of_scores_than_promised_is_an_error() -> None:
    for apply in (
        lambda: JOINED.apply_scores(np.zeros((2, 4)), "logits"),
        lambda: JOINED.apply_tensor(torch.zeros(2, 4), "logits"),
    ):
        with pytest.raises(OutputError, match=r"^scores: expected shape \(N, 5\), got \(2, 4\)$"):
            apply()


def test_labels_outside_the_data_are_an_error(refusal: Any) -> None:
    assert JOINED.apply_labels(np.array([0, 2, 4])).tolist() == [0, 0, 1]
    assert refusal(OutputError, lambda: JOINED.apply_labels(np.array([0, 3, 1]))) == (
        "labels: 2 of 3 are classes that the data has not, e.g. 'fish'"
    )
    with pytest.raises(OutputError, match="expected class indices 0 to 4, got 7"):
        JOINED.apply_labels(np.array([0, 7]))


@pytest.mark.parametrize(
    ("declared", "numbers_are_names", "labels", "expected"),
    [
        (None, False, ["dog", "cat"], [1, 0]),
        (None, False, [1, 0], [1, 0]),
        (("dog", "bird", "cat"), False, [2, 0], [0, 1]),
        (("dog", "bird", "cat"), False, ["cat", "dog"], [0, 1]),
        ({"Hund": "dog", "tabby": "cat"}, False, ["Hund", "tabby", "dog"], [1, 0, 1]),
        ({"7": "dog", "3": "cat"}, False, [7, 3], [1, 0]),
        ({"cat": "dog", "dog": "cat"}, False, ["cat", "dog"], [1, 0]),
    ],
)
def test_labels(declared: Any, numbers_are_names: bool, labels: Any, expected: Any) -> None:
    found = LabelMap(CAT_DOG, "m", declared=declared, numbers_are_names=numbers_are_names)
    assert found.indices(np.array(labels)).tolist() == expected
    assert (found.fingerprint() == {}) == (declared is None)


def test_numerals_are_names_where_the_adapter_says_so() -> None:
    found = LabelMap(task("7", "3"), "m", numbers_are_names=True)
    assert found.indices(np.array([3, 7])).tolist() == [1, 0]


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


def test_torch_takes_a_list_of_names(opening: Any, diabetes_card: DataCard, refusal: Any) -> None:
    module = Linear(2)
    module.crucibench_classes = "low,high"  # type: ignore[assignment]
    assert refusal(InputError, lambda: opened(opening, diabetes_card, module)) == (
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


# Answers of any length: known answers, the way back from a resized image, refusals.

TASK: Any = SimpleNamespace(
    definition=SimpleNamespace(
        fields=(
            AnswerField(name="boxes", dimensions=2, lists=True, pixels=True, check=lambda *_: None),
            AnswerField(name="classes", dimensions=1, lists=True, check=lambda *_: None),
        )
    )
)


def test_boxes_are_taken_back_to_pixels_of_the_sample() -> None:
    found = [
        {"boxes": np.array([[2.0, 8.0, 4.0, 16.0]]), "classes": np.array([7])},
        {"boxes": [], "classes": np.zeros(0, dtype=int)},
        {"boxes": np.array([[1.0, 1.0, 2.0, 3.0]]), "classes": np.array([1])},
    ]
    answer = list_answer(found, TASK, [(2.0, 4.0), (1.0, 1.0), (0.5, 1.0)], 3)
    boxes = answer.lists("boxes")
    assert boxes.lengths.tolist() == [1, 0, 1]
    assert boxes.values.tolist() == [[1.0, 2.0, 2.0, 4.0], [2.0, 1.0, 4.0, 3.0]]
    assert answer.lists("classes").values.tolist() == [7, 1]


@pytest.mark.parametrize(
    "found", [np.zeros((1, 4)), [{"boxes": np.zeros((1, 4))}], [], [{"boxes": [], "classes": []}]]
)
def test_another_form_is_refused(found: Any) -> None:
    with pytest.raises(OutputError):
        list_answer(found, TASK, None, 1)


def test_rows_that_differ_and_batches_without_an_item() -> None:
    first = Lists.of([2, 0, 1, 1], np.arange(8.0).reshape(4, 2))
    second = Lists.of([2, 1, 0, 1], np.array([[0, 1], [2, 9], [4, 5], [6, 7]], dtype=float))
    assert differing_rows(first, second).tolist() == [True, True, True, False]
    empty = Lists.of([0, 0], np.zeros((0, 2)))
    assert not differing_rows(empty, empty).any()
    assert empty.summary().tolist() == [[0.0, 0.0, 0.0]] * 2
