"""``crucibench run``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from crucibench.cli._options import (
    ALLOW_PICKLE,
    AUTO_OR_NUMBER,
    FORMAT,
    NAMED_FILE,
    NAMES,
    OUT,
    POLICY,
    PROGRESS,
    QUIET,
    SETTING,
    Format,
    Progress,
    column_options,
    complete_files,
    complete_suites,
    examples,
    execution_options,
)
from crucibench.util.errors import InputError

_EPILOG = examples(
    "crucibench run crucibench.yaml",
    "crucibench run --model cnn=torch:models.py:cnn --data sklearn:digits --suite accuracy",
    "crucibench run --model sklearn:fraud.skops --data parquet:claims.parquet --dry-run",
    "crucibench run --model sklearn:models.py:forest --data csv:people.csv \\",
    "               --target income --groups sex,age_band --set accuracy.KEY=VALUE",
)

TOLERANCE = 1e-5
"""How far probabilities may differ with --check-parity; the spec's `check_parity` says else."""


@click.command(epilog=_EPILOG)
@click.argument("spec", required=False, metavar="[SPEC.yaml]", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]URI",
    shell_complete=complete_files("model"),
    help="A model, e.g. torch:models.py:cnn; may be given several times.",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="NAME",
    help="Another form of every --model, e.g. bf16, int8, compile or threads-2; may be given "
    "several times.",
)
@click.option(
    "--recipe",
    metavar="NAME",
    help="Every --model is a training of this recipe, with a seed of its own.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    metavar="R",
    help="How often plain passes ask every --model about each sample, where it is stochastic.",
)
@click.option(
    "--data",
    "data",
    multiple=True,
    metavar="[NAME=]URI",
    shell_complete=complete_files("data"),
    help="A data set, e.g. csv:people.csv; may be given several times.",
)
@column_options
@click.option(
    "--suite",
    "suites",
    type=NAMES,
    multiple=True,
    shell_complete=complete_suites,
    help="Which suites to run; by default all that apply.",
)
@click.option(
    "--set",
    "settings",
    type=SETTING,
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
@click.option("--batch-size", type=AUTO_OR_NUMBER, help="[default: auto]")
@click.option(
    "--threads",
    type=AUTO_OR_NUMBER,
    help="Of numerical libraries; auto: as OMP_NUM_THREADS says, else up to 4.  [default: auto]",
)
@click.option("--timeout", metavar="DURATION", help="Of one cell, e.g. 90s or 30m.  [default: 30m]")
@execution_options
@ALLOW_PICKLE
@click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run code that comes with a model's files: only of people you trust.",
)
@click.option(
    "--keep-going", is_flag=True, help="A model that can't be inspected fails its own cells only."
)
@click.option(
    "--check-parity",
    is_flag=True,
    help="The models of a track are forms of one: check that the later ones answer as the first, "
    "to 1e-05; `check_parity: X` in the spec allows more.",
)
@click.option(
    "--save-adversarials",
    is_flag=True,
    help="Keep the inputs that attacks found, as artefacts of their cells.",
)
@click.option(
    "--reuse-answers",
    metavar="RUN",
    help="Take a language model's answers from this run where it was asked the same.",
)
@click.option("--fresh", is_flag=True, help="Throw away what an earlier run of the same left.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--until-decided", metavar="FILE", type=NAMED_FILE,
              help="Ask in blocks of samples, models in turn, until the required rules of this "
              "policy are decided of every model against the first.")  # fmt: skip
@POLICY
@OUT
@FORMAT
@PROGRESS
@QUIET
def command(
    *,
    spec: Path | None,
    models: tuple[str, ...],
    variants: tuple[str, ...],
    recipe: str | None,
    repeat: int | None,
    data: tuple[str, ...],
    columns: dict[str, Any],
    suites: tuple[tuple[str, ...], ...],
    settings: tuple[tuple[str, Any], ...],
    execution: dict[str, Any],
    allow_pickle: bool,
    trust_remote_code: bool,
    keep_going: bool,
    check_parity: bool,
    save_adversarials: bool,
    reuse_answers: str | None,
    fresh: bool,
    dry_run: bool,
    until_decided: Path | None,
    policy_file: Path | None,
    out: Path,
    form: Format,
    progress: Progress,
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
    if spec is not None and variants:
        raise click.UsageError("--variant goes with --model; in SPEC.yaml say variants: [...]")
    if spec is not None and recipe is not None:
        raise click.UsageError("--recipe goes with --model; in SPEC.yaml say replicate_of: NAME")
    if spec is not None and repeat is not None:
        raise click.UsageError("--repeat goes with --model; in SPEC.yaml say repeat: R")
    if check_parity:
        defaults["check_parity"] = TOLERANCE

    chosen = tuple(name for names in suites for name in names) if suites else None
    if save_adversarials:
        if chosen is not None and "adversarial" not in chosen:
            raise click.UsageError("--save-adversarials goes with --suite adversarial")
        settings = (*settings, ("adversarial.save_adversarials", True))

    from crucibench.engine.executors.zygote import quiet_libraries

    with quiet_libraries():  # nothing before it may import NumPy: workers are forked from here
        from crucibench.cli._evaluation import evaluate, policy_of
    from crucibench.engine.options import RunOptions
    from crucibench.engine.resolve.resolve import Overrides, resolve

    policy = policy_of(policy_file)
    if spec is not None:
        from crucibench.util.untrusted.yaml_text import read_yaml

        document, base, where = read_yaml(spec), spec.resolve().parent, str(spec)
    else:
        if len(data) > 1 and columns:
            named = ", ".join(f"--{key}" for key in columns)
            raise InputError(
                f"{named}: with several --data, say it in the address: URI?target=COLUMN&..."
            )
        document, base, where = (
            _document(models, variants, {"group": recipe, "repeat": repeat or 1}, data, columns),
            Path(),
            "command line",
        )
    if until_decided is not None:
        defaults["until_decided"] = os.path.relpath(until_decided, base)
    overrides = Overrides(
        defaults={key: value for key, value in defaults.items() if value is not None},
        suites=chosen,
        settings=dict(settings),
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    resolved = resolve(document, base, where, overrides)

    from crucibench.store.find import find_run
    from crucibench.util.folders import cache_folder

    options = RunOptions(
        out=out, scratch=cache_folder(), keep_going=keep_going, fresh=fresh, dry_run=dry_run,
        where=where, reuse=None if reuse_answers is None else find_run(reuse_answers, out),
        **execution,
    )  # fmt: skip
    return evaluate(resolved, options, form, quiet, progress, policy=policy)


def _document(
    models: tuple[str, ...],
    variants: tuple[str, ...],
    each: dict[str, Any],
    data: tuple[str, ...],
    columns: dict[str, Any],
) -> dict[str, Any]:
    """Returns a spec: every model, in every form, meets every data set."""
    from crucibench.api import named_entry

    forms = {"variants": list(dict.fromkeys(variants)), **each}
    model_entries = [named_entry(text) | forms for text in models]
    data_entries = list(map(named_entry, data))
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
