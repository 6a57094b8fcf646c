"""Whether two values are the same, but for the last digits of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

TOLERANCE = 1e-9
"""What another build of NumPy or SciPy may move a number by, relative to it."""

_ZERO = 1e-12
"""Two numbers as small as this are the same: what is left of a difference of equal ones."""


def same(stored: Any, computed: Any) -> bool:
    """Says whether two values of plain data are equal, numbers to within `TOLERANCE`."""
    if isinstance(stored, float) or isinstance(computed, float):
        return _same_number(stored, computed)
    if isinstance(stored, Mapping) and isinstance(computed, Mapping):
        return stored.keys() == computed.keys() and all(
            same(stored[key], computed[key]) for key in stored
        )
    if isinstance(stored, list | tuple) and isinstance(computed, list | tuple):
        return len(stored) == len(computed) and all(map(same, stored, computed))
    return bool(stored == computed) and isinstance(stored, bool) == isinstance(computed, bool)


def _same_number(stored: Any, computed: Any) -> bool:
    if not all(type(value) in {int, float} for value in (stored, computed)):
        return False
    if math.isnan(stored) or math.isnan(computed):
        return math.isnan(stored) and math.isnan(computed)
    return math.isclose(stored, computed, rel_tol=TOLERANCE, abs_tol=_ZERO)


def shown(value: Any) -> str:
    """Returns a value as messages show it."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
