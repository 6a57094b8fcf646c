"""``crucibench compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, Format, examples

if TYPE_CHECKING:
    from crucibench.comparing.results import Comparison
    from crucibench.store.run import Run

_EPILOG = "\n\n".join(
    (
        examples(
            "crucibench compare baseline.cbz latest",
            "crucibench compare 3f2a 9c41 --metric '*/top-1' --flips flips.csv",
            "crucibench compare latest --models cnn,cnn-adversarial",
            "crucibench compare 3f2a:cnn 9c41:cnn-v2",
        ),
        "\b\nExit codes:\n"
        "    0  done\n"
        "    2  a mistake in what was asked for\n"
        "    4  not comparable: the field that differs is named",
    )
)


@click.command(epilog=_EPILOG)
@click.argument("references", metavar="BASELINE [CANDIDATE]...", nargs=-1, required=True)
@click.option(
    "--models",
    metavar="A,B[,...]",
    help="Compare models of one run: A with each of the others.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="PATTERN",
    help="Only numbers whose address fits, e.g. '*/top-1' or 'cnn:accuracy/*'; several are "
    "possible.",
)
@click.option("--groups", is_flag=True, help="Show the numbers of single classes and groups too.")
@click.option("--intersect", is_flag=True, help="Compare the samples that both have.")
@click.option(
    "--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95,
    show_default=True, help="Of the intervals.",
)  # fmt: skip
@click.option(
    "--flips",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the ids of the samples that changed between right and wrong, as CSV.",
)
@OUT
@FORMAT
@QUIET
def command(
    *,
    references: tuple[str, ...],
    models: str | None,
    metrics: tuple[str, ...],
    groups: bool,
    intersect: bool,
    level: float,
    flips: Path | None,
    out: Path,
    form: Format,
    quiet: bool,
) -> int:
    """Compare models sample by sample, with intervals and tests.

    The first RUN is the baseline. A RUN is a path, the start of an id, latest or a pack, with
    :MODEL where one of its models is meant. Differences are candidate minus baseline; p-values are
    corrected for their number (Holm).
    """
    from crucibench.cli import _comparison
    from crucibench.cli._errors import BAD
    from crucibench.cli._output import Notes, Table, emit, warn
    from crucibench.comparing.runs import compare_runs

    done: dict[str, Comparison] = {}
    for name, baseline, candidate, pairs in _asked(references, models, out):
        done[name] = compare_runs(
            baseline, candidate, level=level, intersect=intersect, models=pairs, metrics=metrics
        )
    note = Notes(quiet)
    for name, comparison in done.items():
        prefix = f"{name}: " if len(done) > 1 else ""
        for refusal in comparison.refused:
            (warn if refusal.field else note)(f"{prefix}{refusal.cell}: {refusal.reason}")
        for text in comparison.notes:
            warn(f"{prefix}{text}")
    flat = [_comparison.flat(name, one) for name, c in done.items() for one in c.differences]
    rows = [[row[column] for column in _comparison.FLAT] for row in flat]
    tables = [
        _comparison.table(name, comparison, groups=groups or bool(metrics))
        for name, comparison in done.items()
    ]
    if form == "csv":
        tables = [Table(columns=_comparison.FLAT, rows=rows)]
    emit(form, [_comparison.document(*entry) for entry in done.items()], tables)
    if flips is not None:
        note(f"{_comparison.write_flips(flips, done)} flips in {flips}")
    hidden = sum(bool(one.address.group) for c in done.values() for one in c.differences)
    if hidden and form in {"table", "md"} and not (groups or metrics):
        note(f"{hidden} numbers of single classes and groups: --groups shows them")
    if any(comparison.incomparable for comparison in done.values()):
        return BAD
    if not flat:
        warn("nothing was compared" + (": no number fits --metric" if metrics else ""))
        return BAD
    return 0


Asked = tuple[str, "Run", "Run", "dict[str, str] | None"]


def _asked(references: tuple[str, ...], models: str | None, out: Path) -> list[Asked]:
    """Returns a name, both runs and the models that belong together, for each comparison.

    Raises:
        InputError: if the arguments don't say what is to be compared.
    """
    from crucibench.util.errors import InputError

    if models is not None:
        names = [name.strip() for name in models.split(",") if name.strip()]
        if len(references) != 1 or len(names) < 2:
            raise InputError("--models: expected one RUN and two models or more, A,B[,...]")
        run, _ = _found(references[0], out)
        return [(f"{name} against {names[0]}", run, run, {name: names[0]}) for name in names[1:]]
    if len(references) < 2:
        raise InputError("compare: expected two runs or more, or one run with --models A,B")
    baseline, old = _found(references[0], out)
    asked: list[Asked] = []
    for reference in references[1:]:
        candidate, new = _found(reference, out)
        pairs = _pairs(baseline, old, candidate, new)
        asked.append((f"{reference} against {references[0]}", baseline, candidate, pairs))
    return asked


def _found(reference: str, out: Path) -> tuple[Run, str]:
    """Returns a run and the model that is meant, or ""."""
    from crucibench.cli._runs import finished
    from crucibench.util.errors import InputError
    from crucibench.util.suggest import unknown

    head, colon, model = reference.rpartition(":")
    try:
        return finished(reference, out), ""
    except InputError:
        if not colon:
            raise
        run = finished(head, out)
    known = [*dict.fromkeys(name for name, _ in run.models)]
    if model not in known:
        raise InputError(unknown("model", model, known))
    return run, model


def _pairs(baseline: Run, old: str, candidate: Run, new: str) -> dict[str, str] | None:
    from crucibench.util.errors import InputError

    if not old and not new:
        return None
    for run, name, other in ((baseline, old, new), (candidate, new, old)):
        known = [*dict.fromkeys(model for model, _ in run.models)]
        if name or other in known:
            continue
        if len(known) > 1:
            raise InputError(
                f"run {run.id} has several models ({', '.join(known)}) and none is called "
                f"{other!r}: say which with RUN:MODEL"
            )
        old, new = (known[0], new) if run is baseline else (old, known[0])
    return {new or old: old or new}
