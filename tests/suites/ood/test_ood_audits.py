"""Audits: each finds its planted defect, and leaves a clean case alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crucibench as cb
from crucibench.contracts.detector import Head, UnfitError
from crucibench.contracts.verdict import Status
from crucibench_suites.ood.audits import audit_detector, audit_easy, audit_sets
from crucibench_suites.ood.detectors import detector, detectors
from crucibench_suites.ood.sets import OODSet

RNG = np.random.default_rng(4)
KNOWN = RNG.normal(size=120)
GOOD = {"near/a": RNG.normal(1, 1, 120), "far/b": RNG.normal(3, 1, 120)}
MSP = detector("msp")


class Turned(type(MSP)):  # type: ignore[misc]
    """A detector whose sign is wrong."""

    def fit(self, material: Any) -> Any:
        score = super().fit(material)
        return lambda answers, values: -score(answers, values)


def codes(findings: Any) -> list[str]:
    return [f"{entry.severity}: {entry.code}" for entry in findings]


def test_a_good_detector_is_left_alone(maker: Any) -> None:
    assert audit_detector(maker.detection(KNOWN, GOOD), MSP) == []


def test_a_detector_at_chance_is_left_alone(maker: Any) -> None:
    sets = {"far/b": np.random.default_rng(9).normal(size=120)}
    assert audit_detector(maker.detection(KNOWN, sets), MSP) == []


def test_a_turned_sign_is_pointed_out(maker: Any) -> None:
    turned = maker.detection(-KNOWN, {name: -values for name, values in GOOD.items()})
    wrong, found = audit_detector(turned, Turned())
    assert codes([wrong, found]) == ["suspect: detector-self-test", "suspect: worse-than-chance"]
    assert "sign error in the detector" in found.message and "near/a" in found.message
    # Where the self-test passes it is the model, and the number is what it says.
    (told,) = audit_detector(turned, MSP)
    assert codes([told]) == ["info: worse-than-chance"]
    assert "surest of what it does not know" in told.message
    assert found.evidence["auroc"].keys() == GOOD.keys()


def test_perfectly_wrong_is_worse_than_chance_too(maker: Any) -> None:
    (found,) = audit_detector(maker.detection(KNOWN, {"far/b": KNOWN - 100}), MSP)
    assert found.code == "worse-than-chance"


def test_one_set_below_chance_is_told(maker: Any) -> None:
    sets = {**GOOD, "far/c": RNG.normal(-1, 1, 120)}
    (found,) = audit_detector(maker.detection(KNOWN, sets), MSP)
    assert codes([found]) == ["info: worse-than-chance-on-a-set"]
    assert "far/c" in found.message and "near/a" not in found.message


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.02, []), (0.2, ["info: tied-scores"]), (0.5, ["suspect: tied-scores"])],
)
def test_ties(maker: Any, share: float, expected: list[str]) -> None:
    def saturated(values: np.ndarray) -> np.ndarray:
        tied = values.copy()
        tied[: int(share * len(tied))] = -1.0
        return tied

    sets = {name: saturated(values) for name, values in GOOD.items()}
    assert codes(audit_detector(maker.detection(saturated(KNOWN), sets), MSP)) == expected


def test_a_constant_detector_is_told(maker: Any) -> None:
    same = maker.detection(np.zeros(120), {name: np.zeros(120) for name in GOOD})
    assert "suspect: tied-scores" in codes(audit_detector(same, MSP))


def test_ties_on_one_side_rank_nothing_wrongly(maker: Any) -> None:
    constant = maker.detection(KNOWN, {"far/constant": np.full(120, 9.0)})
    assert audit_detector(constant, MSP) == []


def sets_evidence(maker: Any, *, test: list[str], train: list[str], **roles: list[str]) -> Any:
    def cell(ids: list[str]) -> Any:
        return maker.cell({"id": ids, "prediction": np.zeros(len(ids), dtype=np.int32)})

    needs = {name: cell(ids) for name, ids in roles.items()}
    return maker.evidence(cell(test), test=cell(test), train=cell(train), **needs)


OWN_SETS = (
    OODSet(kind="far", name="x", generated=False),
    OODSet(kind="validation", name="v", generated=False),
    OODSet(kind="near", name="class-mixture"),
)


def hashes(start: int, count: int = 100) -> list[str]:
    return [f"{row:032x}" for row in range(start, start + count)]


def test_sets_that_are_apart_are_left_alone(maker: Any) -> None:
    evidence = sets_evidence(
        maker, test=hashes(0), train=hashes(200), far__x=hashes(400), validation__v=hashes(600)
    )
    assert audit_sets(evidence, OWN_SETS) == []


def test_overlaps_are_counted(maker: Any) -> None:
    evidence = sets_evidence(
        maker,
        test=hashes(0),
        train=[f"{hashes(0)[0]}-1", *hashes(200)],  # a repetition of the first test sample
        far__x=[*hashes(90, 10), *hashes(200, 1), *hashes(400, 89)],
        validation__v=hashes(470),
    )
    found = {
        (entry.code, entry.evidence.get("role", "")): entry
        for entry in audit_sets(evidence, OWN_SETS)
    }
    assert found["train-overlaps-test", ""].evidence["n"] == 1
    assert found["ood-overlaps-id", "test"].evidence["n"] == 10
    assert found["ood-overlaps-id", "train"].evidence["n"] == 1
    assert "10 of 100 samples of far/x" in found["ood-overlaps-id", "test"].message
    assert found["validation-overlaps-scored", ""].evidence["n"] == 19
    assert {str(entry.severity) for entry in found.values()} == {"suspect"}


def test_a_rare_overlap_is_told_and_no_more(maker: Any) -> None:
    evidence = sets_evidence(
        maker, test=hashes(0, 500), train=hashes(499), far__x=hashes(1000),
        validation__v=hashes(2000),
    )  # fmt: skip
    assert codes(audit_sets(evidence, OWN_SETS)) == ["info: train-overlaps-test"]


def easy_evidence(maker: Any, area: float) -> Any:
    evidence = maker.detection(KNOWN, GOOD)
    records = {
        "id": ["near/a brightness", "far/b brightness"],
        "point": np.array(["near/a", "far/b"], dtype=object),
        "statistic": ["brightness", "brightness"],
        "auroc": np.array([0.6, area]),
        "n": np.array([240, 240]),
    }
    return maker.evidence(
        evidence.own, test=evidence.needs["test"], detector=evidence.own, sets=maker.cell(records)
    )


def test_an_easy_set_is_named(maker: Any) -> None:
    (found,) = audit_easy(easy_evidence(maker, 1.0), "msp")
    assert codes([found]) == ["info: easy-set"]
    assert "1 of 2 sets" in found.message and "brightness 1.000" in found.message
    assert found.evidence.keys() == {"far/b"}


def test_a_set_that_needs_the_detector_is_left_alone(maker: Any) -> None:
    assert audit_easy(easy_evidence(maker, 0.9), "msp") == []


# Train roles that a detector can't be fitted on: it has no numbers, and says why.

HEAD = Head(weight=RNG.normal(size=(3, 6)), bias=RNG.normal(size=3))
FEATURES = np.maximum(RNG.normal(0.5, 1.0, (30, 6)), 0.0)
TARGETS = np.arange(30) % 3

CASES: dict[str, tuple[np.ndarray, np.ndarray, set[str]]] = {
    "one sample": (FEATURES[:1], TARGETS[:1], {"mahalanobis", "relative-mahalanobis", "vim"}),
    "one of each class": (FEATURES[:3], TARGETS[:3], {"mahalanobis", "relative-mahalanobis"}),
    "one of each class, far from 0": (
        1e4 + FEATURES[:3], TARGETS[:3], {"mahalanobis", "relative-mahalanobis"},
    ),
    "constant features": (
        np.full((30, 6), 0.1), TARGETS, {"mahalanobis", "relative-mahalanobis", "vim"},
    ),
    "one of a class": (np.r_[FEATURES[TARGETS < 2], FEATURES[2:3]],
                       np.r_[TARGETS[TARGETS < 2], 2], set()),
    "a class without a sample": (FEATURES[TARGETS < 2], TARGETS[TARGETS < 2], set()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_who_can_be_fitted(case: str, bench: Any) -> None:
    features, targets, expected = CASES[case]
    material = bench.material(features, targets, HEAD)
    asked = bench.answers(RNG.normal(size=(8, 6)), HEAD)
    unfit = set()
    for name in set(detectors().names()) - {"odin"}:
        entry = detector(name)
        try:
            scores = entry.fit(material)(asked, (entry.default,))
        except UnfitError:
            unfit.add(name)
        else:
            assert np.isfinite(scores).all(), name
    # Of three samples the residual may be rounding or not: it depends on the origin.
    assert unfit - {"vim"} == expected - {"vim"}
    assert len(features) == 3 or ("vim" in unfit) == ("vim" in expected)


def test_the_other_detectors_go_on(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10)
    )
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.fill_(0.1)
    run = cb.run(
        models={"dead": net.eval()}, data="sklearn:digits?split=0.3", suites=["ood"],
        out=tmp_path, workers=0, cache=False, defaults={"limit": 60, "replicates": 100},
        settings={
            "ood.detectors": ["msp", "mahalanobis", "knn"], "ood.headline": "mahalanobis",
            "ood.generators": ["uniform-noise"],
        },
    )  # fmt: skip
    assert run.exit_code == 0
    found = {file.scenario: file for file in run.cells.values() if file.suite == "ood"}
    assert {file.status for file in found.values()} == {Status.OK}
    (finding,) = found["mahalanobis"].findings
    assert finding.code == "unfit-detector" and "do not vary within classes" in finding.message
    rows = run.metrics()
    rows = rows[rows.suite == "ood"]
    for scenario in ("mahalanobis", "headline", "detectors"):
        mine = rows[rows.scenario == scenario]
        assert len(mine) and mine.value.isna().all()
        assert mine.reason.str.startswith("it can't be fitted: the features").all()
    knn = rows[(rows.scenario == "knn") & (rows.metric == "ood-auroc")]
    assert (knn.value == 0.5).all()  # all features are equal: every distance ties
    table = run.table(found["detectors"].cell, "detectors")
    assert table is not None
    assert table.set_index("detector")["setting"]["Mahalanobis (headline)"] == "can't be fitted"
    assert "Mahalanobis" in (run.root / "report.html").read_text()
    again = cb.compare(run, run, models={"dead": "dead"})
    none = [one for one in again.differences if "ood/mahalanobis" in str(one.address)]
    assert none and all(one.delta is None for one in none)
