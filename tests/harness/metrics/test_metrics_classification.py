"""References: scikit-learn."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as sk

from crucibench.contracts.statistic import Value
from crucibench.metrics import classification as c
from crucibench.metrics.table import confusion_table

CASES = [(seed, classes, n) for seed in range(4) for classes in (2, 3, 10) for n in (5, 40, 700)]


def _sample(seed: int, classes: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which, every other seed, the last class never occurs in the targets."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes - seed % 2, n)
    right = rng.random(n) < 0.6
    return targets, np.where(right, targets, rng.integers(0, classes, n))


@pytest.mark.parametrize(("seed", "classes", "n"), CASES)
def test_agrees_with_scikit_learn(seed: int, classes: int, n: int) -> None:
    targets, predictions = _sample(seed, classes, n)
    table = confusion_table(targets, predictions, classes)
    labels = list(range(classes))
    assert (table == sk.confusion_matrix(targets, predictions, labels=labels)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes without targets: ours are noted
        expected = {
            c.balanced_accuracy: sk.balanced_accuracy_score(targets, predictions),
            c.f1_macro: sk.f1_score(targets, predictions, average="macro"),
            c.f1_weighted: sk.f1_score(targets, predictions, average="weighted"),
        }
    for statistic, value in expected.items():
        assert statistic.value(table).value == pytest.approx(value, abs=1e-12)
    mcc = c.mcc.value(table).value
    if mcc is None:
        assert len(set(targets)) == 1 or len(set(predictions)) == 1
    else:
        assert mcc == pytest.approx(sk.matthews_corrcoef(targets, predictions), abs=1e-12)


def test_what_is_undefined_says_why() -> None:
    only = confusion_table([1, 1], [0, 1], 2)
    assert c.mcc.value(only).reason == "all samples are of one class"
    assert c.mcc.value(only.T).reason == "all predictions are of one class"


def test_averages_note_the_classes_they_leave_out() -> None:
    table = confusion_table([0, 0, 1], [0, 1, 2], 4)
    assert c.balanced_accuracy.value(table).note == "over 2 of 4 classes: no sample of class 2, 3"
    assert c.f1_macro.value(table).note == (
        "over 3 of 4 classes: no sample and no prediction of class 3"
    )
    assert c.f1_macro.value(confusion_table([0, 1], [1, 0], 2)).note == ""
    assert c.balanced_accuracy.value(np.eye(8) * [1, 0, 0, 0, 0, 0, 0, 0]).note == (
        "over 1 of 8 classes: no sample of class 1, 2, 3, 4, 5, ..."
    )


@pytest.mark.parametrize("statistic", [c.balanced_accuracy, c.f1_macro, c.f1_weighted, c.mcc])
def test_an_empty_table_is_undefined(statistic: c.TableStatistic) -> None:
    assert statistic.value(np.zeros((3, 3))) == Value(value=None, n=0, reason="no samples")


def test_many_tables_at_once() -> None:
    tables = np.random.default_rng(0).integers(0, 9, (20, 4, 4))
    for statistic in (c.mcc, c.f1_macro):
        expected = [statistic.value(one).value for one in tables]
        np.testing.assert_allclose(statistic(tables), expected, rtol=1e-14)


@pytest.mark.parametrize("classes", [3, 10])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_agrees_with_scikit_learn(classes: int, k: int) -> None:
    rng = np.random.default_rng(classes)
    scores, targets = rng.normal(size=(300, classes)), rng.integers(0, classes, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # k = K is a perfect score
        expected = sk.top_k_accuracy_score(targets, scores, k=k, labels=range(classes))
    assert c.hits_at_k(scores, targets, k).mean() == pytest.approx(expected, abs=1e-12)


def test_tied_scores_count_in_the_order_of_their_class() -> None:
    scores = np.ones((4, 4))
    for k in range(1, 5):
        assert c.hits_at_k(scores, np.arange(4), k).tolist() == [i < k for i in range(4)]
    rng = np.random.default_rng(0)
    tied = rng.integers(0, 3, (500, 6))
    assert (c.hits_at_k(tied, np.full(500, 2), 1) == (tied.argmax(axis=1) == 2)).all()
    per_row = sum(c.hits_at_k(tied, np.full(500, i), 4).astype(int) for i in range(6))
    assert (per_row == 4).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confusion_table([0, 2], [0, 1], 2), r"targets: expected class .* 0\.\.1, got"),
        (lambda: confusion_table([0], [0, 1], 2), "targets and predictions: expected equally many"),
        (lambda: confusion_table([0.0], [0], 2), "targets: .*integer type, got float64"),
        (lambda: confusion_table([0], [0], 1), "classes: expected at least 2, got 1"),
        (lambda: c.mcc(np.ones((2, 2))), r"tables: expected shape \(B, K, K\)"),
        (lambda: c.mcc.value(np.ones((1, 2, 2))), r"table: expected shape \(K, K\)"),
        (lambda: c.mcc([[[1, -1], [0, 0]]]), "tables: expected counts >= 0, got -1"),
        (lambda: c.hits_at_k(np.ones((1, 3)), [0], 4), r"k: expected 1\.\.3, got 4"),
        (lambda: c.hits_at_k([[0.0, np.nan]], [0], 1), "scores: expected numbers, got nan"),
        (lambda: c.hits_at_k([0.0], [0], 1), r"scores: expected shape \(n, K\), got \(1,\)"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
