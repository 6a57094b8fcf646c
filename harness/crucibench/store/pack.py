"""Packs."""

from __future__ import annotations

from crucibench.store.run import Run


def opened_together(first: Run, second: Run) -> tuple[Run, Run]:
    """Returns both."""
    return first, second
