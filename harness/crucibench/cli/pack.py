"""``crucibench pack``."""

from __future__ import annotations

from pathlib import Path

import click

from crucibench.cli._options import NAMED_FILE, OUT, QUIET, RUN, examples, find_finished_run
from crucibench.cli._output import NotePrinter, write
from crucibench.util.errors import InputError


@click.command(
    epilog=examples(
        "crucibench pack latest -o baseline.cbz", "crucibench compare baseline.cbz latest"
    )
)
@RUN
@click.option(
    "-o", "--output", type=NAMED_FILE, metavar="FILE",
    help="The file to write.  [default: RUN_ID.cbz]",
)  # fmt: skip
@click.option("--with-groups", is_flag=True, help="Keep the group columns of the samples.")
@OUT
@QUIET
def command(
    *, reference: str, output: Path | None, with_groups: bool, out: Path, quiet: bool
) -> int:
    """Make one small file of a run, to compare with later.

    It holds what compare and gate need: records, numbers, spec, environment. It holds no inputs, no
    free text, no names of samples and, unless asked for, no group columns; sample ids are keyed, so
    that they can't be matched to guessed content.
    """
    from crucibench.engine.packing import pack_run
    from crucibench.store.pack import SUFFIX
    from crucibench.util.numbers import size_text

    run = find_finished_run(reference, out)
    path = output or Path(f"{run.id}{SUFFIX}")
    if path.suffix != SUFFIX:
        raise InputError(f"--output {str(path)!r}: expected a name that ends in {SUFFIX}")
    pack_run(run, path, with_groups=with_groups)
    NotePrinter(quiet)(size_text(path.stat().st_size))
    write(f"{path}\n")
    return 0
