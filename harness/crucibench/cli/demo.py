"""``crucibench demo``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from crucibench.cli._options import FORMAT, OUT, PROGRESS, QUIET, Format, Progress, examples
from crucibench.cli._output import NotePrinter
from crucibench.util.errors import InputError


@click.command(epilog=examples("crucibench demo", "crucibench demo --out /tmp/results --format md"))
@OUT
@FORMAT
@PROGRESS
@QUIET
def command(*, out: Path, form: Format, progress: Progress, quiet: bool) -> int:
    """Evaluate the bundled models on bundled data.

    It takes a few minutes on two cores, needs no network, and ends in a leaderboard and a report.
    """
    from crucibench.engine.executors.zygote import quiet_libraries

    with quiet_libraries():  # nothing before it may import NumPy: workers are forked from here
        from crucibench.cli._evaluation import evaluate
    from crucibench.engine.options import RunOptions
    from crucibench.engine.resolve.resolve import Overrides, resolve
    from crucibench.util.folders import cache_folder
    from crucibench.util.untrusted.yaml_text import read_yaml

    spec = demo_spec()
    document, left_out = installed(read_yaml(spec))
    if left_out:
        names = " and ".join(left_out)
        NotePrinter(quiet)(
            f"{names} of the demo is left out: transformers is not installed: "
            'pip install "crucibench[text]"'
        )
    resolved = resolve(document, spec.parent, str(spec), Overrides())
    options = RunOptions(out=out, scratch=cache_folder(), where=str(spec), workers=1)
    return evaluate(resolved, options, form, quiet, progress)


def installed(document: Any) -> tuple[Any, list[str]]:
    """Returns the demo's spec without what this installation can't run, and what that is.

    Models of transformers, an optional package, are left out where it is not installed.
    """
    if importlib.util.find_spec("transformers") is not None:
        return document, []
    left_out = [model["name"] for model in document["models"] if model["uri"].startswith("hf:")]
    models = [model for model in document["models"] if model["name"] not in left_out]
    tracks = [
        {**track, "models": [name for name in track["models"] if name not in left_out]}
        for track in document.get("tracks", ())
    ]
    return {**document, "models": models, **({"tracks": tracks} if tracks else {})}, left_out


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

    raise InputError("this installation of crucibench holds no demo models; install it again")
