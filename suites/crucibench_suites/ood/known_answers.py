"""Planted defects that the audits of OOD detection must find, and cases without any."""

from __future__ import annotations

from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench_suites.ood.detection import Detection
from crucibench_suites.ood.headline import Headline
from crucibench_suites.ood.set_checks import Sets
from crucibench_suites.ood.sets import OODSet

_N = 120
_TARGETS = np.arange(_N) % 2
_KNOWN_SCORES = np.linspace(0, 1, _N)
_SETS = (
    OODSet(kind="far", name="x", generated=False),
    OODSet(kind="validation", name="v", generated=False),
)


def _ids(start: int = 0) -> list[str]:
    return [f"{row:032x}" for row in range(start, start + _N)]


def _pass(start: int = 0) -> Any:
    return example_cell({"id": _ids(start), "prediction": _TARGETS}, _TARGETS)


def _detector(known: Any, **sets: Any) -> Any:
    """Returns a detector's cell: its scores of the test role, and those of each far set."""
    columns = {
        "id": _ids() * (1 + len(sets)),
        "point": np.repeat(["id", *(f"far/{name}" for name in sets)], _N).astype(object),
        "score": np.concatenate([known, *sets.values()]),
        "value": np.full(_N * (1 + len(sets)), np.nan),
    }
    return example_cell(columns, _TARGETS)


def _scores(known: Any, **sets: Any) -> AuditCase:
    evidence = example_evidence(_detector(known, **sets), {"test": _pass()})
    return AuditCase(evidence, Detection.of("msp", (), 0.0))


def _easy(trivial: float) -> AuditCase:
    """Returns a set that a statistic of the input tells so well, and the detector at 0.875."""
    found = _detector(_KNOWN_SCORES, x=_KNOWN_SCORES + 0.5)
    sets = example_cell(
        {
            "id": ["far/x brightness"], "point": "far/x", "statistic": ["brightness"],
            "auroc": np.array([trivial]),
        },
        [0],
    )  # fmt: skip
    needs = {"test": _pass(), "detector": found, "sets": sets}
    return AuditCase(example_evidence(found, needs), Headline.of((), "msp"))


def _overlapping(train: int = 200, far: int = 400, validation: int = 600) -> AuditCase:
    """Returns roles of 120 samples by the number of their first; test begins at 0."""
    needs = {
        "test": _pass(), "train": _pass(train), "far/x": _pass(far),
        "validation/v": _pass(validation),
    }  # fmt: skip
    return AuditCase(example_evidence(_pass(), needs), Sets.of(_SETS, 0.0, train=True))


def _generated(scores: float, looks: float) -> AuditCase:
    """Returns a generated set whose scores, and looks, lie so far from those of its samples."""

    def cell(moved: float, **more: Any) -> Any:
        columns = {"id": _ids(), "scores": np.stack([_KNOWN_SCORES + moved] * 2, axis=1)}
        return example_cell({**columns, "prediction": _TARGETS, **more}, _TARGETS)

    needs = {
        "test": cell(0.0), "inputs": cell(0.0, input_mean=_KNOWN_SCORES),
        "far/x": cell(scores, input_mean=_KNOWN_SCORES + looks),
    }  # fmt: skip
    sets = (OODSet(kind="far", name="x"),)
    return AuditCase(example_evidence(_pass(), needs), Sets.of(sets, 0.0, train=False))


SCORES = KnownFindings(
    planted={
        "worse-than-chance": lambda: _scores(_KNOWN_SCORES, x=_KNOWN_SCORES - 0.5),
        "worse-than-chance-on-a-set": lambda: _scores(
            _KNOWN_SCORES, x=_KNOWN_SCORES - 0.5, y=_KNOWN_SCORES + 2, z=_KNOWN_SCORES + 2
        ),
        "tied-scores": lambda: _scores(np.zeros(_N), x=np.zeros(_N)),
    },
    clean=lambda: _scores(_KNOWN_SCORES, x=_KNOWN_SCORES + 0.5),
)

EASY = KnownFindings(planted={"easy-set": lambda: _easy(0.99)}, clean=lambda: _easy(0.6))

UNCHANGED = KnownFindings(
    planted={"unchanged-set": lambda: _generated(0.0, 0.0)},
    # A model may not look at what a generator changes, and still nothing is wrong with the set.
    clean=lambda: _generated(0.0, 1.0),
)

OVERLAPPING = KnownFindings(
    planted={
        "train-overlaps-test": lambda: _overlapping(train=100),
        "ood-overlaps-id": lambda: _overlapping(far=100),
        "validation-overlaps-scored": lambda: _overlapping(validation=500),
    },
    clean=_overlapping,
)
