"""Who tells how a run goes: bars, lines, JSON lines or nobody."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from crucibench.cli._options import Progress
from crucibench.cli._remembering import Remembering

if TYPE_CHECKING:
    from crucibench.engine.resolve.resolve import Resolved


def listener_for(
    resolved: Resolved, progress: Progress, *, quiet: bool, announce: bool
) -> Remembering:
    """Returns the listener that tells progress as asked.

    Args:
        resolved: the spec.
        progress: how; ``auto`` finds out what suits stderr.
        quiet: nothing is told.
        announce: whether the plan is printed.

    Raises:
        click.UsageError: if progress is wanted and not wanted.
    """
    if quiet and progress not in ("auto", "none"):
        raise click.UsageError(f"expected --quiet or --progress {progress}, not both")
    if quiet or progress == "none":
        return Remembering()
    if progress == "json":
        from crucibench.cli._json_lines import JsonLines

        return JsonLines(resolved)
    if progress == "bars" or (progress == "auto" and _can_draw()):
        from crucibench.cli._bars import Bars

        return Bars(resolved, announce=announce)
    from crucibench.cli._lines import Lines

    return Lines(resolved, announce=announce)


def _can_draw() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
