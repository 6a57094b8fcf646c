"""Planted defects that the audit of groups must find, and a case without any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench_suites.bias.scenario import Groups

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
)
