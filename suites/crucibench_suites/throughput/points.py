"""The points of the scenarios, by name."""

from __future__ import annotations

KNEE = "knee"
"""The point of the smallest batch that is nearly as fast as any."""


def batch_point(size: int) -> str:
    """Returns the point of a batch size."""
    return f"batch={size}"


def load_point(load: float) -> str:
    """Returns the point of an arrival rate, as a share of what the model can serve."""
    return f"load={load:g}"
