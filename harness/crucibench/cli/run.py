"""``crucibench run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, Format, examples
from crucibench.cli._values import AutoOrNumber, Commas, Setting, column_options

_EPILOG = examples(
    "crucibench run crucibench.yaml",
    "crucibench run --model cnn=torch:models.py:cnn --data sklearn:digits --suite accuracy",
    "crucibench run --model sklearn:fraud.skops --data parquet:claims.parquet --dry-run",
    "crucibench run --model sklearn:models.py:forest --data csv:people.csv \\",
    "               --target income --groups sex,age_band --set accuracy.KEY=VALUE",
)


@click.command(epilog=_EPILOG)
@click.argument("spec", required=False, metavar="[SPEC.yaml]", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]URI",
    help="A model, e.g. torch:models.py:cnn; may be given several times.",
)
@click.option(
    "--data",
    "data",
    multiple=True,
    metavar="[NAME=]URI",
    help="A data set, e.g. csv:people.csv; may be given several times.",
)
@column_options
@click.option(
    "--suite",
    "suites",
    type=Commas(),
    multiple=True,
    help="Which suites to run; by default all that apply.",
)
@click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    help="A suite's setting; VALUE is read as YAML.",
)
@click.option(
    "--preset",
    type=click.Choice(["quick", "standard", "full"]),
    help="How much to run.  [default: quick]",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    help="At most so many samples of a data set.",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), help="Of every draw.  [default: 0]"
)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option("--batch-size", type=AutoOrNumber(), help="[default: auto]")
@click.option("--threads", type=AutoOrNumber(), help="Of numerical libraries.  [default: auto]")
@click.option("--timeout", metavar="DURATION", help="Of one cell, e.g. 90s or 30m.  [default: 30m]")
@click.option(
    "--allow-pickle",
    is_flag=True,
    help="Read pickled models, which can run any code: only of people you trust.",
)
@click.option(
    "--keep-going", is_flag=True, help="A model that can't be inspected fails its own cells only."
)
@click.option("--fresh", is_flag=True, help="Throw away what an earlier run of the same left.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@OUT
@FORMAT
@QUIET
def command(
    *,
    spec: Path | None,
    models: tuple[str, ...],
    data: tuple[str, ...],
    columns: dict[str, Any],
    suites: tuple[tuple[str, ...], ...],
    settings: tuple[tuple[str, Any], ...],
    allow_pickle: bool,
    keep_going: bool,
    fresh: bool,
    dry_run: bool,
    out: Path,
    form: Format,
    quiet: bool,
    **defaults: Any,
) -> int:
    """Evaluate models on data.

    What to run is written in SPEC.yaml, or given by --model and --data; the other options go before
    what the spec says. The plan is printed first. An interrupted run resumes when the same command
    is given again, and a finished one is shown as it is.
    """
    if spec is None and not (models and data):
        raise click.UsageError("expected SPEC.yaml, or --model and --data")
    if spec is not None and (models or data or columns):
        raise click.UsageError("expected SPEC.yaml, or --model and --data, not both")

    from crucibench.cli._evaluation import evaluate
    from crucibench.engine.resolve import Overrides, resolve
    from crucibench.engine.run import RunOptions
    from crucibench.util.errors import InputError

    if spec is not None:
        from crucibench.spec.yaml_file import read_yaml

        document, base, where = read_yaml(spec), spec.resolve().parent, str(spec)
    else:
        if len(data) > 1 and columns:
            named = ", ".join(f"--{key}" for key in columns)
            raise InputError(
                f"{named}: with several --data, say it in the address: URI?target=COLUMN&..."
            )
        document, base, where = _document(models, data, columns), Path.cwd(), "command line"
    overrides = Overrides(
        defaults={key: value for key, value in defaults.items() if value is not None},
        suites=tuple(name for names in suites for name in names) if suites else None,
        settings=dict(settings),
        allow_pickle=allow_pickle,
    )
    resolved = resolve(document, base, where, overrides)

    from crucibench.api import cache_folder

    options = RunOptions(
        out=out, scratch=cache_folder(), keep_going=keep_going, fresh=fresh, dry_run=dry_run,
        where=where,
    )  # fmt: skip
    return evaluate(resolved, options, form, quiet)


def _document(
    models: tuple[str, ...], data: tuple[str, ...], columns: dict[str, Any]
) -> dict[str, Any]:
    """Returns a spec: every model meets every data set."""
    model_entries, data_entries = [_entry(text) for text in models], [_entry(text) for text in data]
    document: dict[str, Any] = {
        "models": model_entries,
        "data": [{**entry, **columns} for entry in data_entries],
    }
    if len(data) > 1:
        names = [entry["name"] for entry in model_entries]
        document["tracks"] = [
            {"name": entry["name"], "models": names, "data": entry["name"]}
            for entry in data_entries
        ]
    return document


def _entry(text: str) -> dict[str, Any]:
    from crucibench.api import default_name
    from crucibench.contracts.uri import split_name

    name, uri = split_name(text)
    return {"name": name or default_name(uri), "uri": uri}
