"""The weightings that stand for other populations, and the points that they are read at."""

from __future__ import annotations

from typing import Literal

Shape = Literal["tail", "tilt"]

LEVELS: dict[Shape, tuple[float, ...]] = {
    "tail": (0.8, 0.6, 0.4, 0.3, 0.2),
    "tilt": (0.25, 0.5, 1.0, 1.5, 2.0),
}
"""Severities 1 to 5: the share of samples kept; the exponent a standard deviation of the rank."""

DIRECTIONS = ("low", "high")


def population_point(severity: int, towards: str) -> str:
    """Returns the point of a severity and direction."""
    return f"severity={severity},towards={towards}"
