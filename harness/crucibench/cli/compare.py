"""``crucibench compare``."""

from __future__ import annotations

from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crucibench.cli._errors import BAD
from crucibench.cli._options import (
    FORMAT,
    OUT,
    QUIET,
    Format,
    complete_runs,
    examples,
    find_run_and_model,
)
from crucibench.cli._output import NotePrinter, Table, emit, warn
from crucibench.report.format import show_number
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    from crucibench.comparing.results import Comparison, MetricDifference
    from crucibench.store.run import Run


COLUMNS = (
    "number", "baseline", "candidate", "difference", "p (adjusted)", "lost / gained",
    "detectable", "change",
)  # fmt: skip

FLAT = (
    "comparison", "data", "address", "direction", "baseline", "candidate", "delta", "lower",
    "upper", "level", "standard_error", "p", "p_adjusted", "method", "n", "lost", "gained",
    "detectable", "primary", "biased", "change", "baseline_verdict", "candidate_verdict", "reason",
)  # fmt: skip

_SIGNIFICANT = 0.05


def change(one: MetricDifference) -> str:
    """Returns what a difference says, in a word or three."""
    if one.delta is None:
        return "undefined"
    if one.identical:
        return "same"
    if one.p_adjusted is None:
        return "not tested"
    if one.p_adjusted >= _SIGNIFICANT:
        return "no difference shown"
    word = "differs" if one.gain is None else "better" if one.gain > 0 else "worse"
    return "no claim: biased" if one.biased else word


def table(title: str, comparison: Comparison, *, every: bool, model: bool) -> Table:
    """Returns the table for people.

    Args:
        title: stands above it.
        comparison: what to show.
        every: whether to show more than the headline numbers.
        model: whether to name the model, which the title does not.
    """
    several = len({one.data for one in comparison.differences}) > 1
    shown = comparison.differences if every else _headline(comparison)
    return Table(
        columns=COLUMNS, rows=[_row(one, several, model) for one in shown], title=title,
        folds={"number": 24, "change": 13},
        spare=("detectable", "lost / gained", "p (adjusted)", "baseline"),
    )  # fmt: skip


def _headline(comparison: Comparison) -> list[MetricDifference]:
    """Returns the differences of headline numbers; where there are none, those of all samples."""
    whole = [one for one in comparison.differences if not one.address.group]
    return [one for one in whole if one.primary] or whole


def _row(one: MetricDifference, several: bool, model: bool) -> list[str | None]:
    name = str(one.address) if model else one.address.place
    ends = one.interval[:2] if one.interval else (None, None)
    p_value = None
    if one.p is not None:
        adjusted = "" if one.p_adjusted is None else f" ({_shown_p(one.p_adjusted)})"
        p_value = f"{_shown_p(one.p)}{adjusted}"
    values = [
        "undefined" if value is None else str(show_number(value))
        for value in (one.baseline, one.candidate)
    ]
    return [
        f"{name} on {one.data}" if several else name, *values,
        None if one.delta is None else str(show_number(one.delta, *ends)), p_value,
        f"{len(one.changes.lost)} / {len(one.changes.gained)}" if one.changes else None,
        None if one.detectable is None else f"{one.detectable:.2g}", change(one),
    ]  # fmt: skip


def _shown_p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def document(name: str, comparison: Comparison) -> dict[str, Any]:
    """Returns a comparison as plain data."""
    return {
        "comparison": name,
        "differences": [
            {
                **{key: value for key, value in flat(name, one).items() if key != "comparison"},
                "flips": None if one.changes is None else {
                    "lost": list(one.changes.lost), "gained": list(one.changes.gained),
                },
            }
            for one in comparison.differences
        ],
        "refused": [
            {"cell": r.cell, "data": r.data, "field": r.field, "reason": r.reason}
            for r in comparison.refused
        ],
        "notes": list(comparison.notes),
    }  # fmt: skip


def flat(name: str, one: MetricDifference) -> dict[str, Any]:
    """Returns one difference as a row of plain data."""
    lower, upper, level = one.interval[:3] if one.interval else (None, None, None)
    lost, gained = (len(one.changes.lost), len(one.changes.gained)) if one.changes else (None, None)
    values = (
        name, one.data, str(one.address), one.direction, one.baseline, one.candidate, one.delta,
        lower, upper, level, one.standard_error, one.p, one.p_adjusted, one.method, one.n, lost,
        gained, one.detectable, one.primary, one.biased, change(one), *one.verdicts, one.reason,
    )  # fmt: skip
    return dict(zip(FLAT, values, strict=True))


