"""Every audit: a planted defect is caught, clean cases are not flagged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.task import Decision, Modality
from crucibench.contracts.verdict import Finding, Severity

Build = Callable[..., Evidence]
Honest = Callable[..., tuple[np.ndarray, np.ndarray]]
Audit = Callable[[Evidence], dict[str, Finding]]
Flagged = Callable[[Evidence], set[str]]

RARE = [99, 1]


def two_columns(positive: Any) -> np.ndarray:
    column = np.asarray(positive, dtype=np.float64)
    return np.stack([1 - column, column], axis=1)


def hashes(n: int, start: int = 0) -> list[str]:
    return [f"{i:032x}" for i in range(start, start + n)]


@pytest.mark.parametrize(
    ("n", "shares", "skill"),
    [
        (2000, RARE, 3.0),
        (20_000, RARE, 2.0),
        (1000, [1, 1], 2.0),
        (1000, [1, 1], 0.3),
        (1000, [1] * 10, 2.5),
        (600, [1] * 10, 0.5),
        (500, [70, 20, 9, 1], 1.5),
        (5000, [1] * 100, 2.0),
        (60, [1, 1], 1.0),
        (45, [1] * 3, 2.0),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_honest_models_are_not_flagged(
    build: Build, honest: Honest, flagged: Flagged, n: int, shares: list[int], skill: float,
    seed: int,
) -> None:  # fmt: skip
    targets, scores = honest(n, shares, skill=skill, seed=seed)
    classes = [f"c{k}" for k in range(len(shares))]
    train = {"targets": targets, "scores": scores}
    evidence = build(targets, scores=scores, classes=classes, train=train)
    assert flagged(evidence) == set()
    labels = build(targets, predictions=scores.argmax(axis=1), classes=classes)
    # At 1 % prevalence and little skill the best decision finds (nearly) none, which labels alone
    # do not tell from a broken model.
    if shares is not RARE or skill > 2:
        assert flagged(labels) == set()


@pytest.mark.parametrize("n", [1, 5, 12])
@pytest.mark.parametrize("kind", ["right", "wrong", "constant"])
def test_a_few_samples_prove_nothing_but_their_fewness(
    build: Build, flagged: Flagged, n: int, kind: str
) -> None:
    targets = np.arange(n) % 2
    said = {"right": targets, "wrong": 1 - targets, "constant": 0 * targets}[kind]
    found = flagged(build(targets, predictions=said, classes=["a", "b"]))
    assert found <= {"too-few-samples"}


def test_one_answer_to_nine_samples_may_be_chance(build: Build, flagged: Flagged) -> None:
    evidence = build(np.arange(9), predictions=np.zeros(9, dtype=int), classes=list("abcdefghij"))
    assert "constant-prediction" not in flagged(evidence)


class TestConstant:
    def test_one_label_for_all(self, build: Build, audit: Audit) -> None:
        targets = np.arange(100) % 4
        found = audit(build(targets, predictions=np.full(100, 2), classes=list("abcd")))
        finding = found["constant-prediction"]
        assert finding.severity is Severity.SUSPECT
        assert "all of 100 samples are predicted as 'c', which 25 % of them are" in finding.message

    def test_nearly_one_label(self, build: Build, flagged: Flagged, honest: Honest) -> None:
        targets, scores = honest(1000, [1, 1], skill=0.0)
        column = np.random.default_rng(0).uniform(0.0, 0.505, 1000)
        assert flagged(build(targets, scores=two_columns(column))) == {"near-constant-prediction"}
        assert scores.shape == (1000, 2)

    def test_constant_scores_at_one_percent(self, build: Build, flagged: Flagged) -> None:
        targets = (np.arange(3000) % 100 == 0).astype(int)
        evidence = build(targets, scores=two_columns(np.full(3000, 0.01)))
        assert flagged(evidence) == {"constant-prediction"}

    def test_scores_that_rank_a_rare_class_below_the_threshold(
        self, build: Build, audit: Audit, honest: Honest
    ) -> None:
        targets, scores = honest(5000, RARE, skill=1.0)
        found = audit(build(targets, scores=scores, decision=Decision(threshold=0.9)))
        assert {finding.severity for finding in found.values()} == {Severity.INFO}
        assert "AUROC" in found["nothing-above-threshold"].message

    def test_a_weak_model_of_ten_rare_samples_is_not_flagged(
        self, build: Build, flagged: Flagged, honest: Honest
    ) -> None:
        # Ten positives can't prove that scores rank; that they may is enough.
        for seed in range(20):
            targets, scores = honest(1000, RARE, skill=0.7, seed=seed)
            assert flagged(build(targets, scores=scores)) == set()

    def test_few_but_true_predictions_of_a_rare_class(self, build: Build, flagged: Flagged) -> None:
        targets = (np.arange(10_000) % 100 == 0).astype(int)
        said = np.zeros(10_000, dtype=int)
        said[np.flatnonzero(targets)[:5]] = 1
        assert flagged(build(targets, predictions=said)) == set()
        said = np.roll(said, 1)
        assert flagged(build(targets, predictions=said)) == {"near-constant-prediction"}

    def test_constant_targets_want_constant_predictions(
        self, build: Build, flagged: Flagged
    ) -> None:
        zeros = np.zeros(500, dtype=int)
        assert flagged(build(zeros, predictions=zeros, classes=["a", "b"])) == set()

    def test_regression(self, build: Build, flagged: Flagged) -> None:
        rng = np.random.default_rng(0)
        targets = rng.normal(size=300)
        assert flagged(build(targets, predictions=np.full(300, 0.5))) == {"constant-prediction"}
        near = 0.5 + 1e-4 * rng.normal(size=300)
        assert flagged(build(targets, predictions=near)) == {"near-constant-prediction"}
        ends = np.tile([-1.0, 1.0], 150)  # a spread of exactly 1
        assert flagged(build(ends, predictions=np.full(300, 0.5))) == {"constant-prediction"}
        weak = 0.1 * targets + 0.1 * rng.normal(size=300)
        assert flagged(build(targets, predictions=weak)) == set()


class TestPermuted:
    @pytest.mark.parametrize("skill", [3.0, 1.5])
    def test_a_shifted_order(
        self, build: Build, honest: Honest, mapped: Audit, skill: float
    ) -> None:
        targets, scores = honest(500, [1] * 10, skill=skill)
        finding = mapped(build(targets, scores=np.roll(scores, 1, axis=1)))["mapping-error"]
        right = float((scores.argmax(axis=1) == targets).mean())
        assert finding.evidence["undone"] == pytest.approx(right)
        assert finding.evidence["means"] == {f"c{(k + 1) % 10}": f"c{k}" for k in range(10)}
        assert "'c0' means 'c9', 'c1' means 'c0'" in finding.message
        assert finding.severity is Severity.INVALID

    def test_two_of_ten_exchanged(self, build: Build, honest: Honest, mapped: Audit) -> None:
        targets, scores = honest(500, [1] * 10, skill=3.0)
        scores[:, [3, 7]] = scores[:, [7, 3]]
        finding = mapped(build(targets, scores=scores))["mapping-error"]
        assert finding.evidence["means"] == {"c3": "c7", "c7": "c3"}
        assert finding.severity is Severity.SUSPECT

    @pytest.mark.parametrize("shares", [[1, 1], RARE])
    def test_two_classes_exchanged(
        self, build: Build, honest: Honest, mapped: Audit, shares: list[int]
    ) -> None:
        targets, scores = honest(1000, shares, skill=2.5)
        finding = mapped(build(targets, scores=scores[:, ::-1]))["mapping-error"]
        assert finding.severity is Severity.INVALID

    def test_one_label_for_all_has_no_order(self, build: Build, mapped: Audit) -> None:
        targets = (np.arange(200) % 10 == 0).astype(int)
        found = mapped(build(targets, predictions=np.ones(200, dtype=int)))
        assert "mapping-error" not in found

    def test_random_predictions_fit_no_other_order(self, build: Build, mapped: Audit) -> None:
        for seed in range(20):
            rng = np.random.default_rng(seed)
            targets, said = rng.integers(0, 10, 100), rng.integers(0, 10, 100)
            found = mapped(build(targets, predictions=said, classes=list("abcdefghij")))
            assert "mapping-error" not in found

    def test_confusable_classes_are_no_other_order(self, build: Build, mapped: Audit) -> None:
        # Most of class 0 is taken for class 1, and half of class 1 for class 0.
        rng = np.random.default_rng(0)
        targets = np.arange(900) % 3
        said = targets.copy()
        said[(targets == 0) & (rng.uniform(size=900) < 0.6)] = 1
        said[(targets == 1) & (rng.uniform(size=900) < 0.5)] = 0
        assert mapped(build(targets, predictions=said)) == {}


@pytest.mark.parametrize(
    ("classes", "order"),
    [
        ([str(k) for k in range(11)], "sorted as text"),
        (["b", "A", "c", "D"], "sorted as text"),
        (["low", "mid", "high", "top"], "one lower"),
    ],
)
def test_an_order_with_a_name_is_named(
    build: Build, honest: Honest, mapped: Audit, classes: list[str], order: str
) -> None:
    targets, scores = honest(600, [1] * len(classes), skill=2.5)
    means = (
        (np.arange(len(classes)) - 1) % len(classes)
        if order == "one lower"
        else np.array(sorted(range(len(classes)), key=lambda at: classes[at]))
    )
    made = scores[:, means]  # column k holds the score of the class that it means
    finding = mapped(build(targets, scores=made, classes=classes))["mapping-error"]
    assert order in finding.message.partition("(")[0]
    assert finding.evidence["cause"] == "class order"


def test_rows_of_other_samples_are_found(build: Build, honest: Honest, mapped: Audit) -> None:
    targets, scores = honest(600, [1] * 4, skill=2.5)
    right = float((scores.argmax(axis=1) == targets).mean())
    finding = mapped(build(targets, scores=np.roll(scores, 1, axis=0)))["mapping-error"]
    assert "answers 1 rows further up" in finding.message
    assert finding.evidence["undone"] == pytest.approx(right)
    mixed = scores[np.random.default_rng(0).permutation(600)]
    assert mapped(build(targets, scores=mixed))["mapping-error"].evidence["cause"] == "rows"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda y: y * 100.0, "unit"), (lambda y: (y - 32) / 1.8, "unit"), (np.log, "logarithm"),
        (lambda y: -y, "sign"), (lambda y: np.roll(y, -2), "rows"), (lambda y: y, None),
    ],
)  # fmt: skip
def test_numbers_in_another_form(
    build: Build, mapped: Audit, change: Callable[[np.ndarray], np.ndarray], cause: str | None
) -> None:
    rng = np.random.default_rng(0)
    targets = rng.uniform(20.0, 40.0, 300)
    found = mapped(build(targets, predictions=change(targets + rng.normal(0, 2.0, 300))))
    assert [finding.evidence["cause"] for finding in found.values()] == ([cause] if cause else [])


def test_what_nothing_explains_is_said(build: Build, mapped: Audit, honest: Honest) -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=400)
    for said, severity in (
        (2.0 * rng.normal(size=400), Severity.INFO),
        (3.0 * rng.normal(size=400) - targets, Severity.SUSPECT),
    ):
        found = mapped(build(targets, predictions=said))
        assert found["worse-than-baseline"].severity is severity
    rare, scores = honest(2000, [9, 1], skill=1.0)
    eager = two_columns(np.clip(scores[:, 1] * 5, 0, 1))  # finds the rare class at a price
    found = mapped(build(rare, scores=eager))
    assert {code: one.severity for code, one in found.items()} == {
        "worse-than-baseline": Severity.INFO
    }


class TestDuplicates:
    def test_within_test(self, build: Build, audit: Audit, flagged: Flagged) -> None:
        ids = hashes(90)
        ids += [f"{ids[k]}-{copy}" for k in range(5) for copy in (1, 2)]
        targets = np.arange(100) % 2
        said = targets.copy()
        said[90:] = 1 - said[90:]
        evidence = build(targets, predictions=said, ids=ids)
        finding = audit(evidence)["duplicates-within-test"]
        assert finding.evidence["count"] == 10
        assert finding.evidence["share"] == 0.1
        assert finding.evidence["with"] == 0.9
        assert finding.evidence["without"] == 1.0
        assert finding.evidence["contents_with_several_targets"] == 5
        assert flagged(evidence) == {"duplicates-within-test"}

    def test_one_of_150_is_told_not_held_against_it(self, build: Build, audit: Audit) -> None:
        ids = hashes(400)
        ids[-1] = f"{ids[0]}-1"
        targets = np.arange(400) % 2
        found = audit(build(targets, predictions=targets, ids=ids))
        assert found["duplicates-within-test"].severity is Severity.INFO
        assert "1 of 400 test samples (0.25 %)" in found["duplicates-within-test"].message

    def test_between_train_and_test(self, build: Build, audit: Audit, flagged: Flagged) -> None:
        targets = np.arange(400) % 2
        said = targets.copy()
        said[20:120] = 1 - said[20:120]
        train_ids = [*hashes(19), f"{19:032x}-3", *hashes(100, start=1000)]
        train = {"targets": targets[:120], "predictions": targets[:120], "ids": train_ids}
        evidence = build(
            targets, predictions=said, ids=hashes(400), train=train, modality=Modality.IMAGE
        )
        finding = audit(evidence)["duplicates-between-train-and-test"]
        assert flagged(evidence) == {"duplicates-between-train-and-test"}
        assert finding.evidence["count"] == 20
        assert finding.evidence["with"] == 0.75
        assert finding.evidence["without"] == pytest.approx(280 / 380)
        assert "20 of 400 test samples (5 %) are in the train role, too: accuracy" in (
            finding.message
        )

    def test_all_of_test_is_in_train(self, build: Build, audit: Audit) -> None:
        targets = np.linspace(0.0, 1.0, 500)
        train = {"targets": targets, "predictions": targets, "ids": hashes(500)}
        evidence = build(targets, predictions=targets + 0.01, ids=hashes(500), train=train)
        finding = audit(evidence)["duplicates-between-train-and-test"]
        assert finding.evidence["without"] is None
        assert "nothing is left" in finding.message

    def test_other_contents_are_none(self, build: Build, audit: Audit) -> None:
        targets = np.arange(400) % 2
        train = {"targets": targets, "predictions": targets, "ids": hashes(400, start=400)}
        found = audit(build(targets, predictions=targets, ids=hashes(400), train=train))
        assert not [code for code in found if code.startswith("duplicates")]


class TestPrecision:
    def test_says_how_wide_and_how_many(self, build: Build, audit: Audit) -> None:
        targets = np.arange(100) % 2
        said = np.where(np.arange(100) < 20, 1 - targets, targets)
        finding = audit(build(targets, predictions=said))["too-few-samples"]
        assert finding.severity is Severity.INFO
        assert finding.evidence["half_width"] == pytest.approx(0.0777, abs=1e-3)
        assert finding.evidence["units_needed"] == 250
        assert "accuracy 0.8 is known to within 0.078 only, from 100 samples" in finding.message

    def test_twenty_are_too_few(self, build: Build, audit: Audit) -> None:
        targets = np.arange(20) % 2
        said = np.where(np.arange(20) < 6, 1 - targets, targets)
        finding = audit(build(targets, predictions=said))["too-few-samples"]
        assert finding.severity is Severity.SUSPECT

    def test_clusters_count_not_samples(self, build: Build, audit: Audit, honest: Honest) -> None:
        targets, scores = honest(60, [1, 1], skill=1.0)
        rows = np.repeat(np.arange(60), 50)
        evidence = build(targets[rows], scores=scores[rows], clusters=[f"k{i}" for i in rows])
        assert "from 60 clusters" in audit(evidence)["too-few-samples"].message
        assert "too-few-samples" not in audit(build(targets[rows], scores=scores[rows]))

    def test_regression(self, build: Build, audit: Audit) -> None:
        rng = np.random.default_rng(0)
        targets = rng.normal(size=50)
        finding = audit(build(targets, predictions=targets + rng.normal(size=50)))
        assert finding["too-few-samples"].severity is Severity.INFO
        few = audit(build(targets[:3], predictions=targets[:3] + 1))
        assert "3 samples are too few" in few["too-few-samples"].message
        for n, found in ((4, {"too-few-samples"}), (5, set())):
            assert set(audit(build(targets[:n], predictions=targets[:n] + 1))) == found
        many = rng.normal(size=2000)
        assert audit(build(many, predictions=many + rng.normal(size=2000))) == {}


def test_a_threshold_that_labels_cannot_meet(build: Build, audit: Audit, flagged: Flagged) -> None:
    targets = np.arange(500) % 2
    evidence = build(targets, predictions=targets, decision=Decision(threshold=0.31))
    assert flagged(evidence) == {"threshold-not-applied"}
    assert "0.31" in audit(evidence)["threshold-not-applied"].message
    assert flagged(build(targets, predictions=targets)) == set()
    three = build(targets % 3, predictions=targets % 3, classes=list("abc"))
    assert flagged(three) == set()


def test_zero_probability_of_the_target(build: Build, audit: Audit) -> None:
    targets = np.arange(1000) % 2
    column = np.where(targets == 1, 0.8, 0.2)
    column[:3] = 1 - targets[:3]
    found = audit(build(targets, scores=two_columns(column)))
    finding = found["zero-probability"]
    assert finding.severity is Severity.INFO
    assert finding.evidence["count"] == 3
    owed = 3 * 36.0437 / (3 * 36.0437 - 997 * np.log(0.8))
    assert finding.evidence["share_of_log_loss"] == pytest.approx(owed, rel=1e-4)
    assert "zero-probability" not in audit(build(targets, scores=two_columns(column * 0.9 + 0.05)))


def test_classes_without_samples(build: Build, audit: Audit) -> None:
    targets = np.arange(1000) % 2
    found = audit(build(targets, predictions=targets, classes=["a", "b", "c", "d"]))
    assert found["classes-without-samples"].evidence["missing"] == ["c", "d"]
