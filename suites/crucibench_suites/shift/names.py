"""Names of points, of the cells that others read, and of columns made here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

ALEXNET = "alexnet"
"""The reference whose errors on ImageNet-C were published; no model of a run can be it."""

OWN, REFERENCE = "own/", "reference/"
"""What the aliases of the corruptions' cells begin with in the summary."""

HOME, HERE, TRAIN = "home", "here", "train"
"""The home test set, the shifted set, and the training set: aliases of passes over them."""

SIDES = (HOME, HERE)
"""What drift tests compare."""

_CLASS = "class"

Shape = Literal["tail", "tilt"]

LEVELS: dict[Shape, tuple[float, ...]] = {
    "tail": (0.8, 0.6, 0.4, 0.3, 0.2),
    "tilt": (0.25, 0.5, 1.0, 1.5, 2.0),
}
"""Severities 1 to 5: the share of samples kept; the exponent a standard deviation of the rank."""

DIRECTIONS = ("low", "high")


def point_of(severity: int) -> str:
    """Returns the point of a severity."""
    return f"severity={severity}"


def severity_of(point: str) -> int:
    """The inverse of `point_of`."""
    return int(point.partition("=")[2])


def of_corruption(name: str) -> str:
    """Returns the point of a corruption, in the summary."""
    return f"corruption={name}"


def population_point(severity: int, towards: str) -> str:
    """Returns the point of a severity and direction."""
    return f"severity={severity},towards={towards}"


def class_column(groups: Collection[str]) -> str:
    """Returns what the true class is called among group columns: one may be called ``class``."""
    return _CLASS if _CLASS not in groups else f"true {_CLASS}"
