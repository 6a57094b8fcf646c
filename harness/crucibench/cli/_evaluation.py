"""What `run` and `demo` do once the spec is resolved."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from crucibench.cli._errors import INTERRUPTED, tell
from crucibench.cli._options import Format
from crucibench.cli._output import Notes, draw, emit, warn, write

if TYPE_CHECKING:
    from crucibench.engine.resolve import Resolved
    from crucibench.engine.run import RunOptions
    from crucibench.report.leaderboard import Leaderboard
    from crucibench.store.run import Run


def evaluate(resolved: Resolved, options: RunOptions, form: Format, quiet: bool) -> int:
    """Carries out a run, prints plan, progress and leaderboard, and returns the exit code."""
    from crucibench.api import carry_out
    from crucibench.cli._plan import plan_document, plan_tables
    from crucibench.cli._progress import listening
    from crucibench.engine.run import execute
    from crucibench.store.layout import Layout

    note = Notes(quiet)
    layout = Layout(options.out / resolved.run_id)
    if layout.manifest.is_file() and not options.fresh and not options.dry_run:
        note(f"run {resolved.run_id} is finished already: nothing to do (--fresh runs it again)")
    try:
        with (
            listening(resolved, quiet=quiet, announce=not options.dry_run) as listener,
            # What models print must not end up among the data.
            contextlib.redirect_stdout(sys.stderr),
        ):
            if options.dry_run:
                execute(resolved, options, listener)
            else:
                run = carry_out(resolved, options, listener)
    except KeyboardInterrupt:
        warn("interrupted; give the same command again to resume")
        return INTERRUPTED
    if options.dry_run:
        plan, inspection = listener.plan()
        emit(
            form,
            plan_document(resolved, plan, inspection),
            plan_tables(resolved, plan, inspection, long=form == "csv"),
        )
        return 0
    return show_result(run, form, quiet)


def show_result(run: Run, form: Format, quiet: bool) -> int:
    """Prints a run's leaderboard and, on stderr, what to know of it; returns its exit code."""
    from crucibench.report.leaderboard import leaderboard
    from crucibench.report.terminal import print_findings

    print_board(leaderboard([run]), form)
    if not quiet:
        draw(lambda target: print_findings(target, run, notes=False), stderr=True)
    _tell_failures(run)
    if run.layout.report.is_file():
        Notes(quiet)(f"report: {run.layout.report}")
    return run.exit_code


def print_board(board: Leaderboard, form: Format) -> None:
    """Prints a leaderboard on stdout."""
    from crucibench.report import leaderboard_text
    from crucibench.report.terminal import print_leaderboard

    if form == "table":
        draw(lambda target: print_leaderboard(target, board))
    else:
        render = {
            "json": leaderboard_text.json_text,
            "csv": leaderboard_text.csv,
            "md": leaderboard_text.markdown,
        }[form]
        write(render(board))


def _tell_failures(run: Run) -> None:
    from crucibench.contracts.verdict import Status, Verdict

    for cell in run.cells.values():
        where = f"{cell.model} on {cell.data}, {cell.suite}/{cell.scenario}"
        if cell.status is Status.FAILED:
            hint = f"crucibench show {run.root} --cell {cell.cell}" if cell.detail else None
            tell(f"{where} failed: {cell.reason}", hint)
        elif cell.verdict is Verdict.INVALID:
            tell(f"{where} is invalid: its numbers do not measure what they say")
