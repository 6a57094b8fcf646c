"""``crucibench report``."""

from __future__ import annotations

from pathlib import Path

import click

from crucibench.cli._options import OUT, QUIET, RUN, examples


@click.command(epilog=examples("crucibench report latest", "crucibench report 3f2a -o report.html"))
@RUN
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Also copy the report here.")  # fmt: skip
@click.option("--gallery/--no-gallery", default=True,
              help="Show the samples that the run kept, or leave them out, as of a report that "
              "others are to read.  [default: --gallery]")  # fmt: skip
@OUT
@QUIET
def command(*, reference: str, output: Path | None, gallery: bool, out: Path, quiet: bool) -> int:
    """Write the report of a run again.

    Writes report.html and the leaderboards in the run's folder, from its cells and numbers, and
    prints where the report is.
    """
    from crucibench.cli._output import write
    from crucibench.cli._runs import sound
    from crucibench.report.views import write_views
    from crucibench.util.errors import InputError

    run = sound(reference, out)
    if run.packed and output is None:
        raise InputError(f"{reference!r} is a pack and has no folder of its own; give -o FILE")
    write_views(run, gallery=gallery)
    place = run.layout.report
    if output is not None:
        from crucibench.util.atomic import write_text

        try:
            write_text(output, place.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"-o {str(output)!r}: can't write there: {error.strerror}") from error
        place = output
    write(f"{place}\n")
    return 0