_EPILOG = "\n\n".join(
    (
        examples(
            "crucibench compare baseline.cbz latest",
            "crucibench compare 3f2a 9c41 --metric '*/top-1'",
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
@click.argument(
    "references",
    shell_complete=complete_runs,
    metavar="BASELINE [CANDIDATE]...",
    nargs=-1,
    required=True,
)
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
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Compare every number, of classes and groups too, not the headlines alone.",
)
@click.option("--intersect", is_flag=True, help="Compare the samples that both have.")
@OUT
@FORMAT
@QUIET
def command(
    *,
    references: tuple[str, ...],
    models: str | None,
    metrics: tuple[str, ...],
    everything: bool,
    intersect: bool,
    out: Path,
    form: Format,
    quiet: bool,
) -> int:
    """Compare models sample by sample, with intervals and tests.

    The first RUN is the baseline. A RUN is a path, the start of an id, latest or a pack, with
    :MODEL where one of its models is meant. Differences are candidate minus baseline; p-values are
    corrected for their number (Holm).
    """
    from crucibench.comparing.runs import compare_runs, headline_places

    whole = everything or bool(metrics) or form not in {"table", "md"}
    done: dict[str, Comparison] = {}
    for name, baseline, candidate, pairs in _asked(references, models, out):
        # Headline numbers are corrected for one another alone: the others, which may be hundreds,
        # need not be made to show them.
        places = {place for run in (baseline, candidate) for place in headline_places(run)}
        done[name] = compare_runs(
            baseline, candidate, intersect=intersect, models=pairs,
            metrics=metrics if whole else [escape(place) for place in sorted(places)],
        )  # fmt: skip
        if places and not whole and not done[name].differences:
            done[name] = compare_runs(baseline, candidate, intersect=intersect, models=pairs)
    note = NotePrinter(quiet)
    for name, comparison in done.items():
        prefix = f"{name}: " if len(done) > 1 else ""
        for refusal in comparison.refused:
            (warn if refusal.field else note)(f"{prefix}{refusal.cell}: {refusal.reason}")
        for text in comparison.notes:
            warn(f"{prefix}{text}")
    every = [flat(name, one) for name, c in done.items() for one in c.differences]
    rows = [[row[column] for column in FLAT] for row in every]
    tables = [
        table(name, comparison, every=whole, model=models is None)
        for name, comparison in done.items()
    ]
    if form == "csv":
        tables = [Table(columns=FLAT, rows=rows)]
    emit(form, [document(*entry) for entry in done.items()], tables)
    if every and not whole:
        note("the headline numbers; --all compares all, also of single classes and groups")
    if any(comparison.incomparable for comparison in done.values()):
        return BAD
    if not every:
        warn("nothing was compared" + (": no number fits --metric" if metrics else ""))
        return BAD
    return 0


Asked = tuple[str, "Run", "Run", "dict[str, str] | None"]


def _asked(references: tuple[str, ...], models: str | None, out: Path) -> list[Asked]:
    """Returns a name, both runs and the models that belong together, for each comparison.

    Raises:
        InputError: if the arguments don't say what is to be compared.
    """
    if models is not None:
        names = [name.strip() for name in models.split(",") if name.strip()]
        if len(references) != 1 or len(names) < 2:
            raise InputError("--models: expected one RUN and two models or more, A,B[,...]")
        run, _ = find_run_and_model(references[0], out)
        return [(f"{name} against {names[0]}", run, run, {name: names[0]}) for name in names[1:]]
    if len(references) < 2:
        raise InputError("compare: expected two runs or more, or one run with --models A,B")
    baseline, old = find_run_and_model(references[0], out)
    asked: list[Asked] = []
    for reference in references[1:]:
        candidate, new = find_run_and_model(reference, out)
        pairs = _pairs(baseline, old, candidate, new)
        asked.append((f"{reference} against {references[0]}", baseline, candidate, pairs))
    return asked


def _pairs(baseline: Run, old: str, candidate: Run, new: str) -> dict[str, str] | None:

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
