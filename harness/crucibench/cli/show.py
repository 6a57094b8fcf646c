"""``crucibench show``."""

from __future__ import annotations

from pathlib import Path

import click

from crucibench.cli._options import (
    FORMAT,
    OUT,
    POLICY,
    QUIET,
    RUN,
    Format,
    examples,
    find_any_run,
    require,
)
from crucibench.cli._output import (
    emit,
    fact_table,
)

_EPILOG = examples(
    "crucibench show latest",
    "crucibench show latest --cell accuracy-clean",
    "crucibench show latest --metrics --where metric=top-1 --format csv",
    'crucibench show --data "csv:people.csv?target=income"',
)


@click.command(epilog=_EPILOG)
@RUN
@click.option(
    "--cell",
    metavar="ID",
    help="One cell, by its id or a part that it alone has: "
    "status, costs, findings, digests, comparison fields.",
)
@click.option("--log", is_flag=True, help="With --cell: what its model and libraries printed.")
@click.option("--model", metavar="NAME", help="What inspection found about a model.")
@click.option(
    "--data",
    metavar="NAME|URI",
    help="The card of a data set of the run; or open a URI and show its card.",
)
@click.option("--metrics", is_flag=True, help="Every number, long form.")
@click.option(
    "--where",
    "filters",
    multiple=True,
    metavar="COLUMN=PATTERN",
    help="With --metrics: only rows whose column fits; * fits anything.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Facts, models, data and cells of the run, and all headline numbers.",
)
@click.option("--costs", is_flag=True, help="What each cell cost: time, passes, memory.")
@click.option("--spec", is_flag=True, help="The resolved spec: running it reproduces the run.")
@click.option("--env", is_flag=True, help="Versions, hardware and flags it was made on.")
@POLICY
@OUT
@FORMAT
@QUIET
def command(
    *,
    reference: str,
    everything: bool,
    cell: str | None,
    log: bool,
    model: str | None,
    data: str | None,
    metrics: bool,
    filters: tuple[str, ...],
    costs: bool,
    spec: bool,
    env: bool,
    policy_file: Path | None,
    out: Path,
    form: Format,
    quiet: bool,
) -> int:
    """Show a run, one of its cells, or a data set.

    RUN is a path, the start of an id, or latest (the default). Without an option: which model to
    ship, a number an axis of each, and what the audits found.
    """
    asked = {"--all": everything, "--cell": cell, "--model": model, "--data": data,
             "--metrics": metrics, "--costs": costs, "--spec": spec, "--env": env}  # fmt: skip
    given = [name for name, value in asked.items() if value]
    if len(given) > 1:
        raise click.UsageError(f"expected one of {' and '.join(given)}, not both")
    if policy_file is not None and (given or form != "table"):
        raise click.UsageError("--policy is for the decision, which the plain scorecard shows")
    require("--metrics", metrics, {"--where": filters})
    require("--cell", cell, {"--log": log})

    from crucibench.cli import _show as views
    from crucibench.report.facts import card_facts, flat

    if data is not None and ":" in data:
        card = views.opened(data, quiet)
        emit(form, card.as_dict(), [fact_table(card_facts(card), card.name)])
        return 0

    run = find_any_run(reference, out)
    if (spec and form == "table") or costs or log:
        return views.print_whole(run, form, quiet=quiet, spec=spec, costs=costs, cell=cell)
    if metrics:
        document, tables = views.metrics_view(run, filters, long=form in {"json", "csv"})
    elif cell is not None:
        document, tables = views.cell_view(run, cell)
    elif model is not None:
        document, tables = views.model_view(run, model)
    elif data is not None:
        document, tables = views.data_view(run, data)
    elif env or spec:
        document = dict(run.environment if env else run.spec)
        tables = [fact_table(flat(document))]
    elif form == "table" and not everything:
        views.print_summary(run, policy_file, quiet)
        return 0
    else:
        document, tables = views.run_view(run, cells_first=form == "csv")
    emit(form, document, tables)
    if everything and form == "table":
        views.print_numbers(run)
    return 0
