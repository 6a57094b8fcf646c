"""Comparing results: pairing by sample id, paired differences, and what may not be compared."""

from __future__ import annotations

from crucibench.comparing.comparability import differing
from crucibench.comparing.differences import Flips
from crucibench.comparing.pairing import Pairing, pair

__all__ = [
    "Flips",
    "Pairing",
    "differing",
    "pair",
]
