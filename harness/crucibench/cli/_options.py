"""The options that verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

Format = Literal["table", "json", "csv", "md"]
BoardFormat = Literal["table", "json", "csv", "md", "html", "latex"]
Progress = Literal["auto", "bars", "lines", "json", "none"]

FORMAT = click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv", "md"]), default="table",
    show_default=True, help="How the data on stdout is written.",
)  # fmt: skip
QUIET = click.option(
    "-q", "--quiet", is_flag=True, help="No progress and no notes: the data and errors alone."
)
PROGRESS = click.option(
    "--progress", type=click.Choice(["auto", "bars", "lines", "json", "none"]), default="auto",
    show_default=True,
    help="How progress is told on stderr; auto: bars in a terminal, else lines; "
    "json: an object a line, for programs.",
)  # fmt: skip
OUT = click.option(
    "--out", type=click.Path(path_type=Path), default="results", show_default=True,
    metavar="FOLDER", help="The folder that holds the runs.",
)  # fmt: skip
RUN = click.argument("reference", metavar="[RUN]", default="latest")
"""A path, the start of an id, or ``latest``."""


def examples(*lines: str) -> str:
    """Returns the end of a help text: commands to copy."""
    title = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join(["\b", title, *(f"  {line}" for line in lines)])
