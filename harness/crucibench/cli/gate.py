"""``crucibench gate``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crucibench.cli._options import (
    FORMAT,
    OUT,
    QUIET,
    Format,
    complete_runs,
    examples,
    find_any_run,
    require,
)
from crucibench.cli._output import NotePrinter, Table, emit, notes_listener, warn, write
from crucibench.util.errors import InputError, UnreadableError

if TYPE_CHECKING:
    from crucibench.gating.policy import Policy, SpeedRule
    from crucibench.gating.result import GateVerdict
    from crucibench.store.run import Run

_EPILOG = "\n\n".join(
    (
        examples(
            "crucibench gate --init --baseline baseline.cbz > policy.yaml",
            "crucibench gate --baseline baseline.cbz --candidate latest --policy policy.yaml",
            "crucibench gate --baseline results/3f2a --candidate latest --rerun",
            "crucibench gate --baseline five-seeds.cbz --candidate latest --plan",
        ),
        "\b\nExit codes:\n"
        "    0  pass\n"
        "    1  regression: a required rule is broken, and it is no accident\n"
        "    3  inconclusive: too few samples to tell; the table says how many it takes\n"
        "    4  invalid: a number is missing, not trusted or not comparable",
    )
)


@click.command(epilog=_EPILOG)
@click.option(
    "--baseline",
    metavar="RUN",
    shell_complete=complete_runs,
    required=True,
    help="What must not be lost.",
)
@click.option(
    "--candidate",
    metavar="RUN",
    shell_complete=complete_runs,
    show_default="latest",
    help="What is judged.",
)
@click.option("--policy", "policy_file", metavar="FILE", default="policy.yaml", show_default=True,
              type=click.Path(path_type=Path), help="The rules.")  # fmt: skip
@click.option("--anchor", metavar="RUN", shell_complete=complete_runs,
              help="A second, older baseline, against slow erosion.")  # fmt: skip
@click.option("--init", is_flag=True,
              help="Print a policy to start from, for the numbers of the baseline; a candidate "
              "shows how far two models differ.")  # fmt: skip
@click.option("--plan", is_flag=True,
              help="Print how many trainings and samples each margin needs, as these "
              "runs show, and judge nothing.")  # fmt: skip
@click.option("--rerun", is_flag=True,
              help="Also time the models of both runs in turns, on this machine: advisory. Needs "
              "run folders, and the files that they name as they were.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=6), show_default="20",
              help="With --rerun: how often each model is timed.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), show_default="64, or all if fewer",
              help="With --rerun: samples a call.")  # fmt: skip
@click.option("--report", metavar="FOLDER", type=click.Path(path_type=Path),
              help="Where verdict.json, junit.xml, summary.md, comment.md, badge.json and "
              "deltas.svg are written; by default gate in the candidate's folder.")  # fmt: skip
@OUT
@FORMAT
@QUIET
def command(
    *,
    baseline: str,
    candidate: str | None,
    policy_file: Path,
    anchor: str | None,
    init: bool,
    plan: bool,
    rerun: bool,
    rounds: int | None,
    batch: int | None,
    report: Path | None,
    out: Path,
    form: Format,
    quiet: bool,
) -> int:
    """Stop a change that makes a model worse, and nothing else.

    Holds a candidate against a baseline by the rules of a policy. A RUN is a folder, a pack, the
    start of an id, or latest.
    """
    require("--rerun", rerun, {"--rounds": rounds, "--batch": batch})
    if (init or plan) and rerun:
        raise click.UsageError("--init and --plan judge nothing: --rerun does not go with them")
    if init:
        return _init(
            find_any_run(baseline, out), None if candidate is None else find_any_run(candidate, out)
        )
    from crucibench.gating.outputs import tell_github, write_outputs
    from crucibench.gating.policy import read_policy
    from crucibench.gating.text import headline, notes

    policy, candidate = read_policy(policy_file), candidate or "latest"
    if anchor is None and policy.anchor is not None:
        # A policy lies in a repository: what it names is found from there, wherever the gate runs.
        anchor = str(policy_file.parent / policy.anchor)
    add_latency = (
        partial(_with_latency, rule=policy.speed, rounds=rounds, batch=batch, quiet=quiet)
        if rerun else None
    )  # fmt: skip
    names = (baseline, candidate, anchor)
    verdict, beside = _judged(names, policy, policy_file, out, add_latency)
    if plan:
        return _plan(verdict, form)
    folder = report or beside
    write_outputs(verdict, folder)
    for line in tell_github(verdict):
        click.echo(line, err=True)
    _print(verdict, form)
    note = NotePrinter(quiet)
    for sentence in notes(verdict):
        warn(sentence)
    note(f"{headline(verdict)}; written to {folder}")
    return verdict.exit_code


def _judged(
    names: tuple[str, str, str | None],
    policy: Policy,
    file: Path,
    out: Path,
    add_latency: Callable[[GateVerdict, Run, Run], GateVerdict] | None,
) -> tuple[GateVerdict, Path]:
    """Returns the verdict, and where it is written by default."""
    from crucibench.gating.evaluate import failed
    from crucibench.gating.result import Sides
    from crucibench.gating.runs import gate_runs

    baseline, candidate, anchor = names
    beside = Path("gate")
    try:
        after = find_any_run(candidate, out)
        # A pack is one file: there is nothing beside it to write into but the folder at hand.
        beside = beside if after.packed else after.root / "gate"
        before = find_any_run(baseline, out)
        older = None if anchor is None else find_any_run(anchor, out)
        history = [find_any_run(str(file.parent / name), out) for name in policy.history]
    except UnreadableError as error:
        sides = Sides(baseline=baseline, candidate=candidate, anchor=anchor, policy=str(file))
        return failed(sides, str(error)), beside
    verdict = gate_runs(
        before,
        after,
        policy,
        anchor=older,
        history=history,
        policy_name=str(file),
        timed=add_latency is not None,
    )
    if add_latency is not None:
        verdict = add_latency(verdict, before, after)
    return verdict, beside


def _with_latency(
    verdict: GateVerdict, before: Run, after: Run, *, rule: SpeedRule, rounds: int | None,
    batch: int | None, quiet: bool,
) -> GateVerdict:  # fmt: skip
    # Here alone: models need torch, and judging records does not.
    import contextlib
    import sys

    from crucibench.gating.latency import ROUNDS
    from crucibench.gating.rerun import RerunOptions, with_latency
    from crucibench.util.folders import cache_folder

    options = RerunOptions(scratch=cache_folder(), rounds=rounds or ROUNDS, batch=batch, rule=rule)
    with contextlib.redirect_stdout(sys.stderr):
        return with_latency(verdict, before, after, options, notes_listener(NotePrinter(quiet)))


def _print(verdict: GateVerdict, form: Format) -> None:
    from crucibench.gating.outputs import summary, verdict_json
    from crucibench.gating.result import Check
    from crucibench.gating.text import COLUMNS, findings, rows

    if form == "json":
        write(verdict_json(verdict))
    elif form == "md":
        write(summary(verdict))
    elif form == "csv":
        names = list(Check.model_fields)
        emit(form, None, [Table(columns=names, rows=[[getattr(check, name) for name in names]
                                                     for check in verdict.checks])])  # fmt: skip
    else:
        checks = Table(
            columns=COLUMNS, rows=rows(verdict), folds={"number": 24},
            spare=("n", "tier", "baseline"),
        )  # fmt: skip
        tables = [checks] if verdict.checks else []
        found = findings(verdict)
        if found:
            tables.append(Table(columns=("", "number", "finding"), rows=found, headless=True))
        emit(form, None, tables)


def _plan(verdict: GateVerdict, form: Format) -> int:
    from crucibench.gating.planning import PLANNED, plan_document, plan_rows

    if verdict.errors:
        raise InputError(verdict.errors[0])
    rows = plan_rows(verdict)
    if not rows:
        raise InputError(
            "nothing to plan: no margin of the policy is held by recipes of two trainings or more "
            "on both sides, or by a model whose recipe stands in history"
        )
    emit(form, plan_document(verdict), [Table(columns=PLANNED, rows=rows)])
    return 0


def _init(baseline: Run, candidate: Run | None) -> int:
    from crucibench.gating.first import first_policy
    from crucibench.gating.runs import headline_differences
    from crucibench.gating.sides import side_of

    differences = None if candidate is None else headline_differences(baseline, candidate)
    write(first_policy(side_of(baseline), differences))
    return 0
