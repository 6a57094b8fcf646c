"""Claims rest on paired, corrected tests of valid, unmarked numbers; they are stored, made once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import crucibench as cb
from crucibench.comparing import claims as claims_module
from crucibench.comparing.claims import LEVEL, Claims, claims_of, make_claims
from crucibench.contracts.task import Modality, Task
from crucibench.stats import mcnemar_exact

TOP_1 = "accuracy/clean/top-1"
N = 400


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> cb.Run:
    """Five models of one data set: two alike, one a little worse, one much worse, one better."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, size=N)
    inputs = np.stack([np.arange(N, dtype=np.float64), rng.normal(size=N)], axis=1)
    order = rng.permutation(N)

    def model(errors: int) -> object:
        wrong = np.zeros(N, dtype=bool)
        wrong[order[:errors]] = True
        answers = np.where(wrong, 1 - targets, targets)

        def predict(frame: object) -> np.ndarray:
            rows = np.asarray(frame)[:, 0].astype(int)
            positive = np.where(answers[rows] == 1, 0.9, 0.1)
            return np.stack([1 - positive, positive], axis=1)

        return predict

    models = {"good": model(20), "twin": model(20), "close": model(23), "poor": model(120)}
    models["rare"] = model(6)
    return cb.run(
        models=models, data=(inputs, targets), suites=["accuracy"],
        out=tmp_path_factory.mktemp("claims"),
    )  # fmt: skip


def test_a_claim_is_a_paired_corrected_test(run: cb.Run) -> None:
    found = make_claims(run)
    claim = found.better("data", TOP_1, "good", "poor")
    assert claim is not None
    assert claim.by == pytest.approx(100 / N)
    assert claim.values == (pytest.approx(380 / N), pytest.approx(280 / N))
    assert claim.lower < claim.by < claim.upper and claim.lower > 0
    assert claim.p == pytest.approx(mcnemar_exact(100, 0))
    tests = len(found.tested)
    assert claim.p < claim.p_adjusted <= tests * claim.p
    assert found.better("data", TOP_1, "poor", "good") is None


def test_what_is_not_shown_is_not_claimed(run: cb.Run) -> None:
    found = make_claims(run)
    for other in ("twin", "close"):
        pair = next(
            entry
            for entry in found.tested
            if entry[1] == TOP_1 and {entry.first, entry.second} == {"good", other}
        )
        assert pair
        assert found.better("data", TOP_1, "good", other) is None
        assert found.better("data", TOP_1, other, "good") is None
    assert all(claim.p_adjusted < 1 - LEVEL for claim in found.claims)


def test_a_marked_number_bears_no_claim(run: cb.Run) -> None:
    place = "accuracy/clean/ece-l2-15-equal-mass-debiased-top-label"
    found = make_claims(run)
    assert all("rare" not in {claim.better, claim.worse} for claim in found.claims
               if claim.place == place)  # fmt: skip
    untested = [entry for entry in found.untested if entry.place == place]
    assert {entry.reason for entry in untested} == {"the number of rare is marked imprecise"}
    assert {other for entry in untested for other in entry.models} == {
        "good", "twin", "close", "poor", "rare"
    }  # fmt: skip


def test_claims_are_stored_and_made_once(run: cb.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = claims_of(run)
    stored = json.loads(Path(run.layout.claims).read_text())
    assert len(stored["claims"]) == len(first.claims) > 0

    def refuse(_: cb.Run) -> Claims:
        raise AssertionError("made again")

    monkeypatch.setattr(claims_module, "make_claims", refuse)
    assert claims_of(run) == first
    stored["of"] = "another state of the run"
    Path(run.layout.claims).write_text(json.dumps(stored))
    with pytest.raises(AssertionError, match="made again"):
        claims_of(run)


def test_baselines_are_scored_from_targets_and_beaten_or_not(run: cb.Run) -> None:
    found = make_claims(run)
    (cell,) = (one for one in run.cells.values() if one.cell.startswith("good.data.accuracy"))
    targets = run.samples("data", cell.role).targets
    share = max(targets.mean(), 1 - targets.mean())
    values = {(one.baseline, one.place.rpartition("/")[2]): one for one in found.baselines}
    assert values["majority class", "top-1"].value == pytest.approx(share)
    assert values["majority class", "balanced-accuracy"].value == 0.5
    assert values["majority class", "auroc"].value == 0.5
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert values["majority class", "log-loss"].value == pytest.approx(entropy, rel=1e-6)
    drawn = values["stratified random", "top-1"]
    assert drawn.lower <= share**2 + (1 - share) ** 2 <= drawn.upper
    assert ("stratified random", "log-loss") not in values
    assert found.beside is not None
    for model, errors in (("good", 20), ("poor", 120)):
        claim = found.beside.better("data", TOP_1, model, "majority class")
        assert claim is not None and claim.by == pytest.approx(1 - errors / N - share)
    assert {one.first for one in found.beside.tested} == {"majority class", "stratified random"}
    # A constant answer is well calibrated, which makes it no rival.
    assert not [one.place for one in found.beside.tested if "/ece-" in one.place]
    assert [one.place for one in found.baselines if "/ece-" in one.place]
    assert not {one.better for one in found.claims} & {"majority class", "stratified random"}


def test_baselines_of_numbers_are_the_best_constants() -> None:
    task = Task(kind="regression", modality=Modality.TABLE)
    answers = task.definition.baselines(np.array([0.0, 1.0, 8.0, np.nan]), task, np.zeros(4))
    assert {name: one["values"].tolist() for name, one in answers.items()} == {
        "mean": [3.0] * 4, "median": [1.0] * 4
    }  # fmt: skip
    assert task.definition.baselines(np.array([np.nan]), task, np.zeros(1)) == {}
