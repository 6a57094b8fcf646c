"""How numbers, names and times are written, by one rule everywhere; and CSV.

A metric whose bounds are 0 and 1 and that has no unit is shown in per cent, every other in its own
unit. Two significant digits of the interval's half-width decide the decimals of a value and its
interval; a value without an interval gets three significant digits (per cent: one decimal).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from crucibench.util.text import shorten, visible

DASH = "\u2013"
"""Stands where there is no number; its reason stands beside it."""

_MOST_DECIMALS = 6
_LONG_NAME = 60


class Shown(NamedTuple):
    """A number as text; per cent without its sign, which the unit holds.

    Attributes:
        value: e.g. ``96.7``.
        lower: the interval's lower end to the same digits, or "".
        upper: likewise.
    """

    value: str
    lower: str
    upper: str

    @property
    def interval(self) -> str:
        """``[94.3, 98.1]``, or "" where there is none."""
        return f"[{self.lower}, {self.upper}]" if self.lower else ""

    def __str__(self) -> str:
        return f"{self.value} {self.interval}" if self.lower else self.value


def show_number(
    value: float, lower: float | None = None, upper: float | None = None, *, percent: bool = False
) -> Shown:
    """Writes a number and its interval; the interval decides the digits."""
    scale = 100.0 if percent else 1.0
    value *= scale
    if lower is None or upper is None:
        return Shown(_fixed(value, _places_alone(value, percent)), "", "")
    lower, upper = lower * scale, upper * scale
    half = (upper - lower) / 2
    if not (math.isfinite(half) and half > 0):
        places = _places_alone(value, percent)
    else:
        places = 1 - math.floor(math.log10(half))
    return Shown(*(_fixed(number, places) for number in (value, lower, upper)))


def show_plain(number: float) -> str:
    """Writes a number of a table: whole ones whole, others to at most four significant digits."""
    if not math.isfinite(number):
        return _infinite(number)
    if number == round(number) and abs(number) < 1e15:
        return show_count(round(number))
    text = _fixed(number, 3 - _magnitude(number))
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def show_count(number: int) -> str:
    """Writes a count, thousands apart: ``12,345``."""
    return _signed(f"{number:,}")


def show_level(level: float) -> str:
    """Writes a confidence level: ``95 %``."""
    return f"{100 * level:.4g} %"


def in_percent(lower: float | None, upper: float | None, unit: str) -> bool:
    """Whether a metric of these bounds and unit is shown in per cent."""
    return lower == 0 and upper == 1 and not unit


def direction_mark(direction: str) -> str:
    """Returns ``↑``, ``↓``, ``→ X`` or ""."""
    if direction.startswith("target="):
        return f"→ {direction.removeprefix('target=')}"
    return {"higher": "↑", "lower": "↓"}.get(direction, "")


def direction_words(direction: str) -> str:
    """Returns which way is better, in words."""
    if direction.startswith("target="):
        return f"best at {direction.removeprefix('target=')}"
    return {"higher": "higher is better", "lower": "lower is better"}.get(
        direction, "neither way is better"
    )


def listed(names: Iterable[str], most: int = 8) -> str:
    """Joins names, long ones shortened: ``a``, ``a and b``, ``a, b and c``, ``a, b and 7 more``."""
    words = [shorten(visible(name), _LONG_NAME) for name in names]
    if len(words) > most:
        words = [*words[: most - 1], f"{len(words) - most + 1} more"]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def counted(count: int, one: str, many: str = "") -> str:
    """Returns ``1 cell``, ``3 cells``."""
    return f"{show_count(count)} {one if count == 1 else many or one + 's'}"


def iso(seconds: float | None) -> str:
    """Returns a time as ISO 8601 in UTC, to the second; "" for none."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float) -> str:
    """Writes a time: ``0.4 s``, ``12 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def show_minute(seconds: float | None) -> str:
    """Writes a time for people, in UTC: ``2026-11-23 09:32``; "" for none."""
    return iso(seconds)[:16].replace("T", " ")


def _places_alone(value: float, percent: bool) -> int:
    if percent:
        return 1
    return max(0, 2 - _magnitude(value)) if math.isfinite(value) else 0


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _fixed(number: float, places: int) -> str:
    if not math.isfinite(number):
        return _infinite(number)
    if places > _MOST_DECIMALS:
        digits = min(max(places + _magnitude(number), 0), _MOST_DECIMALS)
        return _signed(f"{number:.{digits}e}") if number else "0"
    rounded = round(number, places)
    text = f"{rounded:,.{max(places, 0)}f}"
    return _signed(text if rounded else text.removeprefix("-"))


def _signed(text: str) -> str:
    return text.replace("-", "\u2212")


def _infinite(number: float) -> str:
    return DASH if math.isnan(number) else "∞" if number > 0 else "\u2212∞"


_FORMULA = frozenset("=+-@＝＋－＠")  # noqa: RUF001 - full-width forms count in some spreadsheets

_UNQUOTED = ",:;=+-._~!*()/?@$"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns CSV with line feeds; numbers are raw, None and NaN are empty.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_safe(name) for name in columns])
    writer.writerows([_safe(value) for value in row] for row in rows)
    return stream.getvalue()


def data_uri(text: str) -> str:
    """Returns a link target that holds `text` as a CSV file."""
    # A few characters are to be quoted, and occur often: "%" first, which the others bring.
    for character in sorted(set(text), key=lambda one: one != "%"):
        text = text.replace(character, quote(character, safe=_UNQUOTED))
    return f"data:text/csv;charset=utf-8,{text}"


def embedded(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a link target that holds a table as CSV, numbers to six significant digits.

    A page holds many of them: every digit is in the run directory.
    """
    short = (
        [float(f"{value:.6g}") if isinstance(value, float) else value for value in row]
        for row in rows
    )
    return data_uri(csv_text(columns, short))


def _safe(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isnan(value):
        return ""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA and text.strip() else text
