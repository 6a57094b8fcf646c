"""``crucibench merge``."""

from __future__ import annotations

from pathlib import Path

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, Format, examples


@click.command(
    epilog=examples(
        "crucibench run crucibench.yaml --shard 1/4    # on four machines: 1/4, 2/4, 3/4, 4/4",
        "crucibench merge results/*.part-*-of-4",
    )
)
@click.argument(
    "parts", nargs=-1, required=True, metavar="PART...", type=click.Path(path_type=Path)
)
@OUT
@FORMAT
@QUIET
def command(*, parts: tuple[Path, ...], out: Path, form: Format, quiet: bool) -> int:
    """Make one run of the parts that several machines did.

    run --shard leaves parts. All must be there, finished, and made on the same data, files and
    versions. Neither the models nor the data are needed. The records are those that one machine
    would have collected.
    """
    from crucibench.api import with_views
    from crucibench.cli._evaluation import show_result
    from crucibench.engine.parts import merge
    from crucibench.util.memory import keep_freed_memory

    keep_freed_memory()
    return show_result(with_views(merge(parts, out)), form, quiet)
