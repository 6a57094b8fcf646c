"""``crucibench report``."""

from __future__ import annotations

from pathlib import Path

import click

from crucibench.cli._options import (
    NAMED_FILE,
    OUT,
    POLICY,
    QUIET,
    RUN,
    examples,
    find_run_and_model,
    find_sound_runs,
)
from crucibench.cli._output import write, write_output_file
from crucibench.util.errors import InputError


@click.command(
    epilog=examples(
        "crucibench report latest",
        "crucibench report 3f2a -o report.html",
        "crucibench report latest --baseline 3f2a",
    )
)
@RUN
@click.option("-o", "--output", type=NAMED_FILE, metavar="FILE",
              help="Also copy the report here.")  # fmt: skip
@click.option("--gallery/--no-gallery", default=True,
              help="Show the samples that the run kept, or leave them out, as of a report that "
              "others are to read.  [default: --gallery]")  # fmt: skip
@click.option("--baseline", metavar="RUN[:MODEL]",
              help="Say in transcripts which answers changed against this run's.")  # fmt: skip
@POLICY
@OUT
@QUIET
def command(
    *,
    reference: str,
    output: Path | None,
    gallery: bool,
    baseline: str | None,
    policy_file: Path | None,
    out: Path,
    quiet: bool,
) -> int:
    """Write the report of a run again.

    Writes report.html and the leaderboards in the run's folder, from its cells and numbers, and
    prints where the report is.
    """
    from crucibench.cli._evaluation import policy_of
    from crucibench.comparing.runs import tables_against
    from crucibench.report.html import write_views

    policy = policy_of(policy_file)
    (run,) = find_sound_runs([reference], out)
    if run.packed and output is None:
        raise InputError(f"{reference!r} is a pack and has no folder of its own; give -o FILE")
    compared = None
    if baseline is not None:
        before, model = find_run_and_model(baseline, out)
        compared = tables_against(before, run, model)
    write_views(run, gallery=gallery, policy=policy, compared=compared)
    place = run.layout.report
    if output is not None:
        write_output_file(output, place.read_text(encoding="utf-8"))
        place = output
    write(f"{place}\n")
    return 0
