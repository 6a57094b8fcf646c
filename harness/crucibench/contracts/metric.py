"""What a metric is called, which way is better, and what it means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf

_DIRECTION = re.compile(r"higher|lower|none|target=-?\d+(\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """One metric's identity, complete: binning, averaging and edge are part of `id`.

    Raises:
        ValueError: if `direction` is none of ``higher``, ``lower``, ``none``, ``target=X``.
    """

    id: str
    name: str
    direction: str
    """``higher`` or ``lower`` is better, ``none``, or ``target=X``."""
    definition: str
    """One or two sentences that a reader can recompute the number from."""
    source: str = ""
    unit: str = ""
    lower: float = -inf
    upper: float = inf
    version: int = 1
    """Raised whenever the same records would give another number."""

    def __post_init__(self) -> None:
        if not _DIRECTION.fullmatch(self.direction):
            raise ValueError(
                f"direction of metric {self.id!r}: expected higher, lower, none or target=X, "
                f"got {self.direction!r}"
            )
