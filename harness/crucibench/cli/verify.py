"""``crucibench verify``."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crucibench.cli._options import (
    FORMAT,
    OUT,
    QUIET,
    RUN,
    Format,
    examples,
    find_finished_run,
)
from crucibench.cli._output import NotePrinter, Table, emit, notes_listener
from crucibench.report.format import counted

_PARTLY = 3
"""The exit code of a bundle that is sound, and of which cells can't be checked."""

if TYPE_CHECKING:
    from crucibench.store.run import Run


@click.command(
    epilog=examples(
        "crucibench verify latest",
        "crucibench verify results/3f2a9c41d07e --with-model",
    )
)
@RUN
@click.option(
    "--with-model",
    is_flag=True,
    help="Open models and data too, and ask a batch of every stage of a cell again.",
)
@OUT
@FORMAT
@QUIET
def command(*, reference: str, with_model: bool, out: Path, form: Format, quiet: bool) -> int:
    """Check that a run is what its manifest and its records say.

    Every file is hashed again, samples are accounted for, and the numbers are computed again from
    the records, by other code than that which made them. With --with-model, models are asked some
    of their batches again, and must answer as the records say, but for float noise; saved
    adversarial inputs are asked again, all of them. Exit code 0: sound; 1: something differs; 3:
    sound as far as a bundle can be checked without what was left out of it; 4: the run can't be
    read.
    """
    from crucibench.integrity.verify import verify

    run, note = find_finished_run(reference, out), NotePrinter(quiet)
    differences = verify(run)
    if with_model and differences:
        note("the models are not asked: the run differs as it is")
    elif with_model:
        differences = _ask_again(run, note)
    if differences or form != "table":
        document = {"run": run.id, "sound": not differences, "differences": differences}
        rows = [[sentence] for sentence in differences]
        emit(form, document, [Table(columns=("difference",), rows=rows, headless=True)])
    what = f"run {run.id}"
    if differences:
        note(f"{what} is not sound")
        return 1
    unchecked = _note_bundle(run, note)
    files = len(run.manifest["files"])
    if unchecked:
        note(
            f"{what} is sound as far as it can be checked: {files} files are as hashed, numbers "
            f"are as the records give them; {counted(unchecked, 'cell')} not checked, because "
            "records that their scoring reads were left out"
        )
        return _PARTLY
    note(f"{what} is sound: {files} files are as hashed, numbers are as the records give them")
    return 0


def _note_bundle(run: Run, note: NotePrinter) -> int:
    """Says what a bundle can't show for want of what was left out, and counts cells unchecked."""
    from crucibench.integrity.rescoring import unscored
    from crucibench.store.bundle import BundleRun

    if not isinstance(run, BundleRun):
        return 0
    account = run.account
    if account["withheld"]:
        note(f"left out of {counted(len(account['withheld']), 'file')} when it was bundled")
    for sentence in run.verification["from_the_bundle"]:
        note(f"as when it was bundled: {sentence}")
    return unscored(run.verification["from_the_bundle"])


def _ask_again(run: Run, note: NotePrinter) -> list[str]:
    """Asks the models again, says what came of it, and returns the differences."""
    from crucibench.engine.ask_again import ask_again
    from crucibench.util.folders import cache_folder

    # What models print is no data of ours.
    with contextlib.redirect_stdout(io.StringIO() if note.quiet else sys.stderr):
        asked = ask_again(run, cache_folder(), listener=notes_listener(note))
    for sentence in asked.unchecked:
        note(sentence)
    if asked.noisy:
        flips = f", {counted(asked.flips, 'label')} flipped" if asked.flips else ""
        noise = f"; {asked.noisy} but for float noise (up to {asked.largest:.1e}{flips})"
    else:
        noise = ""
    if asked.kept:
        note(f"{counted(asked.kept, 'saved example')} asked again")
    note(
        f"{counted(asked.rows, 'record')} asked again: {counted(asked.identical, 'cell')} answered "
        f"the same{noise}"
    )
    return asked.differences
