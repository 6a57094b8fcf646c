"""Planted defects that the audits of the clean scenario must find, and a case without any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench.contracts.task import Decision
from crucibench_suites.accuracy.scenario import Clean

_N = 1200


def _case(
    predictions: NDArray[Any] | None = None,
    *,
    scores: NDArray[np.float64] | None = None,
    n: int = _N,
    classes: Sequence[str] = ("a", "b", "c"),
    ids: Sequence[str] | None = None,
    train: Sequence[str] | None = None,
    decision: Decision | None = None,
) -> AuditCase:
    """Returns a pass over n samples of classes 0, 1, 2, 0, ...; by default 9 of 10 are right."""
    targets = np.arange(n) % 3
    if predictions is None:
        predictions = np.where(np.arange(n) % 10 == 0, (targets + 1) % 3, targets)
    columns: dict[str, Any] = {"prediction": predictions.astype(np.int32)}
    if scores is not None:
        columns["scores"] = scores.astype(np.float32)
    if ids is not None:
        columns["id"] = list(ids)
    test = example_cell(columns, targets)
    test = replace(test, model=replace(test.model, decision=decision or Decision()))
    needs = {"test": test}
    if train is not None:
        there = {"id": list(train), "prediction": np.zeros(len(train), dtype=np.int32)}
        needs["train"] = example_cell(there, np.zeros(len(train), dtype=np.int64))
    own = replace(test, records=example_cell({}, []).records)
    return AuditCase(
        example_evidence(own, needs, classes=classes), Clean.of("accuracy", train=True)
    )


def _ids(n: int, start: int = 0) -> list[str]:
    return [f"{row:032x}" for row in range(start, start + n)]


def _certain() -> NDArray[np.float64]:
    """Returns probabilities that are 0 of two classes, the right one among them for a few."""
    wrong = np.arange(_N) < 10
    return np.eye(3)[(np.arange(_N) + wrong) % 3]


def _binary(decision: Decision | None = None) -> AuditCase:
    targets = np.arange(_N) % 2
    made = _case(targets, classes=("a", "b"), decision=decision)
    test = made.evidence.needs["test"]
    test = replace(test, samples=test.samples.replaced(targets=targets))
    return AuditCase(replace(made.evidence, needs={"test": test}), made.scenario)


CONSTANT = KnownFindings(
    planted={
        "constant-prediction": lambda: _case(np.zeros(_N)),
        "near-constant-prediction": lambda: _case((np.arange(_N) == 5).astype(float)),
    },
    clean=_case,
)

THRESHOLD = KnownFindings(
    planted={"threshold-not-applied": lambda: _binary(Decision(threshold=0.8))}, clean=_binary
)

ZERO = KnownFindings(
    planted={"zero-probability": lambda: _case(scores=_certain())},
    clean=lambda: _case(scores=0.9 * np.eye(3)[np.arange(_N) % 3] + 0.1 / 3),
)

CLASSES = KnownFindings(
    planted={"classes-without-samples": lambda: _case(classes=("a", "b", "c", "d"))}, clean=_case
)

DUPLICATES = KnownFindings(
    planted={
        "duplicates-within-test": lambda: _case(
            ids=[*_ids(_N - 200), *(f"{name}-1" for name in _ids(200))]
        ),
        "duplicates-between-train-and-test": lambda: _case(train=_ids(300, start=1000)),
    },
    clean=lambda: _case(train=_ids(300, start=_N)),
)


def _patients(shared: bool, columns: Sequence[str] = ("patient", "ward")) -> AuditCase:
    """Returns 40 patients of ten rows, and a few groups that are right more or less often.

    Args:
        shared: whether a patient's rows are right or wrong together.
        columns: those that the data declares as groups.
    """
    rng = np.random.default_rng(11)
    patient = np.repeat(np.arange(40), 10)
    wrong = (
        (rng.random(40) < 0.3)[patient] if shared else rng.random(400) < 0.1 + 0.1 * (patient % 4)
    )
    targets = np.arange(400) % 3
    made = _case(np.where(wrong, (targets + 1) % 3, targets), n=400)
    test = made.evidence.needs["test"]
    groups = pd.DataFrame({"patient": patient.astype(str), "ward": (patient % 4).astype(str)})
    test = replace(test, samples=test.samples.replaced(groups=groups[[*columns]].astype(object)))
    return AuditCase(replace(made.evidence, needs={"test": test}), made.scenario)


DEPENDENCE = KnownFindings(
    planted={
        "undeclared-clusters": lambda: _patients(shared=True),
        "neighbours-agree": lambda: _patients(shared=True, columns=()),
    },
    # Wards differ, and their rows follow each other: no dependence.
    clean=lambda: _patients(shared=False, columns=("ward",)),
)

PRECISION = KnownFindings(planted={"too-few-samples": lambda: _case(n=24)}, clean=_case)
