"""All rows of real models against scikit-learn and against the named interval methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.proportion import proportion_confint

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.rows import Row
from crucibench.contracts.task import Decision
from crucibench.metrics.scoring import score as score_all

Rows = dict[tuple[str, str], Row]
Score = Callable[[Evidence], Rows]
Build = Callable[..., Evidence]


def values(rows: Rows, *metrics: str) -> list[float | None]:
    return [rows[metric, ""].value for metric in metrics]


def inside(rows: Rows) -> None:
    for row in rows.values():
        if row.lower is not None and row.upper is not None:
            assert row.value is not None
            assert row.lower <= row.value <= row.upper
            assert row.level == 0.95
            assert row.method
            assert row.n > 0
        else:
            assert row.reason


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train targets and logits, test targets and logits."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(X_train, y_train)
    return y_train, model.decision_function(X_train), y_test, model.decision_function(X_test)


def test_digits_against_scikit_learn(
    build: Build, score: Score, digits: tuple[np.ndarray, ...]
) -> None:
    y_train, z_train, y, z = digits
    rows = score(
        build(
            y, scores=z, score_kind="logits", train={"targets": y_train, "scores": z_train},
            classes=[str(k) for k in range(10)],
        )
    )  # fmt: skip
    inside(rows)
    # Records hold float32: the reference is computed from the same numbers.
    z = z.astype(np.float32).astype(np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    said = z.argmax(axis=1)
    one_hot = np.eye(10)[y]
    expected = {
        "top-1": sk.accuracy_score(y, said),
        "top-5": sk.top_k_accuracy_score(y, z, k=5),
        "balanced-accuracy": sk.balanced_accuracy_score(y, said),
        "f1-macro": sk.f1_score(y, said, average="macro"),
        "f1-weighted": sk.f1_score(y, said, average="weighted"),
        "mcc": sk.matthews_corrcoef(y, said),
        "auroc-ovr-macro": sk.roc_auc_score(y, p, multi_class="ovr", average="macro"),
        "average-precision-ovr-macro": sk.average_precision_score(one_hot, p, average="macro"),
        "log-loss": sk.log_loss(y, p),
        "brier-sum": ((p - one_hot) ** 2).sum(axis=1).mean(),
        "top-1-train-minus-test": (z_train.argmax(axis=1) == y_train).mean()
        - sk.accuracy_score(y, said),
    }
    assert values(rows, *expected) == pytest.approx(list(expected.values()), abs=1e-9)
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, said)
    for k in range(10):
        name = str(k)
        assert rows["precision", name].value == pytest.approx(precision[k], abs=1e-12)
        assert rows["recall", name].value == pytest.approx(recall[k], abs=1e-12)
        assert rows["f1", name].value == pytest.approx(f1[k], abs=1e-12)
        assert rows["recall", name].n == support[k]
        hits = (said[y == k] == k).sum()
        rare = min(hits, support[k] - hits) < 10
        low, high = proportion_confint(hits, support[k], method="beta" if rare else "wilson")
        assert (rows["recall", name].lower, rows["recall", name].upper) == pytest.approx(
            (low, high), abs=1e-12
        )
    low, high = proportion_confint((said == y).sum(), len(y), method="wilson")
    assert (rows["top-1", ""].lower, rows["top-1", ""].upper) == pytest.approx((low, high))
    assert rows["top-1", ""].method == "wilson"
    assert rows["mcc", ""].method == "mover"
    assert rows["top-1-train-minus-test", ""].method == "newcombe-unpaired"
    assert rows["aurc", ""].method.startswith("bca-bootstrap-200")


def test_digits_tables(build: Build, clean: object, digits: tuple[np.ndarray, ...]) -> None:
    _, _, y, z = digits
    scored = score_all(clean, build(y, scores=z, score_kind="logits"))  # type: ignore[attr-defined]
    tables = scored.tables
    said = z.astype(np.float32).argmax(axis=1)
    confusion = tables["confusion"]
    assert list(confusion["true class"]) == [f"c{k}" for k in range(10)]
    np.testing.assert_array_equal(
        confusion.drop(columns="true class").to_numpy(), sk.confusion_matrix(y, said)
    )
    reliability = tables["reliability"]
    assert len(reliability) == 15
    assert reliability["count"].sum() == len(y)
    filled = reliability[reliability["count"] > 0]
    assert (filled["lower"] <= filled["accuracy"]).all()
    assert (filled["accuracy"] <= filled["upper"]).all()
    gap = (filled["accuracy"] - filled["mean_confidence"]).abs()
    ece = next(row for row in scored.rows if row.metric == "ece-15-equal-width-top-label")
    assert (gap * filled["count"]).sum() / len(y) == pytest.approx(ece.value)
    curve = tables["risk-coverage"]
    assert len(curve) == 200
    assert curve["coverage"].iloc[-1] == 1.0
    assert curve["risk"].iloc[-1] == pytest.approx(1 - (said == y).mean())
    per_class = tables["per-class"]
    assert per_class["support"].sum() == len(y)
    assert list(per_class["class"]) == [f"c{k}" for k in range(10)]


def test_binary_against_scikit_learn(build: Build, score: Score) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y = train_test_split(X, y, test_size=0.4, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(X_train, y_train)
    p = model.predict_proba(X_test).astype(np.float32).astype(np.float64)
    # The positive class is the one of index 0, at a threshold far from 0.5.
    rows = score(build(y, scores=p, decision=Decision(positive=0, threshold=0.3)))
    inside(rows)
    truth, column = y == 0, p[:, 0]
    said = column >= 0.3
    fp, tn = (said & ~truth).sum(), (~said & ~truth).sum()
    expected = {
        "top-1": (said == truth).mean(),
        "precision": sk.precision_score(truth, said),
        "recall": sk.recall_score(truth, said),
        "f1": sk.f1_score(truth, said),
        "fpr": fp / (fp + tn),
        "balanced-accuracy": sk.balanced_accuracy_score(truth, said),
        "mcc": sk.matthews_corrcoef(truth, said),
        "auroc": sk.roc_auc_score(truth, column),
        "average-precision": sk.average_precision_score(truth, column),
        "log-loss": sk.log_loss(y, p / p.sum(axis=1, keepdims=True)),
        "brier": ((column - truth) ** 2).mean(),
    }
    # float32 probabilities do not quite sum to 1, which the reference normalises.
    assert values(rows, *expected) == pytest.approx(list(expected.values()), abs=1e-6)
    assert rows["recall", ""].value != sk.recall_score(truth, column >= 0.5)
    assert rows["precision", "c0"].value == rows["precision", ""].value
    curve = sk.precision_recall_curve(truth, column)
    for percent in (90, 99):
        best = curve[1][curve[0] >= percent / 100].max()
        assert rows[f"recall-at-precision-{percent}", ""].value == pytest.approx(best)
    assert rows["auroc", ""].method.startswith("placements")


def test_diabetes_against_scikit_learn(build: Build, score: Score, clean: object) -> None:
    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y = train_test_split(X, y, test_size=0.4, random_state=0)
    model = Ridge(alpha=0.1).fit(X_train, y_train)
    said, said_train = model.predict(X_test), model.predict(X_train)
    evidence = build(y, predictions=said, train={"targets": y_train, "predictions": said_train})
    rows = score(evidence)
    inside(rows)
    from scipy.stats import spearmanr

    mae = sk.mean_absolute_error(y, said)
    expected = {
        "mae": mae,
        "rmse": sk.root_mean_squared_error(y, said),
        "median-absolute-error": sk.median_absolute_error(y, said),
        "r2": sk.r2_score(y, said),
        "spearman": spearmanr(y, said).statistic,
        "mae-train-minus-test": sk.mean_absolute_error(y_train, said_train) - mae,
    }
    assert values(rows, *expected) == pytest.approx(list(expected.values()), abs=1e-9)
    assert set(rows) == {(metric, "") for metric in expected}
    assert rows["mae-train-minus-test", ""].method.startswith("stratified-")
    table = score_all(clean, evidence).tables["error-by-target"]  # type: ignore[attr-defined]
    assert (table["mae"] * table["count"]).sum() / len(y) == pytest.approx(mae)
