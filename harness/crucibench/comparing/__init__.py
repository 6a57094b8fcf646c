"""Comparing results: pairing by sample id, paired differences, and what may not be compared."""

from __future__ import annotations

from crucibench.comparing.comparability import differing, require_comparable
from crucibench.comparing.differences import Flips, OutcomeDifference, compare_outcomes
from crucibench.comparing.pairing import Pairing, pair

__all__ = [
    "Flips",
    "OutcomeDifference",
    "Pairing",
    "compare_outcomes",
    "differing",
    "pair",
    "require_comparable",
]
