"""Detectors by name: what is registered under ``crucibench.detectors``."""

from __future__ import annotations

from functools import cache

from crucibench.contracts.detector import Detector
from crucibench.util.registry import Catalogue


@cache
def detectors() -> Catalogue[Detector]:
    """Returns the registry; none of the detectors is imported."""
    return Catalogue("crucibench.detectors", "detector", Detector)


def detector(name: str) -> Detector:
    """Returns a detector.

    Raises:
        InputError: if there is none of that name, or it can't be loaded.
    """
    return detectors().get(name)
