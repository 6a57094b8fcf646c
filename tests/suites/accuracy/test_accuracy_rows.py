"""What becomes of decisions, clusters, undefined numbers, large n and repetition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn import metrics as sk
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.proportion import proportion_confint

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import Evidence, ModelInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Ranking, Share, TableMetric
from crucibench.contracts.suite import SuiteRequest
from crucibench.contracts.task import Decision, Modality, Task
from crucibench.metrics.forms import evaluate
from crucibench.metrics.scoring import score as score_all
from crucibench_suites.accuracy import AccuracyConfig, AccuracySuite
from crucibench_suites.accuracy.scenario import Clean

Rows = dict[tuple[str, str], Row]
Score = Callable[[Evidence], Rows]
Build = Callable[..., Evidence]
Honest = Callable[..., tuple[np.ndarray, np.ndarray]]


def two_columns(positive: Any) -> np.ndarray:
    column = np.asarray(positive, dtype=np.float64)
    return np.stack([1 - column, column], axis=1)


def test_a_probability_equal_to_the_threshold_is_positive(build: Build, clean: Any) -> None:
    # 0.3 and 0.7 are rounded by float32, in opposite directions.
    for threshold in (0.3, 0.7):
        scores = two_columns([threshold, threshold - 1e-3, threshold + 1e-3, 0.0])
        evidence = build([1, 0, 1, 0], scores=scores, decision=Decision(threshold=threshold))
        view = clean.outcomes(evidence)
        assert view.prediction.tolist() == [1, 0, 1, 0]
        assert view.correct.tolist() == [1.0, 1.0, 1.0, 1.0]


def test_decision_of_logits_by_softmax(build: Build, clean: Any) -> None:
    logits = np.log(two_columns([0.35, 0.25]))
    evidence = build([1, 1], scores=logits, score_kind="logits", decision=Decision(threshold=0.31))
    view = clean.outcomes(evidence)
    assert view.prediction.tolist() == [1, 0]
    assert view.score.tolist() == pytest.approx([0.35, 0.25])
    assert view.point.tolist() == ["", ""]


def test_outcomes_of_more_classes_labels_and_values(
    build: Build, clean: Any, honest: Honest
) -> None:
    targets, scores = honest(20, [1, 1, 1])
    view = clean.outcomes(build(targets, scores=scores))
    assert view.score == pytest.approx(scores.astype(np.float32).max(axis=1))
    assert view.correct.tolist() == (scores.argmax(axis=1) == targets).astype(float).tolist()
    labels = clean.outcomes(build(targets, predictions=targets, classes=list("abc")))
    assert np.isnan(labels.score).all()
    assert labels.correct.all()
    values = clean.outcomes(build([1.0, 2.0], predictions=[1.5, 2.5]))
    assert values.score.tolist() == [1.5, 2.5]
    assert np.isnan(values.correct).all()


def test_a_metric_of_another_kind_of_task_has_a_reason_and_no_value(
    build: Build, honest: Honest
) -> None:
    targets, scores = honest(30, [1, 1])
    clean = Clean.of("accuracy", train=False, more=["mae", "top-1", "brier"])
    found = score_all(clean, build(targets, scores=scores)).rows
    rows = [row for row in found if row.metric == "mae"]
    assert [(row.value, row.reason) for row in rows] == [
        (None, "it is of regression, not of classification")
    ]
    assert sum(row.metric == "top-1" for row in found) == 1


def test_labels_only_leave_reasons(build: Build, score: Score, honest: Honest) -> None:
    targets, scores = honest(300, [1] * 7)
    rows = score(build(targets, predictions=scores.argmax(axis=1), classes=list("abcdefg")))
    for metric in ("top-5", "log-loss", "auroc-ovr-macro", "ece-15-equal-width-top-label",
                   "temperature", "aurc", "accuracy-at-coverage-90"):  # fmt: skip
        row = rows[metric, ""]
        assert row.value is None
        assert row.reason == "the model gives labels only"
    assert rows["balanced-accuracy", ""].value is not None


def test_scores_that_are_no_probabilities_leave_reasons(build: Build, score: Score) -> None:
    rng = np.random.default_rng(0)
    targets, scores = rng.integers(0, 3, 100), rng.normal(size=(100, 3))
    rows = score(build(targets, scores=scores))
    assert rows["log-loss", ""].reason == "100 % of the rows of scores are no probabilities"
    assert rows["top-1", ""].value is not None


def test_one_class_in_the_test_role(build: Build, score: Score) -> None:
    rng = np.random.default_rng(0)
    rows = score(build(np.zeros(50, dtype=int), scores=two_columns(rng.uniform(0, 0.4, 50))))
    assert rows["auroc", ""].reason == "no positive sample"
    assert rows["average-precision", ""].reason == "no positive sample"
    assert rows["mcc", ""].reason == "all samples are of one class"
    assert rows["recall", ""].reason == "no sample of class c1"
    assert rows["recall", ""].n == 0
    assert rows["recall", "c0"].value == 1.0
    assert "over 1 of 2 classes" in rows["balanced-accuracy", ""].method
    assert rows["top-1", ""].value == 1.0
    assert rows["top-1", ""].upper == 1.0


def test_a_class_without_samples(build: Build, score: Score, honest: Honest) -> None:
    targets, scores = honest(200, [1, 1, 1, 0.0001])
    targets[targets == 3] = 0
    rows = score(build(targets, scores=scores))
    assert rows["auroc-ovr-macro", ""].reason == "no sample of class 3"
    assert rows["recall", "c3"].value is None
    assert rows["balanced-accuracy", ""].value is not None


def test_constant_scores(build: Build, score: Score) -> None:
    targets = np.arange(60) % 2
    rows = score(build(targets, scores=two_columns(np.full(60, 0.5))))
    assert rows["auroc", ""].value == 0.5
    assert rows["auroc", ""].lower == pytest.approx(1 - rows["auroc", ""].upper)
    assert rows["precision", "c0"].reason == "no sample predicted as class c0"
    assert rows["temperature", ""].reason.startswith("every sample's logits are equal")
    assert rows["ece-15-equal-width-top-label-after-temperature", ""].value is None
    assert rows["ece-15-equal-width-top-label-before-temperature", ""].value is not None


def test_a_perfect_model(build: Build, score: Score) -> None:
    targets = np.arange(80) % 2
    rows = score(build(targets, scores=two_columns(np.where(targets == 1, 0.9, 0.2))))
    assert rows["mcc", ""].value == pytest.approx(1.0)
    # Nothing was missed, which is no proof that nothing would be.
    assert 0.8 < rows["mcc", ""].lower < 0.95
    assert rows["balanced-accuracy", ""].lower > rows["recall", "c0"].lower > 0.9
    assert 0.9 < rows["auroc", ""].lower < 1
    assert "no spread" in rows["aurc", ""].reason
    assert rows["f1", ""].upper == 1.0
    assert "without error" in rows["temperature", ""].reason


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_handful_of_samples(build: Build, score: Score, n: int) -> None:
    rows = score(build(np.arange(n) % 2, scores=two_columns(np.linspace(0.1, 0.8, n))))
    assert rows["top-1", ""].lower is not None
    assert rows["log-loss", ""].mark == rows["top-1", ""].mark == "imprecise"
    assert f"{n} samples, fewer than" in rows["aurc", ""].reason


def test_a_marked_number_says_how_many_samples_it_needs(build: Build, score: Score) -> None:
    targets = np.arange(20) % 2
    scores = two_columns(np.where((targets == 1) ^ (np.arange(20) < 6), 0.9, 0.1))
    row = score(build(targets, scores=scores))["top-1", ""]
    assert row.mark == "imprecise"
    needed = int(row.method.partition("about ")[2].partition(" ")[0])
    assert needed == pytest.approx(20 * ((row.upper - row.lower) / 0.3) ** 2, rel=0.1)
    more = np.resize(np.arange(20), needed)
    row = score(build(targets[more], scores=scores[more]))["top-1", ""]
    assert row.mark == "" and "would do" not in row.method


def test_no_samples(build: Build, clean: Any) -> None:
    evidence = build(np.zeros(0, dtype=int), scores=np.zeros((0, 2)))
    assert score_all(clean, evidence).rows == []
    assert [finding.code for finding in clean.audit(evidence)] == ["no-samples"]


def test_clusters_replace_closed_forms(build: Build, score: Score, honest: Honest) -> None:
    targets, scores = honest(40, [1, 1], skill=1.0)
    repeated = np.repeat(np.arange(40), 10)
    names = [f"k{i}" for i in repeated]
    train = {"targets": targets, "scores": scores, "clusters": [f"t{i}" for i in range(40)]}
    once = score(build(targets, scores=scores, train={"targets": targets, "scores": scores}))
    wide = score(build(targets[repeated], scores=scores[repeated], clusters=names, train=train))
    for row in wide.values():
        if row.lower is not None:
            assert row.method.startswith("cluster-"), row
            assert "clusters" in row.method
    for metric in ("top-1", "auroc", "fpr", "log-loss", "balanced-accuracy"):
        assert wide[metric, ""].value == pytest.approx(once[metric, ""].value)
        # Ten copies of a sample say no more than one.
        widths = [rows[metric, ""].upper - rows[metric, ""].lower for rows in (once, wide)]
        assert widths[1] == pytest.approx(widths[0], rel=0.35)
    assert wide["top-1-train-minus-test", ""].value == pytest.approx(0.0)


def test_one_cluster_has_no_interval(build: Build, score: Score, honest: Honest) -> None:
    targets, scores = honest(60, [1, 1])
    rows = score(build(targets, scores=scores, clusters=["k"] * 60))
    assert "1 clusters, fewer than" in rows["top-1", ""].reason
    assert rows["top-1", ""].value is not None


def test_calibration_interval_of_a_calibrated_model_lies_below_its_value(
    build: Build, score: Score, honest: Honest
) -> None:
    targets, scores = honest(1500, [1] * 5, skill=1.0)
    row = score(build(targets, scores=scores))["ece-15-equal-width-classwise", ""]
    assert "basic-bootstrap-200" in row.method
    assert row.upper - row.value < row.value - row.lower


def test_temperature_undoes_itself(build: Build, score: Score, honest: Honest) -> None:
    targets, logits = honest(4000, [1, 1, 1], skill=1.5, logits=True)
    rows = score(build(targets, scores=3.0 * logits, score_kind="logits"))
    found = rows["temperature", ""]
    assert found.lower <= 3.0 <= found.upper
    before = rows["ece-15-equal-width-top-label-before-temperature", ""]
    after = rows["ece-15-equal-width-top-label-after-temperature", ""]
    assert found.n + before.n == 4000
    assert before.n == after.n
    assert after.value < 0.3 * before.value
    assert after.method.endswith("the temperature held fixed")


def test_halves_keep_copies_and_clusters_together() -> None:
    from crucibench.util.ids import Halves, contents
    from crucibench.util.names import Names

    ids = np.array([f"{i:032x}{end}" for i in range(50) for end in ("", "-1", "-2")], dtype=object)
    halves = Halves(0, "s")
    first = halves.first(Names(ids)).reshape(50, 3)
    assert (first == first[:, :1]).all()
    assert 10 < first[:, 0].sum() < 40
    clusters = np.arange(150) // 30
    first = halves.first(Names(ids), clusters).reshape(5, 30)
    assert (first == first[:, :1]).all()
    # A sample's half does not hang on who else is there, nor on the order.
    turned = halves.first(Names(ids[::-1]))
    assert (turned == halves.first(Names(ids))[::-1]).all()
    assert contents(np.array(["s-1", "s-2"], dtype=object)).tolist() == ["s-1", "s-2"]
    assert contents(np.array(["s", "s-2"], dtype=object)).tolist() == ["s", "s"]


def test_the_same_evidence_gives_the_same_rows(build: Build, clean: Any, honest: Honest) -> None:
    targets, scores = honest(150, [1] * 6)
    once, again = (score_all(clean, build(targets, scores=scores)) for _ in range(2))
    assert once.rows == again.rows
    assert all(once.tables[name].equals(again.tables[name]) for name in once.tables)
    other = score_all(clean, build(targets, scores=scores, seed=1))
    assert other.rows != once.rows


def test_rows_come_in_one_order_and_records_in_any(build: Build, clean: Any) -> None:
    from dataclasses import replace

    from crucibench.contracts.records import Records

    rng = np.random.default_rng(0)
    evidence = build(rng.integers(0, 2, 50), scores=two_columns(rng.uniform(size=50)))
    cell = evidence.needs["test"]
    shuffled = Records(cell.records.table.take(rng.permutation(50)))
    other = replace(evidence, needs={"test": replace(cell, records=shuffled)})
    assert score_all(clean, other).rows == score_all(clean, evidence).rows
    assert score_all(clean, evidence).rows[0].metric == "top-1"


def test_more_than_a_hundred_thousand_samples(build: Build, clean: Any, score: Score) -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=120_000)
    noise = rng.normal(size=120_000)
    evidence = build(targets, predictions=targets + noise, replicates=2000)
    rows = score(evidence)
    summed, others = ("percentile-bootstrap-2000 (in 1000 groups)", "group-jackknife-200")
    methods = {name: row.method for (name, _), row in rows.items()}
    assert methods == dict.fromkeys(methods, others) | {"mae": summed, "rmse": summed}
    mae, rmse = rows["mae", ""], rows["rmse", ""]
    error = np.abs(noise).std() / np.sqrt(120_000)
    assert (mae.upper - mae.lower) / 2 == pytest.approx(1.97 * error, rel=0.2)
    assert rmse.lower < 1.0 < rmse.upper
    assert clean.audit(evidence) == []


@pytest.mark.parametrize("classes", [2, 4])
def test_the_path_of_large_n_gives_every_row(
    build: Build, score: Score, honest: Honest, monkeypatch: pytest.MonkeyPatch, classes: int
) -> None:
    from crucibench.metrics import scoring

    targets, scores = honest(1500, [1] * classes)
    train = {"targets": targets, "scores": scores}
    few = score(build(targets, scores=scores, train=train, replicates=1000))
    monkeypatch.setattr(scoring, "BOOTSTRAP_UP_TO", 1000)
    many = score(build(targets, scores=scores, train=train))
    assert list(few) == list(many)
    for key, row in many.items():
        assert row.value == few[key].value
        if few[key].method.startswith("percentile-bootstrap"):
            assert row.method.startswith(("group-jackknife-200", "percentile-bootstrap-200"))
            width = few[key].upper - few[key].lower
            assert row.upper - row.lower == pytest.approx(width, rel=0.5)


def test_too_many_classes_for_a_table(build: Build, score: Score) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2001, 40)
    rows = score(build(targets, predictions=targets, classes=[f"c{k}" for k in range(2001)]))
    assert rows["balanced-accuracy", ""].reason.startswith("2001 classes")
    assert rows["top-1", ""].value == 1.0
    assert rows["recall", f"c{targets[0]}"].value == 1.0


NOT_COMPARED = {
    "temperature",
    "ece-15-equal-width-top-label-before-temperature",
    "ece-15-equal-width-top-label-after-temperature",
    "top-1-train-minus-test",
    "mae-train-minus-test",
}


@pytest.mark.parametrize("clusters", [False, True])
@pytest.mark.parametrize("case", ["binary", "seven classes", "labels", "regression"])
def test_forms_make_the_numbers_of_the_rows(
    case: str, clusters: bool, build: Any, honest: Any, clean: Clean, score: Callable[..., Any]
) -> None:
    n = 240
    given: dict[str, Any] = {"clusters": [f"k{row // 2}" for row in range(n)] if clusters else None}
    if case == "regression":
        rng = np.random.default_rng(1)
        targets = rng.normal(size=n)
        given |= {"predictions": targets + rng.normal(size=n)}
    else:
        targets, scores = honest(n, [1.0, 2.0] if case == "binary" else [1.0] * 7)
        given |= {"predictions": scores.argmax(axis=1)} if case == "labels" else {"scores": scores}
    evidence = build(targets, **given)
    forms = {(one.metric, one.group): one.form for one in clean.numbers(evidence) if one.make}
    rows = score(evidence)
    for key, row in rows.items():
        if row.value is None:
            continue
        assert (key in forms) is (key[0] not in NOT_COMPARED), key
        if key in forms:
            assert evaluate(forms[key], n) == pytest.approx(row.value, abs=1e-12), key
    assert all(
        rows[key].value is not None for key in forms if not np.isnan(evaluate(forms[key], n))
    )
    if case == "binary":
        kinds = {metric: type(form) for (metric, group), form in forms.items() if not group}
        assert kinds["top-1"] is kinds["recall"] is kinds["fpr"] is Share
        assert kinds["auroc"] is Ranking and kinds["mcc"] is TableMetric
        assert not forms["precision", ""].same_samples


def test_nothing_is_computed_before_it_is_asked_for(
    build: Any, honest: Any, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed too early")

    for name in ("average_precision_statistic", "brier_statistic"):
        monkeypatch.setattr(f"crucibench.tasks.classification.metrics.{name}", refuse)
    targets, scores = honest(50, [1.0, 1.0])
    assert clean.numbers(build(targets, scores=scores))


# The suite as the engine and the registry see it.


def request(counts: dict[str, int], config: AccuracyConfig, classes: int = 2) -> SuiteRequest:
    names = tuple(f"c{k}" for k in range(classes))
    task = Task(kind="classification", modality=Modality.TABLE, classes=names)
    model = ModelInfo(
        name="m",
        uri="test:m",
        capabilities=frozenset({Capability.SCORES}),
        score_kind="logits",
        geometry={},
        fingerprint=None,
    )
    card = DataCard(name="d", uri="test:d", task=task, counts=counts)
    return SuiteRequest(model=model, data=card, config=config, preset="quick")


def needs(counts: dict[str, int], config: AccuracyConfig) -> dict[str, bool]:
    found = AccuracySuite().scenarios(request(counts, config))
    assert not isinstance(found, str)
    (clean,) = found
    assert clean.address == "accuracy/clean"
    return {need.cell: need.optional for need in clean.needs}


def test_the_train_pass_is_asked_for_only_where_there_is_train() -> None:
    both = {"test": 10, "train": 20}
    assert needs({"test": 10}, AccuracyConfig()) == {"pass/test": False}
    assert needs(both, AccuracyConfig()) == {"pass/test": False, "pass/train": True}
    assert needs(both, AccuracyConfig(train_gap=False)) == {"pass/test": False}


def test_one_class_is_no_classification() -> None:
    reason = AccuracySuite().scenarios(request({"test": 10}, AccuracyConfig(), classes=1))
    assert reason == "accuracy needs at least two classes, the data has 1"


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="bins"):
        AccuracyConfig.model_validate({"bins": 10})


# All rows of real models against scikit-learn and against the named interval methods.


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
