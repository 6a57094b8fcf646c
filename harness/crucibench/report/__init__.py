"""Leaderboard, report and terminal views: everything they show comes from the data of a run.

Where to look: `leaderboard` joins runs, `leaderboard_text` and `terminal` render it, `html` renders
the report from `sections` (drawn by kind, with `plots` and `marks`), `findings`, `gaps` and
`provenance`; `show` returns plain data. A new kind of section is a drawer in `sections` and a
template of the block that it returns.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crucibench.report.html import render_html
    from crucibench.report.show import show_cells, show_data, show_model, show_run
    from crucibench.report.terminal import print_findings, print_leaderboard
    from crucibench.report.views import write_views

_HOMES = {
    "print_findings": "terminal",
    "print_leaderboard": "terminal",
    "render_html": "html",
    "show_cells": "show",
    "show_data": "show",
    "show_model": "show",
    "show_run": "show",
    "write_views": "views",
}

__all__ = [
    "print_findings",
    "print_leaderboard",
    "render_html",
    "show_cells",
    "show_data",
    "show_model",
    "show_run",
    "write_views",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
