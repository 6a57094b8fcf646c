"""``crucibench verify``."""

from __future__ import annotations

from pathlib import Path

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, RUN, Format, examples


@click.command(
    epilog=examples("crucibench verify latest", "crucibench verify results/3f2a9c41d07e")
)
@RUN
@OUT
@FORMAT
@QUIET
def command(*, reference: str, out: Path, form: Format, quiet: bool) -> int:
    """Check that a run is what its manifest and its records say.

    Every file is hashed again, samples are counted, and the numbers are computed again from the
    records. Exit code 0: sound; 1: something differs; 4: the run can't be read.
    """
    from crucibench.cli._output import Notes, Table, emit
    from crucibench.cli._runs import finished
    from crucibench.engine.verify import verify

    run, note = finished(reference, out), Notes(quiet)
    differences = verify(run)
    if differences or form != "table":
        document = {"run": run.id, "sound": not differences, "differences": differences}
        rows = [[sentence] for sentence in differences]
        emit(form, document, [Table(columns=("difference",), rows=rows, headless=True)])
    what = f"run {run.id}"
    if differences:
        note(f"{what} is not sound")
        return 1
    files = len(run.manifest["files"])
    note(f"{what} is sound: {files} files are as hashed, numbers are as the records give them")
    return 0
