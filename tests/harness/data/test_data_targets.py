from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from crucibench.util.errors import InputError


def frame(target: Any, **columns: Any) -> Any:
    return pd.DataFrame({"a": np.arange(len(target), dtype=float), **columns, "y": target})


def asked(open_live: Any, target: Any, **options: Any) -> Any:
    data = open_live(frame(target), target="y", **options)
    return data.task.kind, data.task.classes, data.samples("test").targets.tolist()


def test_strings_are_classes_in_code_point_order(open_live: Any) -> None:
    kind, classes, targets = asked(open_live, ["b", "a", "Z", "b"])
    assert (kind, classes, targets) == ("classification", ("Z", "a", "b"), [2, 1, 0, 2])


def test_whole_numbers_are_classes_by_size(open_live: Any) -> None:
    assert asked(open_live, [10, 2, 10, -1]) == (
        "classification",
        ("-1", "2", "10"),
        [2, 1, 2, 0],
    )
    assert asked(open_live, [1.0, 0.0, 1.0, 0.0])[:2] == ("classification", ("0", "1"))


def test_booleans_are_classes(open_live: Any) -> None:
    assert asked(open_live, [True, False, True]) == (
        "classification",
        ("False", "True"),
        [1, 0, 1],
    )


def test_fractions_and_many_numbers_are_values(open_live: Any) -> None:
    assert asked(open_live, [0.5, 1.0, 2.0]) == ("regression", (), [0.5, 1.0, 2.0])
    kind, classes, targets = asked(open_live, list(range(21)))
    assert (kind, classes) == ("regression", ())
    assert isinstance(targets[0], float)
    assert asked(open_live, list(range(20)))[0] == "classification"


def test_the_task_can_be_said(open_live: Any) -> None:
    assert asked(open_live, [1, 2, 3], task="regression")[0] == "regression"
    assert asked(open_live, list(range(30)), task="classification")[0] == "classification"


def test_numbers_beside_images_are_classes_without_a_gap(open_live: Any) -> None:
    images = np.zeros((60, 4, 4), dtype=np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None]
    data = open_live((images, np.r_[np.arange(30) * 2, np.arange(30) * 2]))
    assert data.task.classes == tuple(map(str, range(59)))


def test_given_classes_match_by_name_or_index(open_live: Any) -> None:
    assert asked(open_live, ["b", "a", "b"], classes="b,c,a")[1:] == (("b", "c", "a"), [0, 2, 0])
    assert asked(open_live, [0, 2, 0], classes="cat,dog,owl")[1:] == (
        ("cat", "dog", "owl"),
        [0, 2, 0],
    )
    assert asked(open_live, [1, 2, 1], classes="2,1")[1:] == (("2", "1"), [1, 0, 1])
    # A class may be absent if it was said.
    assert asked(open_live, ["a", "a"], classes="a,b")[1:] == (("a", "b"), [0, 0])


def test_class_labels_keep_their_names_and_order(open_live: Any) -> None:
    features = datasets.Features(
        a=datasets.Value("int64"), label=datasets.ClassLabel(names=["z", "y", "x"])
    )
    data = datasets.Dataset.from_dict({"a": [1, 2, 3], "label": [2, 0, 0]}, features=features)
    opened = open_live(data)
    assert opened.task.classes == ("z", "y", "x")
    assert opened.samples("test").targets.tolist() == [2, 0, 0]
    assert open_live(data, classes="x,y,z").samples("test").targets.tolist() == [0, 2, 2]


def test_classes_are_those_of_all_roles(open_live: Any) -> None:
    roles = {"test": frame(["b", "c"]), "train": frame(["a", "b"])}
    data = open_live(roles, target="y")
    assert data.task.classes == ("a", "b", "c")
    assert data.samples("train").targets.tolist() == [0, 1]
    assert data.card.split == "as given: test, train"


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (
            ["a", None, "b", None],
            {},
            "target 'y': 2 of 4 values are missing (test rows 1, 3, counted from 0); "
            "on_bad_sample=skip leaves such samples out",
        ),
        (
            [0.5, float("nan"), 1.0],
            {},
            "target 'y': 1 of 3 values is missing (test row 1, counted from 0); "
            "on_bad_sample=skip leaves such samples out",
        ),
        (
            [float("nan")] * 5,
            {},
            "target 'y': 5 of 5 values are missing (test rows 0, 1, 2, ..., counted from 0)",
        ),
        (
            [0.5, float("inf"), 1.0],
            {},
            "target 'y': 1 of 3 values is infinite (test row 1, counted from 0); "
            "on_bad_sample=skip leaves such samples out",
        ),
        (
            ["a", "a"],
            {},
            "target 'y': expected at least 2 classes, got only 'a'; name them with classes= if "
            "the data lacks one",
        ),
        (
            ["a", "b"],
            {"task": "regression"},
            "target 'y': expected numbers for regression, got 'a' (test row 0)",
        ),
        (
            [0.5, 1.0],
            {"task": "classification"},
            "target 'y': expected whole numbers for classification, got 0.5 "
            "(test row 0, counted from 0)",
        ),
        (
            ["a", "b", "c"],
            {"classes": "a,b"},
            "classes: target 'y' holds 'c', not among a, b",
        ),
        (
            [0, 1, 7],
            {"classes": "cat,dog"},
            "classes: target 'y' holds 7, no index of the 2 classes cat, dog",
        ),
        (
            [1, 2, 7],
            {"classes": "1,2"},
            "classes: target 'y' holds '7', not among 1, 2",
        ),
        (
            [f"name {number}" for number in range(150)],
            {},
            "target 'y': expected classes, got 150 distinct strings in 150 rows",
        ),
        (
            [[1], [2]],
            {},
            "target 'y': expected classes or numbers, got values of type list<item: int64>; for a "
            "list of labels say task=multilabel",
        ),
    ],
)
def test_bad_targets(open_live: Any, target: Any, options: Any, message: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: open_live(frame(target), target="y", **options)) == message
