"""Tables that several verbs' views are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crucibench.cli._output import Table


def facts(entries: Mapping[str, Any], title: str = "") -> Table:
    """Returns names and values, a line each."""
    rows = [[name, value] for name, value in entries.items()]
    return Table(title=title, columns=("fact", "value"), rows=rows, headless=True)


def records(title: str, entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """Returns records, a line each; a record may hold more than is shown."""
    return Table(
        title=title, columns=columns, rows=[[entry[name] for name in columns] for entry in entries]
    )


def flat(document: Mapping[str, Any]) -> dict[str, str]:
    """Returns nested plain data as names with dots and texts."""
    from crucibench.report import provenance

    return provenance.flat(document, "")
