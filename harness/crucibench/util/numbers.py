"""Numbers as people write them: ``8/255``, ``1e-3``, ``30m``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_FRACTION = re.compile(r"\s*([-+0-9.eE]+)\s*/\s*([-+0-9.eE]+)\s*")
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_number(value: Any) -> Any:
    """Turns ``"8/255"`` and ``"1e-3"`` into floats; leaves everything else for the validator."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    if isinstance(value, int):
        return float(value)
    fraction = _FRACTION.fullmatch(value)
    try:
        if fraction:
            return float(fraction[1]) / float(fraction[2])
        return float(value)
    except (ValueError, ZeroDivisionError):
        return value


def parse_duration(value: Any) -> Any:
    """Turns ``"30m"`` into seconds; leaves everything else for the validator."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) * _SECONDS[match[2]] if match else parse_number(value)


Number = Annotated[float, BeforeValidator(parse_number, json_schema_input_type=float | str)]
"""A float; a fraction and scientific notation are welcome as text."""

Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=float | str)]
"""Seconds; ``500ms``, ``30m`` and ``2h`` are welcome."""
