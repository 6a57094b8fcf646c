"""Numbers as people write them: ``8/255``, ``1e-3``, ``30m``, ``2GiB``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator

_FRACTION = re.compile(r"\s*([-+0-9.eE]+)\s*/\s*([-+0-9.eE]+)\s*")
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([A-Za-z]*)\s*")
_BYTES = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)},
    "KB": 1000,
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
}


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


def parse_size(value: Any) -> int:
    """Turns ``"500MB"``, ``"2GiB"``, ``"1.5 GB"`` and plain bytes into bytes, rounded down.

    ``kB``, ``MB``, ``GB``, ``TB`` are powers of 1000; ``KiB``, ``MiB``, ``GiB``, ``TiB`` of 1024.

    Raises:
        ValueError: if it is no size. ``2G`` is none: nobody can tell which giga was meant.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    unit = match[2] if match else ""
    if match is None or (unit and unit not in _BYTES) or (not unit and "." in match[1]):
        raise ValueError(f"expected a size such as 500MB, 2GiB or a number of bytes, got {value!r}")
    return int(Decimal(match[1]) * _BYTES.get(unit, 1))


def size_text(size: int) -> str:
    """Returns a number of bytes for people: ``1.5 GiB``."""
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        # 1024 of a unit is shown as 1 of the next.
        if amount < (1023.5 if unit == "B" else 1023.95):
            break
        amount, unit = amount / 1024, larger
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


Number = Annotated[float, BeforeValidator(parse_number, json_schema_input_type=float | str)]
"""A float; a fraction and scientific notation are welcome as text."""

Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=float | str)]
"""Seconds; ``500ms``, ``30m`` and ``2h`` are welcome."""

Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str)]
"""Bytes; ``500MB`` and ``2GiB`` are welcome."""
