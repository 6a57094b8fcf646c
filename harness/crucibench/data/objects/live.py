"""What the readers of live objects share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crucibench.contracts.source import DataOpening

Roles = Mapping[str, Any]
"""Objects of one kind by role."""

SAMPLE = 10_000
"""How many values of a column are looked at to choose columns."""


def layout_of(opening: DataOpening) -> str:
    """Returns the layout of image arrays that the address gives, "" for none."""
    return opening.uri.query.get("layout", "")


def no_sample(name: str) -> list[str | None]:
    """Returns no values, as of a column that is not looked at before it is chosen."""
    return []
