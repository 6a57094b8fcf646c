"""Planted defects that the suite's audits must find, and cases without any."""

from __future__ import annotations

from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench.contracts.evidence import CellEvidence
from crucibench_suites.leak.scenarios import CROSS_VALIDATED, Labels, NearDuplicates, TrainedOn

_N = 600
_TARGETS = np.arange(_N) % 2
_IDS = [f"{row:032x}" for row in range(_N)]


def _pass(wrong: float = 0.1, seed: int = 0) -> CellEvidence:
    """Returns a pass whose answers are wrong so often, with probabilities that say how surely."""
    rng = np.random.default_rng(seed)
    right = rng.beta(9, 2, size=_N)
    right[: int(wrong * _N)] *= 0.5
    scores = np.where(_TARGETS[:, None] == np.arange(2), right[:, None], 1 - right[:, None])
    return example_cell({"prediction": scores.argmax(axis=1), "scores": scores}, _TARGETS)


def _near(train: int = 0, test: int = 0) -> AuditCase:
    """Returns a cell in which so many samples repeat others."""
    partners = {
        name: np.array([_IDS[0]] * count + [""] * (_N - count), dtype=object)
        for name, count in (("train", train), ("test", test))
    }
    scenario: Any = NearDuplicates(name="near-duplicates")
    return AuditCase(
        example_evidence(example_cell({"id": _IDS, **partners}, _TARGETS), {"pass": _pass()}),
        scenario,
    )


def _labels(flipped: int) -> AuditCase:
    """Returns a judge that is nearly sure of the true labels, so many of which were flipped."""
    true = _TARGETS.copy()
    true[:flipped] = 1 - true[:flipped]
    judge = np.where(true[:, None] == np.arange(2), 0.9, 0.1)
    own = example_cell({"id": _IDS, "probability": judge}, _TARGETS)
    return AuditCase(
        example_evidence(own, {"pass": _pass()}), Labels.of(CROSS_VALIDATED, "model", ())
    )


def _membership(wrong_in_train: float) -> AuditCase:
    """Returns passes over train and test; of test every other answer is half sure."""
    train = _pass(wrong_in_train, seed=1)
    test = _pass(0.5, seed=2)
    return AuditCase(example_evidence(test, {"train": train, "test": test}), TrainedOn())


def _memorised() -> AuditCase:
    """Returns passes over train and test, train answered as surely as nothing of test."""
    case = _membership(0.0)
    sure = np.where(_TARGETS[:, None] == np.arange(2), 1 - 1e-6, 1e-6)
    train = example_cell({"prediction": _TARGETS, "scores": sure}, _TARGETS)
    needs = {**case.evidence.needs, "train": train}
    return AuditCase(example_evidence(case.evidence.own, needs), case.scenario)


NEAR = KnownFindings(
    planted={
        "near-duplicates-train": lambda: _near(train=6),
        "near-duplicates-test": lambda: _near(test=30),
    },
    clean=_near,
)
LABELS = KnownFindings(
    planted={"doubtful-labels": lambda: _labels(30)},
    clean=lambda: _labels(0),
    spared={"doubtful-labels": lambda: _labels(9)},
)
MEMBERSHIP = KnownFindings(
    planted={"membership-inferred": _memorised}, clean=lambda: _membership(0.5)
)  # fmt: skip
