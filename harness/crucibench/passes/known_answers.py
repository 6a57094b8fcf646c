"""Planted defects that the audits of a pass must find, and cases without any."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench.contracts.capability import ScoreKind
from crucibench.contracts.records import Columns
from crucibench.passes.scenario import Pass

_N = 200
_TARGETS = np.arange(_N) % 2
_CLASSES = 2


def _case(
    scores: Any = None,
    *,
    score_kind: ScoreKind = "logits",
    probes: dict[str, Columns] | None = None,
    diagnostics: dict[str, Any] | None = None,
) -> AuditCase:
    """Returns a pass over 200 samples; by default logits of a model that is always right."""
    if scores is None:
        scores = 6.0 * np.eye(_CLASSES)[_TARGETS] + np.linspace(0, 1, _N)[:, None]
    columns = {"prediction": scores.argmax(axis=1).astype(np.int32), "scores": scores}
    own = example_cell(
        columns, _TARGETS, probes=probes, score_kind=score_kind, diagnostics=diagnostics
    )
    return AuditCase(example_evidence(own), Pass(name="test"))


def _softmax(logits: Any) -> Any:
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def _repeated(**apart: float) -> AuditCase:
    """Returns a case by how far answers lie apart, asked again and in batches of 1 and 7."""
    points = {"again": "again", "one": "batch=1", "seven": "batch=7"}
    n = 8
    far = np.repeat([apart.get(name, 0.0) for name in points], n)
    probe = {
        "id": [f"{row:032x}" for row in range(n)] * len(points),
        "point": np.repeat(list(points.values()), n).astype(object),
        "apart": far,
        "scale": np.ones(len(far)),
        "flip": far > 0,
    }
    return _case(probes={"repeat": probe})


def _swapped_by_position() -> AuditCase:
    scores = 6.0 * np.eye(_CLASSES)[1 - _TARGETS]
    return _case(scores, diagnostics={"classes": "classes are matched by position: unnamed"})


def _undone(right_as_given: int) -> AuditCase:
    """Returns a case in which a change undone makes all right, and so many are right as given."""
    ids = [f"{row:032x}" for row in range(_N)]
    given = np.where(np.arange(_N) < right_as_given, _TARGETS, 1 - _TARGETS)
    probe = {
        "id": ids * 2,
        "point": np.repeat(["as given", "normalisation: none"], _N).astype(object),
        "prediction": np.concatenate([given, _TARGETS]),
        "tried": np.full(2 * _N, 9),
    }
    return _case(probes={"undone": probe})


def _pixels(highest: float) -> AuditCase:
    probe = {"id": ["0"], "lowest": np.zeros(1), "highest": np.array([highest])}
    return _case(probes={"range": probe})


def _probabilities(scores: Any) -> AuditCase:
    return _case(scores, score_kind="probabilities")


_SURE = _softmax(np.linspace(4, 9, _N)[:, None] * np.eye(_CLASSES)[_TARGETS])

MAPPING = KnownFindings(
    planted={
        "mapping-error": lambda: _undone(100),
        "classes-matched-by-position": _swapped_by_position,
        "train-mode": lambda: _case(diagnostics={"training_modules": ["layer1.bn"]}),
    },
    clean=lambda: _undone(195),
)

REPEATS = KnownFindings(
    planted={
        "non-deterministic-output": lambda: _repeated(again=0.5),
        "batch-composition": lambda: _repeated(one=0.5),
    },
    clean=_repeated,
)


def _askings(kind: str) -> AuditCase:
    """Returns a case of three askings: alike, with other errors in each, or more in the last."""
    rng = np.random.default_rng(0)
    wrong = np.zeros((3, _N), dtype=np.bool_)
    if kind != "alike":
        wrong |= rng.random(wrong.shape) < (
            0.1 if kind == "drawn" else np.array([[0.0], [0], [0.3]])
        )
    predicted = np.where(wrong, 1 - _TARGETS, _TARGETS).astype(np.int32)
    ids = [f"{row:032x}" for row in range(_N)]
    columns = {"id": ids * 3, "draw": np.repeat(np.arange(3), _N), "prediction": predicted.ravel()}
    own = example_cell(columns, _TARGETS)
    own = replace(own, model=replace(own.model, repeat=3)).by_asking()
    return AuditCase(example_evidence(own), Pass(name="test", repeat=3))


ASKINGS = KnownFindings(
    planted={
        "askings-agree": lambda: _askings("alike"),
        "askings-move-together": lambda: _askings("together"),
    },
    clean=lambda: _askings("drawn"),
)

SCORES = KnownFindings(
    planted={
        "probabilities-declared-as-logits": lambda: _case(_SURE),
        "not-probabilities": lambda: _probabilities(np.log(_SURE)),
        "double-softmax": lambda: _probabilities(_softmax(_SURE)),
    },
    clean=lambda: _probabilities(_SURE),
)

RANGE = KnownFindings(planted={"input-range": lambda: _pixels(255.0)}, clean=lambda: _pixels(1.0))
