"""Plain values as text, and how many rows of them are shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from crucibench.report.format import show_plain
from crucibench.report.page import Text

MOST_ROWS = 60
"""How many rows of a table are shown; its download has more."""

OPEN_ROWS = 14
"""Tables with more rows are folded."""


def text_of(value: Any) -> Text:
    """Returns a value as text."""
    if isinstance(value, bool | np.bool_):
        return Text(text="yes" if value else "no")
    if isinstance(value, int | float | np.number):
        return Text(text=show_plain(float(value)), numeric=True)
    return Text(text="" if value is None else str(value))


def words(name: str) -> str:
    """Returns the name of a column as words."""
    return name.replace("_", " ")
