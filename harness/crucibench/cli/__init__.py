"""The command line: one file a verb, imported when it is used."""

from __future__ import annotations

from crucibench.cli._app import application


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    application(prog_name="crucibench")
