"""Detectors by name: the suite's own, and those that other packages register."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_suites.ood.detector import Detector

GROUP = "crucibench.ood_detectors"

_OWN: Mapping[str, str] = {
    "msp": "msp:MSP",
    "max-logit": "max_logit:MaxLogit",
    "energy": "energy:Energy",
    "entropy": "entropy:Entropy",
    "gen": "gen:GEN",
    "temperature": "temperature:TemperatureScaled",
    "odin": "odin:ODIN",
    "mahalanobis": "mahalanobis:Mahalanobis",
    "relative-mahalanobis": "relative_mahalanobis:RelativeMahalanobis",
    "knn": "knn:KNN",
    "vim": "vim:ViM",
    "react": "react:ReAct",
    "ash": "ash:ASH",
    "she": "she:SHE",
}

OWN = tuple(_OWN)
"""The suite's own detectors, in the order of reports."""


def names() -> tuple[str, ...]:
    """Returns the names of all detectors, the suite's own first; none of them is imported."""
    others = sorted({point.name for point in entry_points(group=GROUP)} - set(OWN))
    return (*OWN, *others)


@cache
def detector(name: str) -> Detector:
    """Returns a detector.

    Raises:
        InputError: if there is none of that name, or it can't be loaded.
    """
    if name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        own: type[Detector] = getattr(import_module(f"{__name__}.{module}"), attribute)
        return own()
    points = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if not points:
        raise InputError(unknown("detector", name, names()))
    if len(points) > 1:
        raise InputError(f"detector {name!r} is registered by two packages; uninstall one")
    point = next(iter(points.values()))
    try:
        loaded = point.load()
    except Exception as error:
        raise InputError(
            f"detector {name!r} can't be loaded from {point.value}: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Detector)):
        raise InputError(
            f"detector {name!r}: expected {point.value} to be a Detector, got {loaded!r}"
        )
    if getattr(loaded, "name", None) != name:
        raise InputError(f"detector {name!r}: expected {point.value} to be named so")
    return loaded()
