"""Planted defects that the audit of groups must find, and a case without any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench.contracts.evidence import Evidence, OutcomeView
from crucibench.contracts.scenario import Derived
from crucibench_suites.bias.across import Across
from crucibench_suites.bias.identity_terms import Category
from crucibench_suites.bias.reworded import Reworded
from crucibench_suites.bias.scenario import Groups
from crucibench_suites.bias.swapped import Swapped

_N = 2000
_EVEN = np.arange(_N) % 2 == 0
_DRAWN = np.random.default_rng(0).random((2, _N))
_TRUTH = (_DRAWN[0] < 0.5).astype(np.int64)
_GROUPS = np.where(_EVEN, "a", "b").astype(object)


def _case(
    truth: Any = _TRUTH,
    predicted: Any = None,
    groups: Any = _GROUPS,
    *,
    features: Mapping[str, str] | None = None,
    more: Any = None,
    reference: Mapping[str, str] | None = None,
) -> AuditCase:
    """Returns two groups of a thousand, by default alike, of whom 9 of 10 get a right answer."""
    if predicted is None:
        predicted = np.where(_DRAWN[1] < 0.9, truth, 1 - truth)
    columns = {"g": groups} | ({} if more is None else {"more": more})
    test = example_cell({"prediction": predicted.astype(np.int32)}, truth, groups=columns)
    settings = {"columns": list(columns), "depth": 1, "edges": {}, "reference": reference or {}}
    evidence = example_evidence(test, {"test": test}, features=features)
    return AuditCase(evidence, Groups.of("bias", settings))


def _named(name: str, count: int) -> Any:
    """Returns the groups, the first so many of that name."""
    return np.where(np.arange(_N) < count, name, _GROUPS).astype(object)


def _few() -> AuditCase:
    """Returns 70 samples, too few for a gap to show."""
    truth = np.tile([0, 0, 1, 1], 20)[:70]
    predicted = np.where(_DRAWN[1][:70] < 0.7, truth, 1 - truth)
    return _case(truth, predicted, _GROUPS[:70])


def _other_rates() -> AuditCase:
    return _case((_DRAWN[0] < np.where(_EVEN, 0.65, 0.4)).astype(np.int64))


class _Source(Derived):
    """Another suite's scenario, whose records say what is right."""

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        records = evidence.own.records
        right = records.array("right")
        return OutcomeView(
            ids=records.ids, point=records.array("point"), prediction=records.array("prediction"),
            score=np.full(len(records), np.nan), correct=right,
        )  # fmt: skip


def _across(harm: float) -> AuditCase:
    """Returns groups of which b loses such a share at x=2; at x=1 both lose half, a a bit more."""
    source = _Source(suite="other", name="changed", points=("x=1", "x=2"))
    settings = {"columns": ["g"], "depth": 1, "edges": {}, "reference": {}}
    columns = {"prediction": _TRUTH.astype(np.int32)}
    clean = example_cell(columns, _TRUTH, groups={"g": _GROUPS.tolist()})
    wrong = np.stack([_DRAWN[1] < np.where(_EVEN, 0.51, 0.5), (_DRAWN[1] < harm) & ~_EVEN])
    changed = {
        "id": list(clean.samples.ids) * 2, "point": np.repeat(source.points, _N).astype(object),
        "prediction": np.where(wrong, 1 - _TRUTH, _TRUTH).ravel().astype(np.int32),
        "right": 1.0 - wrong.ravel(),
    }  # fmt: skip
    needs = {"clean": clean, "source": example_cell(changed, _TRUTH)}
    return AuditCase(example_evidence(clean, needs), Across.of("bias", source, settings))


def _changed(scenario: Any, count: int, n: int = 100) -> AuditCase:
    """Returns n samples, so many of which were given another group."""
    targets = _TRUTH[:n]
    columns = {"prediction": targets.astype(np.int32)}
    clean = example_cell(columns, targets)
    own = {
        **columns,
        "point": np.full(n, scenario.points[0], dtype=object),
        "swapped": np.arange(n) < count,
    }
    cell = example_cell(own, targets, groups={"g": _GROUPS[:n].tolist()})
    return AuditCase(example_evidence(cell, {"clean": clean}), scenario)


_SWAPPED = Swapped.of("bias", ["g"], "labels")
_REWORDED = Reworded.of(
    "bias", [Category(name="age", groups=("a", "b"), terms=(("old", "young"),))], "labels"
)

GROUPS = KnownFindings(
    planted={
        "too-many-groups": lambda: _case(more=[f"u{row}" for row in range(_N)]),
        "single-group": lambda: _case(more=["same"] * _N),
        "reference-group": lambda: _case(reference={"g": "bb"}),
        "group-tells-target": lambda: _case(more=np.where(_TRUTH == 1, "yes", "no")),
        "group-is-input": lambda: _case(features={"g": "string"}),
        "unknown-groups": lambda: _case(groups=_named("(missing)", 600)),
        "small-groups": lambda: _case(groups=_named("c", 20)),
        "gap-not-detectable": _few,
        "constant-in-group": lambda: _case(predicted=np.where(_EVEN, 0, _TRUTH)),
        "undefined-rate": lambda: _case(np.where(_EVEN, 0, _TRUTH)),
        "base-rates-differ": _other_rates,
        "four-fifths": lambda: _case(predicted=_DRAWN[1] < np.where(_EVEN, 0.6, 0.3)),
    },
    clean=_case,
    spared={
        "group-tells-target": lambda: _case(np.zeros(_N, dtype=np.int64)),
        "small-groups": lambda: _case(groups=_named("c", 30)),
        "base-rates-differ": lambda: _case(
            predicted=np.where(_EVEN | (_DRAWN[1] < 0.6), _TRUTH, 1 - _TRUTH)
        ),
    },
)

ACROSS = KnownFindings(planted={"gap-grows": lambda: _across(0.3)}, clean=lambda: _across(0.005))

SWAPPED = KnownFindings(
    planted={
        "not-swapped": lambda: _changed(_SWAPPED, 99),
        "no-samples": lambda: _changed(_SWAPPED, 0, 0),
    },
    clean=lambda: _changed(_SWAPPED, 100),
)

REWORDED = KnownFindings(
    planted={"few-texts": lambda: _changed(_REWORDED, 29)},
    clean=lambda: _changed(_REWORDED, 30),
)
