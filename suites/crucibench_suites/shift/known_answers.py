"""Planted defects that the audits of shifted samples must find, and cases without any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench.contracts.corruption import corruptions
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.task import Modality
from crucibench.passes.inputs import RecordedInputs
from crucibench_suites.shift.corrupted import Corrupted, CorruptedGrid, CorruptedImage
from crucibench_suites.shift.names import HERE, HOME, OWN, SIDES
from crucibench_suites.shift.own_data import Drift, Population, Subpopulations

_N = 400
_TARGETS = np.arange(_N) % 2


def _wrong(count: int) -> Any:
    """Returns predictions of which so many are wrong."""
    return np.where(np.arange(_N) < count, 1 - _TARGETS, _TARGETS).astype(np.int32)


def _pass(wrong: int) -> Any:
    scores = np.where(np.eye(2)[_wrong(wrong)] > 0, 0.9, 0.1)
    return example_cell({"prediction": _wrong(wrong), "scores": scores}, _TARGETS)


def _case(
    scenario: Scenario, *, clean_wrong: int = 4, modality: Modality = Modality.IMAGE, **columns: Any
) -> AuditCase:
    """Returns two severities at which 40 of 400 are wrong; `columns` are of two rows, or n each."""
    ids, points = [f"{row:032x}" for row in range(_N)], ("severity=1", "severity=5")
    full = {
        name: np.concatenate([np.broadcast_to(value, _N) for value in pair])
        for name, pair in columns.items()
    }
    own = example_cell(
        {
            "id": ids * 2,
            "point": np.repeat(points, _N).astype(object),
            "prediction": np.tile(_wrong(40), 2),
            "score": np.tile(np.where(_wrong(40) == 1, 0.8, 0.2), 2),
            "loss": np.full(2 * _N, 0.2),
            **full,
        },
        _TARGETS,
    )
    evidence = example_evidence(own, {"clean": _pass(clean_wrong)}, modality=modality)
    return AuditCase(evidence, scenario)


def _images(*distances: float, **more: Any) -> AuditCase:
    scenario = CorruptedImage.of(
        "shift", corruptions().get("brightness"), severities=(1, 5), limit=None,
        parameter_set="cifar",
    )  # fmt: skip
    return _case(scenario, distance=distances, **more)


def _texts(
    edits: Sequence[int] = (1, 2), *, spoilt: bool = False, touched: bool = True
) -> AuditCase:
    """Returns typing errors in texts of 100 words."""
    scenario = Corrupted.of(
        "shift", corruptions().get("keyboard_typo"), severities=(1, 5), limit=None
    )
    return _case(
        scenario, modality=Modality.TEXT, edits=edits, units=(100, 100),
        distance=[count / 100 for count in edits], spoilt=(False, spoilt),
        touched=(touched, touched),
    )  # fmt: skip


def _grid(distance: float) -> AuditCase:
    scenario = CorruptedGrid.of(
        "shift", corruptions().get("geometric_worst"), severities=(1, 2), limit=None
    )
    return _case(scenario, distance=(0.1, distance))


def _summary(*present: str) -> AuditCase:
    scenario = replace(_grid(0.1).scenario, parameters={"corruptions": ["fog", "snow"]})
    needs = {OWN + name: _pass(4) for name in present}
    return AuditCase(example_evidence(_pass(4), needs), scenario)


def _places(start: int) -> AuditCase:
    """Returns shifted samples of which the first is that number, of 400 at home."""
    shifted = {"id": [f"{row:032x}" for row in range(start, start + _N)]}
    needs = {HOME: _pass(4), HERE: example_cell(shifted, _TARGETS)}
    return AuditCase(example_evidence(_pass(4), needs), _grid(0.1).scenario)


def _drift(home: int, here: int) -> AuditCase:
    """Returns so many samples on each side."""
    recorded = [RecordedInputs.of("shift", role) for role in ("test", "shifted/x")]
    needs = {
        f"{side}/inputs": example_cell({}, np.zeros(n))
        for side, n in zip(SIDES, (home, here), strict=True)
    }
    scenario = Drift.of("shift", recorded[0], recorded[1], frozenset())
    return AuditCase(example_evidence(needs["home/inputs"], needs), scenario)


def _groups(wrong: int, small: int = 0) -> AuditCase:
    """Returns two groups, in one of which 4 are wrong and in the other so many, and a third."""
    rows = np.arange(_N)
    group = np.where(rows < small, "c", np.where(rows % 4 < 2, "a", "b"))
    predicted = np.where((rows % 4 < 2) & (rows // 2 < wrong), 1 - _TARGETS, _TARGETS)
    columns = {"prediction": predicted.astype(np.int32)}
    cell = example_cell(columns, _TARGETS, groups={"site": group.tolist()})
    return AuditCase(example_evidence(cell, {"pass": cell}), Subpopulations.of("shift", "test", []))


def _tail(n: int) -> AuditCase:
    """Returns a fifth of so many samples."""
    inputs = example_cell({"input:x": np.arange(n) * 1.0}, np.zeros(n))
    scenario = Population.of("shift", "tail", "x", [5])
    return AuditCase(example_evidence(inputs, {"inputs": inputs}), scenario)


IMAGES = KnownFindings(
    planted={
        "corruption-did-nothing": lambda: _images(0.0, 0.0),
        "larger-than-stated": lambda: _images(0.02, 0.9),
        "severity-not-monotone": lambda: _images(0.1, 0.05),
        "better-when-shifted": lambda: _images(0.02, 0.1, clean_wrong=100),
        "non-finite-images": lambda: _images(0.02, float("nan")),
    },
    clean=lambda: _images(0.02, 0.1),
)

SAMPLES = KnownFindings(
    planted={
        "perturbation-did-nothing": lambda: _texts((0, 0), touched=False),
        "larger-than-stated": lambda: _texts((1, 90)),
        "perturbation-spoils": lambda: _texts(spoilt=True),
    },
    clean=_texts,
)

FINITE = KnownFindings(
    planted={"non-finite-images": lambda: _grid(float("inf"))}, clean=lambda: _grid(0.2)
)

MISSING = KnownFindings(
    planted={"corruptions-missing": lambda: _summary("fog")},
    clean=lambda: _summary("fog", "snow"),
)

DUPLICATES = KnownFindings(
    planted={"duplicates-between-test-and-shifted": lambda: _places(_N - 100)},
    clean=lambda: _places(_N),
)

DRIFT = KnownFindings(
    planted={
        "too-few-samples-for-drift": lambda: _drift(30, 29), "no-samples": lambda: _drift(30, 0),
    },
    clean=lambda: _drift(30, 30),
)  # fmt: skip

GROUPS = KnownFindings(
    planted={
        "worst-group-by-chance": lambda: _groups(4),
        "groups-too-small": lambda: _groups(200, 29),
    },
    clean=lambda: _groups(200),
    spared={"groups-too-small": lambda: _groups(4, 30)},
)

POPULATION = KnownFindings(
    planted={"few-effective-samples": lambda: _tail(147), "no-samples": lambda: _tail(0)},
    clean=lambda: _tail(148),
)
