"""Planted defects that the suite's audit must find, and a case without any."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench_suites.poison.scan import Scan
from crucibench_suites.poison.scenarios import WithTrigger
from crucibench_suites.poison.triggers import Trigger

_N = 200
_TARGETS = np.arange(_N) % 2


def _case(steered: float, change: float = 1.0) -> AuditCase:
    """Returns a model that is always right, but for a share of class no that is steered to yes."""
    none = _TARGETS == 0
    hit = none & (np.cumsum(none) <= steered * none.sum())
    columns = {
        "prediction": np.where(hit, 1, _TARGETS), "score": np.full(_N, np.nan),
        "loss": np.full(_N, np.nan), "change": np.full(_N, change),
    }  # fmt: skip
    clean = example_cell({"prediction": _TARGETS}, _TARGETS)
    scenario = WithTrigger(name="trigger-t", trigger=Trigger(template="patch", target="yes"))
    return AuditCase(example_evidence(example_cell(columns, _TARGETS), {"clean": clean}), scenario)


TRIGGER = KnownFindings(
    planted={
        "trigger-works": lambda: _case(0.9),
        "trigger-invisible": lambda: _case(0.0, change=0.0),
    },
    clean=lambda: _case(0.0),
    spared={"trigger-works": lambda: _case(0.5)},
)


def _scanned(smallest: float) -> AuditCase:
    """Returns triggers of six classes, one of which is of so much of the others' size."""
    sizes = 0.08 * np.array([1.0, 1.1, 0.9, smallest, 1.0, 1.05])
    columns = {"id": list("abcdef"), "size": sizes, "success": np.ones(6)}
    own = example_cell({"id": ["0" * 32]}, np.zeros(1), probes={"triggers": columns})
    return AuditCase(example_evidence(own), Scan())


SCAN = KnownFindings(
    planted={"trigger-suspected": lambda: _scanned(0.4)},
    clean=lambda: _scanned(0.95),
    spared={"trigger-suspected": lambda: _scanned(0.7)},
)
