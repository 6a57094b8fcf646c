"""Planted defects that the suite's audit must find, and a case without any."""

from __future__ import annotations

from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench_suites.explain.scenarios import Attributions

_N = 100


def _case(**means: float) -> AuditCase:
    """Returns records of sound attributions, but for the means given."""
    rng = np.random.default_rng(0)
    sound = {"deletion": 0.2, "insertion": 0.2, "randomised": 0.0, "noise": 0.9, "colour": 0.2}
    columns: dict[str, Any] = {
        name: mean + 0.1 * rng.normal(size=_N) for name, mean in {**sound, **means}.items()
    }
    columns["attribution"] = rng.normal(size=(_N, 8)) * (0 if means.get("spread") == 0 else 1)
    own = example_cell(columns, np.zeros(_N, dtype=np.int64))
    return AuditCase(example_evidence(own), Attributions(name="own", method="own"))


ATTRIBUTIONS = KnownFindings(
    planted={
        "weights-ignored": lambda: _case(randomised=0.8),
        "no-better-than-random": lambda: _case(deletion=-0.1),
        "rests-on-colour": lambda: _case(colour=0.8),
        "no-attribution": lambda: _case(spread=0),
    },
    clean=_case,
    spared={
        "weights-ignored": lambda: _case(randomised=0.45),
        "rests-on-colour": lambda: _case(colour=0.48),
    },
)
