"""What `run` and `demo` do once the spec is resolved."""

from __future__ import annotations

from pathlib import Path

from crucibench.cli._errors import BAD, print_error
from crucibench.cli._options import BoardFormat, Format, Progress
from crucibench.cli._output import NotePrinter, describe_cell, draw, emit, write
from crucibench.comparing.run_parity import exit_code, pairs_of
from crucibench.contracts.verdict import Status, Verdict
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Resolved
from crucibench.gating.policy import Policy, read_policy
from crucibench.report import leaderboard_text, terminal
from crucibench.report.decision import decisions_of
from crucibench.report.leaderboard import Leaderboard, leaderboard
from crucibench.store.layout import Layout
from crucibench.store.part_file import read_part
from crucibench.store.run import Run
from crucibench.util.memory import keep_freed_memory
from crucibench.util.signals import exit_code_of


def policy_of(file: Path | None) -> Policy | None:
    """Returns the policy in a file; None without one."""
    return None if file is None else read_policy(file)


def evaluate(
    resolved: Resolved, options: RunOptions, form: Format, quiet: bool,
    progress: Progress = "auto", *, policy: Policy | None = None,
) -> int:  # fmt: skip
    """Carries out a run, prints plan, progress and scorecard, and returns the exit code."""
    from crucibench.api import carry_out, judge_of
    from crucibench.cli._plan import plan_document, plan_tables
    from crucibench.cli._progress import listener_for
    from crucibench.engine.run import execute, run_layout, with_current_reads

    keep_freed_memory()
    resolved = with_current_reads(resolved, options)
    announce = not options.dry_run
    listener = listener_for(resolved, progress, quiet=quiet, announce=announce)
    layout = run_layout(resolved, options)
    if layout.manifest.is_file() and not options.fresh and not options.dry_run:
        NotePrinter(quiet)(
            f"run {resolved.run_id} is finished already: nothing to do (--fresh runs it again)"
        )
    try:
        with listener.at_work():
            if options.dry_run or options.part is not None:
                execute(resolved, options, listener, judge_of(resolved))
            else:
                run = carry_out(resolved, options, listener, policy)
    except KeyboardInterrupt as error:
        listener.interrupted()
        return exit_code_of(error)
    if options.dry_run:
        plan, inspection = listener.plan()
        emit(
            form,
            plan_document(resolved, plan, inspection),
            plan_tables(resolved, plan, inspection, long=form == "csv"),
        )
        return 0
    if options.part is not None:
        return _report_part(layout, quiet)
    return _report_looks(run, resolved, show_result(run, form, quiet, policy), quiet)


def _report_looks(run: Run, resolved: Resolved, code: int, quiet: bool) -> int:
    """Reports what looks at a run have decided, and writes it; returns the run's exit code."""
    file = resolved.spec.defaults.until_decided
    if file is None:
        return code
    from crucibench.gating.looks import looked_verdict
    from crucibench.gating.outputs import write_outputs
    from crucibench.gating.policy import read_policy
    from crucibench.gating.text import headline

    verdict = looked_verdict(run, read_policy(resolved.base / file), file)
    folder = run.root / "gate"
    write_outputs(verdict, folder)
    for check in verdict.checks:
        NotePrinter(quiet)(f"{check.address}: {check.outcome}: {check.message}")
    NotePrinter(quiet)(f"{headline(verdict)}; written to {folder}")
    return code or verdict.exit_code


def _report_part(layout: Layout, quiet: bool) -> int:
    account = read_part(layout)
    failed = [cell.file for cell in account.cells.values() if cell.file.status is Status.FAILED]
    for cell in failed:
        print_error(f"{describe_cell(cell)} failed: {cell.reason}")
    NotePrinter(quiet)(
        f"part {account.part} of {account.of} is done; when all are: crucibench merge "
        f"{layout.root.parent / account.run}.part-*-of-{account.of}"
    )
    write(f"{layout.root}\n")
    return BAD if failed else 0


def show_result(run: Run, form: Format, quiet: bool, policy: Policy | None = None) -> int:
    """Prints a run's scorecard and, on stderr, what to know of it; returns its exit code.

    With `quiet` it prints where the run is, and errors, alone.
    """
    if form != "table":
        print_board(leaderboard([run]), form)
    elif quiet:
        write(f"{run.root}\n")
    else:
        print_scorecard(run, policy)
    if not quiet:
        draw(lambda target: terminal.print_findings(target, run, notes=False), stderr=True)
    _print_failures(run)
    _print_parity(run, quiet)
    if run.layout.report.is_file():
        NotePrinter(quiet)(f"report: {run.layout.report}")
    return exit_code(run)


def print_scorecard(run: Run, policy: Policy | None = None) -> None:
    """Prints which model to ship, by a gate's policy if given, and a number an axis of each."""
    _print_decisions(run, policy)
    board = leaderboard([run])
    draw(lambda target: terminal.print_scorecard(target, board))


def _print_decisions(run: Run, policy: Policy | None) -> None:
    """Prints which model to ship, by what was claimed when the run ended."""
    # Claims are made with the report; here they are only shown, since making them takes seconds.
    if policy is None and (run.packed or not run.layout.claims.is_file()):
        return
    found = decisions_of(run, policy)
    text = "\n".join(f"{one.data}: {one.text}" if len(found) > 1 else one.text for one in found)
    draw(lambda target: target.print(f"{text}\n", markup=False, highlight=False))


def print_board(board: Leaderboard, form: BoardFormat) -> None:
    """Prints a leaderboard on stdout."""
    if form == "table":
        draw(lambda target: terminal.print_leaderboard(target, board))
    elif form == "html":
        from crucibench.report.site.write import leaderboard_page

        write(leaderboard_page(board))
    else:
        render = {
            "json": leaderboard_text.json_text, "csv": leaderboard_text.csv,
            "md": leaderboard_text.markdown, "latex": leaderboard_text.latex,
        }[form]  # fmt: skip
        write(render(board))


def _print_failures(run: Run) -> None:
    for cell in run.cells.values():
        where = describe_cell(cell)
        if cell.status is Status.FAILED:
            hint = f"crucibench show {run.root} --cell {cell.cell}" if cell.detail else None
            print_error(f"{where} failed: {cell.reason}", hint)
        elif cell.verdict is Verdict.INVALID:
            print_error(f"{where} is invalid: its numbers do not measure what they say")


def _print_parity(run: Run, quiet: bool) -> None:
    for pair in pairs_of(run):
        if pair.agree:
            NotePrinter(quiet)(pair.sentence())
        else:
            print_error(pair.sentence())
