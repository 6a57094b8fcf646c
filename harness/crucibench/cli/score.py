"""``crucibench score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crucibench.cli._options import (
    FORMAT,
    OUT,
    QUIET,
    RUN,
    SETTING,
    Format,
    examples,
    find_finished_run,
)
from crucibench.cli._output import NotePrinter
from crucibench.report.format import counted
from crucibench.util.errors import UnreadableError

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.store.run import Run


@click.command(
    epilog=examples(
        "crucibench score latest",
        "crucibench score latest --set 'prompted.tasks.sums.extract.last=(-?[0-9]+)'",
    )
)
@RUN
@click.option(
    "--set",
    "settings",
    type=SETTING,
    multiple=True,
    help="A suite's setting of how answers are judged; the run stays, and another is made beside.",
)
@OUT
@FORMAT
@QUIET
def command(
    *, reference: str, settings: tuple[tuple[str, Any], ...], out: Path, form: Format, quiet: bool
) -> int:
    """Compute the numbers of a run again from its records.

    Needs neither the models nor the data: use it after an update that changes how numbers are made,
    or to judge a language model's answers by another regular expression.
    Numbers, verdicts and views are written again; what changed is printed.
    """
    from crucibench.cli._evaluation import show_result
    from crucibench.engine.score.rescore import rescore
    from crucibench.report.html import write_views

    run, note = find_finished_run(reference, out), NotePrinter(quiet)
    before = _numbers(run)
    run = rescore(run, dict(settings))
    write_views(run)
    note(_summary(before, run.metrics()))
    return show_result(run, form, quiet)


def _numbers(run: Run) -> pd.DataFrame | None:
    try:
        return run.metrics()
    except UnreadableError:
        return None  # what this command is there to mend


def _summary(before: pd.DataFrame | None, after: pd.DataFrame) -> str:
    if before is None:
        return f"{counted(len(after), 'number')}, computed again: what was stored could not be read"
    old, new = (
        set(frame.itertuples(index=False, name=None)) for frame in map(_plain, (before, after))
    )
    if old == new:
        return f"{counted(len(new), 'number')}, all as before"
    return f"{counted(len(new), 'number')}; {len(new - old)} new or changed, {len(old - new)} gone"


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    # NaN is unlike itself: missing values must not look changed.
    return frame.astype(object).where(frame.notna(), None)
