"""CSV that a spreadsheet can open without running what stands in it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from crucibench.util.text import visible

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
    return f"data:text/csv;charset=utf-8,{quote(text, safe=_UNQUOTED)}"


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
