"""Numbers and names as a gate writes them, safe in a terminal, in Markdown and in XML."""

from __future__ import annotations

import math

MINUS = "\u2212"


def decimals(half: float | None, value: float) -> int:
    """Returns how many decimals a number deserves: two digits of its interval's half-width."""
    known = half is not None and math.isfinite(half) and half > 0
    scale = half if known and half is not None else abs(value) / 10
    if not 0 < scale < math.inf:
        return 1
    # Against rounding: half of 0.91 - 0.89 is a little below 0.01.
    return min(max(1 - math.floor(math.log10(scale) + 1e-9), 0), 6)


def number(value: float, *, half: float | None = None, percent: bool = False) -> str:
    """Writes a value; `percent` with its sign."""
    factor = 100.0 if percent else 1.0
    shown = _fixed(
        value * factor, decimals(None if half is None else half * factor, value * factor)
    )
    return f"{shown} %" if percent else shown


def change(
    value: float, *, half: float | None = None, percent: bool = False, sign: bool = False
) -> str:
    """Writes a difference: shares in percentage points."""
    factor = 100.0 if percent else 1.0
    places = decimals(None if half is None else half * factor, value * factor)
    shown = _fixed(value * factor, places)
    if sign and value > 0:
        shown = f"+{shown}"
    return f"{shown} points" if percent else shown


def exact(value: float, *, percent: bool = False, points: bool = False) -> str:
    """Writes a number that somebody chose as they wrote it."""
    shown = f"{value * (100.0 if percent else 1.0):.6g}".replace("-", MINUS)
    unit = (" point" + ("" if shown == "1" else "s")) if points else " %"
    return f"{shown}{unit}" if percent else shown


def between(lower: float, upper: float, *, percent: bool = False) -> str:
    """Writes an interval without a unit: two ends in brackets."""
    factor = 100.0 if percent else 1.0
    places = decimals((upper - lower) / 2 * factor, max(abs(lower), abs(upper)) * factor)
    return f"[{_fixed(lower * factor, places)}, {_fixed(upper * factor, places)}]"


def count(value: int) -> str:
    """Writes a count, thousands apart."""
    return f"{value:,}"


def counted(value: int, one: str, many: str = "") -> str:
    """Returns ``1 sample``, ``3 samples``."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def listed(words: list[str]) -> str:
    """Joins words: ``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _fixed(value: float, places: int) -> str:
    if not math.isfinite(value):
        return "?" if math.isnan(value) else ("" if value > 0 else MINUS) + "∞"
    if value and abs(value) < 10**-places:
        return f"{value:.2g}".replace("-", MINUS)
    text = f"{value:,.{places}f}"
    return (text if float(text.replace(",", "")) else text.removeprefix("-")).replace("-", MINUS)
