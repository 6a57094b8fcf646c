"""The points that the suite's scenarios are read at."""

from __future__ import annotations

from typing import NamedTuple


def point_of(severity: int) -> str:
    """Returns the point of a severity."""
    return f"severity={severity}"


def severity_of(point: str) -> int:
    """The inverse of `point_of`."""
    return int(point.partition("=")[2])


def of_corruption(name: str) -> str:
    """Returns the point of a corruption, in a summary."""
    return f"corruption={name}"


class Place(NamedTuple):
    """A member of the grid.

    Attributes:
        degrees: of rotation about the middle.
        across: of translation, as a share of the width.
        down: as a share of the height.
    """

    degrees: float
    across: float
    down: float

    @property
    def point(self) -> str:
        """The point at which it is read."""
        return f"rotation={self.degrees:g},across={self.across:g},down={self.down:g}"
