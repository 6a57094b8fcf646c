"""`predictions:`: logged labels, scores and values, joined by id or by row order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.logged_predictions import PredictionsAdapter

KEYS = ("007", "b", "c", "d", "e")
BATCH = Batch(tuple("vwxyz"), pd.DataFrame({"x": range(5)}), rows=(0, 1, 2, 3, 4), keys=KEYS)
NAMELESS = Batch(BATCH.ids, BATCH.inputs, rows=BATCH.rows)


def card(*classes: str, count: int = 5) -> DataCard:
    task = Task(
        kind="classification" if classes else "regression", modality=Modality.TABLE, classes=classes
    )
    return DataCard(name="d", uri="csv:d.csv", task=task, counts={"test": count})


def save(folder: Path, name: str, **columns: Any) -> None:
    frame = pd.DataFrame(columns)
    path = folder / name
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)


LABELS = ["ham", "spam", "ham", "NA", "spam"]
P = [0.1, 0.8, 0.25, 0.5, 0.9]


CLASSES = ("spam", "ham", "NA")


def _logged(tmp_path: Path, name: str, scores: np.ndarray) -> None:
    order = [3, 1, 0, 4, 2]
    columns = {f"proba_{name}": scores[order, place].tolist() for place, name in enumerate(CLASSES)}
    save(
        tmp_path, name, key=[KEYS[row] for row in order],
        prediction=[LABELS[row] for row in order], **columns,
    )  # fmt: skip


def _sure(labels: list[str]) -> np.ndarray:
    """Probabilities that differ by row and are highest for these classes."""
    scores = np.array([[0.3 * p, 0.3 - 0.3 * p, 0.1] for p in P])
    scores[np.arange(5), [CLASSES.index(label) for label in labels]] += 0.6
    return scores


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_labels_and_class_probabilities_by_id(opening: Any, tmp_path: Path, suffix: str) -> None:
    scores = _sure(LABELS)
    _logged(tmp_path, f"p{suffix}", scores)

    def open_adapter() -> Any:
        return PredictionsAdapter.open(opening(f"predictions:p{suffix}?id=key", card(*CLASSES)))

    check_adapter(open_adapter, BATCH)
    adapter = open_adapter()
    assert adapter.capabilities == {Capability.LABELS, Capability.SCORES}
    outputs = adapter.predict(BATCH, frozenset({"labels", "scores"}))
    assert [CLASSES[label] for label in outputs.labels] == LABELS
    assert np.allclose(outputs.scores, scores)


def test_labels_that_the_scores_contradict_are_refused(opening: Any, tmp_path: Path) -> None:
    scores = _sure(LABELS)
    other = CLASSES[(CLASSES.index(LABELS[3]) + 1) % 3]
    scores[3] = _sure([other] * 5)[3]
    _logged(tmp_path, "p.csv", scores)
    with pytest.raises(InputError, match=r"in 1 of 5 rows column 'prediction' is not the class"):
        PredictionsAdapter.open(opening("predictions:p.csv?id=key", card(*CLASSES)))
    alone = PredictionsAdapter.open(opening("predictions:p.csv?id=key&prediction=", card(*CLASSES)))
    assert CLASSES[alone.predict(BATCH, frozenset({"labels"})).labels[3]] == other


def test_a_score_by_row_order(opening: Any, tmp_path: Path) -> None:
    save(tmp_path, "p.csv", risk=P)

    def open_adapter() -> Any:
        return PredictionsAdapter.open(opening("predictions:p.csv?score=risk", card("no", "yes")))

    check_adapter(open_adapter, NAMELESS)
    outputs = open_adapter().predict(NAMELESS, frozenset({"labels", "scores"}))
    assert np.allclose(outputs.scores, [[1 - p, p] for p in P])
    assert outputs.labels.tolist() == [0, 1, 0, 0, 1]
    assert open_adapter().diagnostics()["notes"] == ["logged predictions, joined by row order"]


def test_named_scores_are_in_class_order(opening: Any, tmp_path: Path) -> None:
    save(tmp_path, "p.csv", a=P, b=[1 - p for p in P])
    uri = "predictions:p.csv?scores=b,a"
    outputs = PredictionsAdapter.open(opening(uri, card("no", "yes"))).predict(
        NAMELESS, frozenset({"scores"})
    )
    assert np.allclose(outputs.scores, [[1 - p, p] for p in P])


def test_categories_counted_as_positive(opening: Any, tmp_path: Path) -> None:
    save(tmp_path, "p.csv", risk=["Low", "High", "Medium", "Low", "High"])
    uri = "predictions:p.csv?prediction=risk&positive=High,Medium"
    adapter = PredictionsAdapter.open(opening(uri, card("no", "yes")))
    assert adapter.capabilities == {Capability.LABELS}
    outputs = adapter.predict(NAMELESS, frozenset({"labels"}))
    assert outputs.labels is not None
    assert outputs.labels.tolist() == [0, 1, 1, 0, 1]


def test_values(opening: Any, tmp_path: Path) -> None:
    save(tmp_path, "p.csv", prediction=P)

    def open_adapter() -> Any:
        return PredictionsAdapter.open(opening("predictions:p.csv", card()))

    check_adapter(open_adapter, NAMELESS)
    assert open_adapter().predict(NAMELESS, frozenset({"values"})).values.tolist() == P


def test_whole_numbers_written_as_floats_are_classes(opening: Any, tmp_path: Path) -> None:
    save(tmp_path, "p.csv", prediction=[0.0, 1.0, 1.0, 0.0, 1.0])
    outputs = PredictionsAdapter.open(opening("predictions:p.csv", card("0", "1"))).predict(
        NAMELESS, frozenset({"labels"})
    )
    assert outputs.labels is not None
    assert outputs.labels.tolist() == [0, 1, 1, 0, 1]


def test_a_subset_is_found_wherever_it_stands(opening: Any, tmp_path: Path) -> None:
    save(tmp_path, "p.csv", risk=P)
    adapter = PredictionsAdapter.open(opening("predictions:p.csv?score=risk", card("no", "yes")))
    outputs = adapter.predict(NAMELESS.take([4, 1]), frozenset({"scores"}))
    assert outputs.scores is not None
    assert np.allclose(outputs.scores[:, 1], [0.9, 0.8])


def test_the_fingerprint_is_the_file_and_the_columns(opening: Any, tmp_path: Path) -> None:
    def fingerprint(query: str) -> Any:
        return PredictionsAdapter.open(
            opening(f"predictions:p.csv?{query}", card("no", "yes"))
        ).fingerprint()

    save(tmp_path, "p.csv", a=P, b=P[::-1])
    first = fingerprint("score=a")
    assert {key for key in first if first[key] != fingerprint("score=b")[key]} == {"columns"}
    save(tmp_path, "p.csv", a=P, b=P)
    assert {key for key in first if first[key] != fingerprint("score=a")[key]} == {"file"}


# Mistakes.


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("predictions:p.txt", "predictions 'p.txt': expected .csv or .parquet"),
        ("predictions:q.csv", "predictions 'q.csv' does not exist; did you mean 'p.csv'?"),
        ("predictions:p.csv?pred=x", "unknown option of predictions: 'pred'; did you mean 'predi"),
        ("predictions:p.csv?score=a&scores=a,b", "options score and scores exclude each other"),
    ],
)
def test_mistakes_show_before_anything_is_loaded(
    tmp_path: Path, uri: str, told: str, refusal: Any
) -> None:
    save(tmp_path, "p.csv", a=P)
    assert refusal(
        InputError, lambda: PredictionsAdapter.sources(parse_uri(uri), tmp_path)
    ).startswith(told)


GOOD = {"key": KEYS, "a": P, "b": P, "label": ["no", "yes", "no", "no", "yes"]}


@pytest.mark.parametrize(
    ("change", "query", "told"),
    [
        ({}, "", "p.csv: which column holds the predictions? Say prediction=COL, score=COL or "
         "scores=COLS (it has: key, a, b, label)"),
        ({}, "prediction=lable", "unknown column of p.csv 'lable'; did you mean 'label'? "
         "(known: a, b, key, label)"),
        ({}, "scores=a,b,key", "p.csv: scores: expected 2 columns in the order no, yes, got 3"),
        ({"label": ["no", "maybe", "no", "ja", "ja"]}, "prediction=label",
         "p.csv: column 'label': 3 of 5 predictions are no class of the data, e.g. 'ja', 'maybe' "
         "(known: no, yes)"),
        ({"a": [0.1, None, None, 0.2, 0.3]}, "score=a", "p.csv: column 'a': 2 of 5 are missing"),
        ({"a": ["NaN", 0.5, 0.5, "inf", 0.3]}, "score=a",
         "p.csv: column 'a': 2 of 5 are not finite"),
        ({}, "score=label", "p.csv: column 'label': expected numbers: ValueError: could not "
         "convert string to float: 'no'"),
        ({"key": ["a", "b", "a", "a", "b"]}, "id=key&score=a",
         "p.csv: column 'key': 3 of 5 names occur more than once, e.g. 'a', 'b' (draw=COL tells "
         "several answers to a sample apart)"),
        ({"key": ["a", "b", "a", "a", "b"], "at": [1, 1, 2, 2, 2]}, "id=key&draw=at&score=a",
         "p.csv: column 'key': 1 of 5 names occur more than once, e.g. 'a'"),
        ({}, "draw=a&score=a", "option draw: answers to one sample are told by its name: id=COL"),
        ({}, "prediction=label&positive=yea", "p.csv: option positive: unknown category of column "
         "'label' 'yea'; did you mean 'yes'? (known: no, yes)"),
        ({}, "score=a&positive=yes",
         "option positive: needs a binary task and a prediction column"),
    ],
)  # fmt: skip
def test_files_that_can_not_be_used(
    opening: Any, tmp_path: Path, change: dict[str, Any], query: str, told: str, refusal: Any
) -> None:
    save(tmp_path, "p.csv", **{**GOOD, **change})
    uri = "predictions:p.csv" + (f"?{query}" if query else "")
    assert (
        refusal(InputError, lambda: PredictionsAdapter.open(opening(uri, card("no", "yes"))))
        == told
    )


def test_regression_has_no_scores(opening: Any, tmp_path: Path, refusal: Any) -> None:
    save(tmp_path, "p.csv", **GOOD)
    assert (
        refusal(
            InputError,
            lambda: PredictionsAdapter.open(opening("predictions:p.csv?score=a", card())),
        )
        == "options score, scores, positive and threshold are for classification"
    )


def test_another_length_is_no_row_order(opening: Any, tmp_path: Path, refusal: Any) -> None:
    save(tmp_path, "p.csv", **GOOD)
    assert refusal(
        InputError,
        lambda: PredictionsAdapter.open(
            opening("predictions:p.csv?score=a", card("no", "yes", count=6))
        ),
    ) == (
        "p.csv has 5 rows, the data has 6 samples of the role 'test': join them by name with id=COL"
    )


def test_samples_that_are_not_there(opening: Any, tmp_path: Path, refusal: Any) -> None:
    save(tmp_path, "p.csv", **GOOD)
    adapter = PredictionsAdapter.open(
        opening("predictions:p.csv?id=key&score=a", card("no", "yes", count=9))
    )
    batch = Batch(("1", "2", "3"), BATCH.inputs, keys=("b", "g", "7"))
    assert (
        refusal(InputError, lambda: adapter.predict(batch, frozenset({"scores"})))
        == "p.csv lacks 2 of 3 samples of a batch, e.g. 'g', '7'"
    )
    assert refusal(InputError, lambda: adapter.predict(NAMELESS, frozenset({"scores"}))) == (
        "p.csv names its samples by 'key', and the data names none: give the data id=COL, or "
        "leave id out to join by row order"
    )


def test_row_order_is_that_of_the_test_role(opening: Any, tmp_path: Path, refusal: Any) -> None:
    save(tmp_path, "p.csv", **GOOD)
    adapter = PredictionsAdapter.open(opening("predictions:p.csv?score=a", card("no", "yes")))
    batch = Batch(BATCH.ids, BATCH.inputs, role="train", rows=BATCH.rows)
    assert refusal(InputError, lambda: adapter.predict(batch, frozenset({"scores"}))) == (
        "p.csv is joined by row order, which is that of the role 'test'; for 'train' name samples "
        "with id=COL"
    )


def test_damaged_files(opening: Any, tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"^predictions p.parquet can't be read: Arrow"):
        PredictionsAdapter.open(opening("predictions:p.parquet?score=a", card("no", "yes")))
    (tmp_path / "p.csv").write_bytes(b"")
    with pytest.raises(InputError, match=r"^predictions p.csv can't be read: EmptyDataError"):
        PredictionsAdapter.open(opening("predictions:p.csv?score=a", card("no", "yes")))


def test_numbers_are_cut_at_a_threshold(opening: Any, tmp_path: Path) -> None:
    save(tmp_path, "p.csv", points=[480, 600, 599, 820, 300])
    uri = "predictions:p.csv?prediction=points&threshold={}"

    def open_adapter() -> Any:
        return PredictionsAdapter.open(opening(uri.format(600), card("no", "yes")))

    check_adapter(open_adapter, NAMELESS)
    adapter = open_adapter()
    assert adapter.capabilities == {Capability.LABELS}
    assert list(adapter.predict(NAMELESS, frozenset({"labels"})).labels) == [0, 1, 0, 1, 0]
    other = PredictionsAdapter.open(opening(uri.format(500), card("no", "yes")))
    assert other.fingerprint() != adapter.fingerprint()


@pytest.mark.parametrize(
    ("options", "classes", "says"),
    [
        ("prediction=points&threshold=high", ("no", "yes"), "expected a number, got 'high'"),
        ("prediction=points&threshold=nan", ("no", "yes"), "expected a number, got 'nan'"),
        ("score=points&threshold=0.6", ("no", "yes"), "say prediction=COL"),
        ("prediction=points&positive=1&threshold=1", ("no", "yes"), "exclude each other"),
        ("prediction=points&threshold=1", ("a", "b", "c"), "needs a binary task"),
        ("prediction=points&threshold=1", (), "are for classification"),
        ("prediction=word&threshold=1", ("no", "yes"), "column 'word': expected numbers"),
    ],
)
def test_a_threshold_that_cuts_nothing(
    opening: Any, tmp_path: Path, options: str, classes: tuple[str, ...], says: str
) -> None:
    save(tmp_path, "p.csv", points=[1, 2, 3, 4, 5], word=list("abcde"))
    with pytest.raises(InputError, match=says):
        PredictionsAdapter.open(opening(f"predictions:p.csv?{options}", card(*classes)))
