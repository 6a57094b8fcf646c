"""``crucibench leaderboard``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from crucibench.cli._options import (
    BOARD_FORMAT,
    NAMED_FILE,
    OUT,
    QUIET,
    BoardFormat,
    complete_runs,
    examples,
    find_sound_runs,
)
from crucibench.cli._output import draw

_EPILOG = examples(
    "crucibench leaderboard latest",
    "crucibench leaderboard 3f2a 9c41 --sort top-1 --format md",
    "crucibench leaderboard latest --column accuracy/clean/brier",
    "crucibench leaderboard latest --reported Rice2020Overfitting.json",
    "crucibench leaderboard results/* --filter 'model=cnn*' --filter 'top-1>=0.9' --format latex",
)


@click.command(epilog=_EPILOG)
@click.argument("references", shell_complete=complete_runs, metavar="[RUN]...", nargs=-1)
@click.option(
    "--sort",
    metavar="ADDRESS",
    help="The column to sort by: SUITE/SCENARIO[POINT]/METRIC[@GROUP], or its end, e.g. top-1.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ADDRESS",
    help="A column to show in place of the suites' headlines; several are possible.",
)
@click.option("--data", multiple=True, metavar="NAME", help="Only this data set.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="CONDITION",
    help="Only models that fulfil it: NAME=PATTERN or NAME!=PATTERN (model, run, group, authors, "
    "paper, licence, trained_on; * fits anything), or ADDRESS>=NUMBER (or <=, >, <) as for --sort.",
)
@click.option(
    "--notes",
    "notes_file",
    type=NAMED_FILE,
    metavar="FILE",
    help="Rows that were withdrawn or superseded, with the reason: they stay, unranked.",
)
@click.option(
    "--reported",
    "reported",
    multiple=True,
    type=NAMED_FILE,
    metavar="FILE",
    help="Results of RobustBench (model_info), lm-evaluation-harness or Inspect, to show apart: "
    "reported, not measured, and without a rank; several are possible.",
)
@OUT
@BOARD_FORMAT
@QUIET
def command(
    *,
    references: tuple[str, ...],
    sort: str | None,
    columns: tuple[str, ...],
    data: tuple[str, ...],
    filters: tuple[str, ...],
    notes_file: Path | None,
    reported: tuple[Path, ...],
    out: Path,
    form: BoardFormat,
    quiet: bool,
) -> int:
    """Put the models of one or several runs side by side.

    A RUN is a path, the start of an id, or latest (the default). Only numbers that may be compared
    are joined; what differs stands apart, with the reason. Ranks are intervals: models that the
    samples can't tell apart share them.
    """
    from crucibench.cli._evaluation import print_board
    from crucibench.report.leaderboard import leaderboard
    from crucibench.report.reported import read_reported
    from crucibench.report.terminal import findings_to_read, print_by_code
    from crucibench.spec.notes import read_notes

    stated = tuple(row for path in reported for row in read_reported(path))
    notes = None if notes_file is None else read_notes(notes_file)
    runs = find_sound_runs(references, out)
    board = leaderboard(
        runs, sort=sort, columns=columns or None, data=data or None, ranked=True,
        filters=filters, notes=notes,
    )  # fmt: skip
    print_board(replace(board, reported=stated), form)
    found = [] if quiet else [one for run in runs for one in findings_to_read(run, notes=False)]
    if found:
        draw(lambda target: print_by_code(target, found), stderr=True)
    return 0
