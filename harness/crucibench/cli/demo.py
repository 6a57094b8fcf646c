"""``crucibench demo``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, Format, examples


@click.command(epilog=examples("crucibench demo", "crucibench demo --out /tmp/results --format md"))
@OUT
@FORMAT
@QUIET
def command(*, out: Path, form: Format, quiet: bool) -> int:
    """Evaluate the bundled models on bundled data.

    It takes less than a minute, needs no network, and ends in a leaderboard and a report.
    """
    from crucibench.api import cache_folder
    from crucibench.cli._evaluation import evaluate
    from crucibench.engine.resolve import Overrides, resolve
    from crucibench.engine.run import RunOptions
    from crucibench.spec.yaml_file import read_yaml

    spec = demo_spec()
    resolved = resolve(read_yaml(spec), spec.parent, str(spec), Overrides())
    return evaluate(
        resolved, RunOptions(out=out, scratch=cache_folder(), where=str(spec)), form, quiet
    )


def demo_spec() -> Path:
    """Returns the bundled spec.

    The core may not import the adapters, and needn't: it is found by the name of their package.

    Raises:
        InputError: if this installation holds none.
    """
    package = importlib.util.find_spec("crucibench_adapters")
    for folder in (package.submodule_search_locations or ()) if package else ():
        spec = Path(folder) / "demo" / "demo.yaml"
        if spec.is_file():
            return spec
    from crucibench.util.errors import InputError

    raise InputError("this installation of crucibench holds no demo models; install it again")
