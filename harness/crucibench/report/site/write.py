"""Writes the pages of a site: index, data sets, models with their history, runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.rows import COLUMNS, MetricRow
from crucibench.contracts.verdict import Severity, Status
from crucibench.report import leaderboard_text
from crucibench.report.facts import card_facts, flat
from crucibench.report.findings import address_of, verdict_counts, verdict_summary
from crucibench.report.format import DASH, csv_text, direction_words, iso, listed, show_minute
from crucibench.report.gaps import WITHHELD, not_measured
from crucibench.report.leaderboard import Column, Leaderboard, leaderboard
from crucibench.report.leaderboard.build import gather
from crucibench.report.leaderboard.lines import FIELDS, words
from crucibench.report.leaderboard.shown import ShownBoard, reported_table, shown_board
from crucibench.report.numbers import number_of, shown
from crucibench.report.page import environment, part, source_digest
from crucibench.report.plots import Dot, scatter_svg
from crucibench.report.site.links import (
    data_page,
    model_page,
    number_anchor,
    number_link,
    run_page,
    sealed,
)
from crucibench.spec.notes import Notes
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.util.atomic import write_text
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest

if TYPE_CHECKING:
    from jinja2 import Environment


def write_site(
    runs: Sequence[Run], folder: Path, *, notes: Notes | None = None, ranked: bool = True
) -> list[Path]:
    """Writes a static site of finished runs.

    Equal runs make equal files. What stands in the folder besides stays.

    Args:
        runs: the runs; one that is given twice counts once.
        folder: is made where it is not there.
        notes: rows that no longer count.
        ranked: whether ranks are computed, which reads records.

    Returns:
        The files, the index first.

    Raises:
        InputError: if no run is given, or `folder` is a file.
    """
    runs = list({run_page(run): run for run in runs}.values())
    if not runs:
        raise InputError("--site: expected at least one run")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--site {str(folder)!r}: expected a folder, that is a file")
    columns, numbers = gathered = gather(runs)
    board = leaderboard(runs, ranked=ranked, notes=notes, gathered=gathered)
    headlines = {run_page(run): own for run, own in zip(runs, numbers, strict=True)}
    views = _views(board, runs)
    pages = {
        "index.html": _index(board, runs, views),
        "leaderboard.json": leaderboard_text.json_text(board),
        "leaderboard.csv": leaderboard_text.csv(board),
        "site.css": style(),
        "site.js": script(),
    }
    total = len(runs)
    pages |= _data_pages(runs, views, total)
    pages |= model_pages(runs, headlines, columns, total)
    for run in runs:
        pages |= run_pages(run, columns, total)
    for name, text in pages.items():
        # What is lost with the machine's power is made again: syncing costs more than all else.
        write_text(folder / name, text, durable=False)
    return [folder / name for name in pages]


def _views(board: Leaderboard, runs: Sequence[Run]) -> dict[str, ShownBoard]:
    by_id = {run.id: run for run in runs}
    cards = {name: card for run in runs for name, card in run.cards.items()}

    def link(number: MetricRow) -> str:
        return number_link(number, by_id[number.run])

    return {
        one.data: shown_board(
            one,
            href=data_page(cards[one.data]) if one.data in cards else "",
            number_link=link,
            model_link=model_page,
        )
        for one in board.boards
    }


def _index(board: Leaderboard, runs: Sequence[Run], views: Mapping[str, ShownBoard]) -> str:
    models = dict.fromkeys(line.model for one in board.boards for line in one.lines)
    return render(
        "index.html.j2",
        root="",
        runs_total=len(runs),
        boards=[views[one.data] for one in board.boards],
        models=[(name, model_page(name)) for name in models],
        runs=sorted(map(run_facts, runs), key=lambda facts: facts["started"], reverse=True),
    )


def _data_pages(runs: Sequence[Run], views: Mapping[str, ShownBoard], total: int) -> dict[str, str]:
    """Returns the page of every data set by its path; one under two names has both boards."""
    cards = {data_page(card): card for run in runs for card in run.cards.values()}
    names: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, card in run.cards.items():
            names.setdefault(data_page(card), {})[name] = None
    pages = {}
    for path, card in cards.items():
        # A fingerprint opens the seals of packs: what stands for it does not.
        facts = card_facts(card) | {"fingerprint": sealed(card)}
        pages[path] = render(
            "data.html.j2",
            root="../",
            runs_total=total,
            data=card.name,
            card=facts,
            boards=[views[name] for name in names[path] if name in views],
        )
    return pages


_PACKAGE = "crucibench.report.site"


def render(template: str, **facts: Any) -> str:
    """Renders a template; all that stands in `facts` is escaped."""
    return _environment().get_template(template).render(**facts)


def leaderboard_page(board: Leaderboard) -> str:
    """Renders a leaderboard as one page that loads nothing."""
    code = script()
    return render(
        "leaderboard.html.j2",
        boards=[shown_board(one) for one in board.boards],
        runs=board.runs,
        reported=reported_table(board.reported),
        css=style(),
        code=code,
        digest=source_digest(code),
    )


def style() -> Markup:
    """Returns the site's style sheet: the report's, and what the site has besides."""
    return part("report.css") + part("site.css", _PACKAGE)


def script() -> Markup:
    """Returns the site's script, which sorts and filters tables: the report's."""
    return part("report.js")


@cache
def _environment() -> Environment:
    return environment(_PACKAGE)


def run_facts(run: Run) -> dict[str, str]:
    """Returns what a list of runs says of one."""
    counts = verdict_counts(list(run.cells.values()))
    return {
        "id": run.id,
        "href": run_page(run),
        "started": iso(run.dates.started),
        "models": listed(dict.fromkeys(model for model, _ in run.models)),
        "data": listed(run.cards),
        "cells": ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count),
    }


def run_pages(run: Run, columns: Sequence[Column], total: int) -> dict[str, str]:
    """Returns the page of a run and the CSV of its metric rows, by path.

    Args:
        run: the run.
        columns: what the suites name as their headline.
        total: how many runs the site has.
    """
    table = run.metric_table().select(COLUMNS).to_pylist()
    numbers = [number_of(row, run.id) for row in table]
    return {
        run_page(run): _html(run, numbers, columns, total),
        f"runs/{_csv_name(run)}": csv_text(COLUMNS, [list(row.values()) for row in table]),
    }


def _csv_name(run: Run) -> str:
    return run_page(run).removeprefix("runs/").replace(".html", ".csv")


def _html(run: Run, numbers: Sequence[MetricRow], columns: Sequence[Column], total: int) -> str:
    by_place = {column.place: column for column in columns}
    facts = run_facts(run)
    rows = [
        {
            "anchor": number_anchor(number),
            "model": number.model,
            "model_href": model_page(number.model),
            "data": number.data,
            "data_href": data_page(run.cards[number.data]) if number.data in run.cards else "",
            "title": by_place[number.place].heading,
            "place": number.place,
            "cell": shown(by_place[number.place].metric, number),
        }
        for number in numbers
        if number.place in by_place
    ]
    return render(
        "run.html.j2",
        root="../",
        runs_total=total,
        id=run.id,
        summary=verdict_summary(run),
        facts={
            "started": facts["started"] or "not known",
            "finished": iso(run.dates.finished) or "not known",
            "models": facts["models"],
            "data": facts["data"],
        },
        numbers=rows,
        rows=len(numbers),
        csv=_csv_name(run),
        cells=[_cell(cell) for cell in run.cells.values()],
        not_measured=not_measured(run, numbers),
        provenance=_provenance(run),
    )


def _cell(cell: CellFile) -> dict[str, Any]:
    notes = [f"{f.code}: {f.message}" for f in cell.findings if f.severity is not Severity.INFO]
    if cell.status is Status.FAILED:
        notes = [WITHHELD]
    elif cell.reason:
        notes = [cell.reason]
    outcome = str(cell.status if cell.status is not Status.OK else cell.verdict)
    return {
        "model": cell.model, "data": cell.data, "scenario": address_of(cell), "outcome": outcome,
        "n": cell.n, "notes": "; ".join(notes),
    }  # fmt: skip


def _provenance(run: Run) -> dict[str, str]:
    facts = {
        "digest of the run": run.digest,
        "crucibench": run.manifest["crucibench_version"],
    }
    facts |= {f"data {name}": sealed(card) for name, card in run.cards.items()}
    for (model, data), info in run.models.items():
        prints = "no fingerprint" if info.fingerprint is None else flat(dict(info.fingerprint))
        text = prints if isinstance(prints, str) else listed(f"{k} {v}" for k, v in prints.items())
        facts[f"model {model} on {data}"] = text
    return facts | {name: text for name, text in flat(run.environment).items() if text}


_SIZE = (560.0, 150.0)
_MOST = 1000
"""Runs in the history of a number."""


class _Measured(NamedTuple):
    """A model on a data set in one run."""

    run: Run
    data: str
    info: ModelInfo
    numbers: Mapping[str, MetricRow]


def model_pages(
    runs: Sequence[Run],
    headlines: Mapping[str, Sequence[MetricRow]],
    columns: Sequence[Column],
    total: int,
) -> dict[str, str]:
    """Returns the page of every model by its path.

    Args:
        runs: the runs.
        headlines: the numbers of the columns, by the page of the run.
        columns: what the suites name as their headline.
        total: how many runs the site has.
    """
    measured: dict[str, list[_Measured]] = {}
    for run in runs:
        numbers: dict[tuple[str, str], dict[str, MetricRow]] = {}
        for number in headlines[run_page(run)]:
            numbers.setdefault((number.model, number.data), {})[number.place] = number
        for (model, data), info in run.models.items():
            if data in run.cards:
                one = _Measured(run, data, info, numbers.get((model, data), {}))
                measured.setdefault(model, []).append(one)
    return {
        model_page(model): _page(model, entries, columns, total)
        for model, entries in measured.items()
    }


def _page(model: str, entries: Sequence[_Measured], columns: Sequence[Column], total: int) -> str:
    newest = max(entries, key=lambda one: one.run.dates.started or 0.0).info
    card = {"address": newest.uri}
    card |= {
        name.replace("_", " "): words(newest.card[name]) for name in FIELDS if newest.card.get(name)
    }
    by_data: dict[str, list[_Measured]] = {}
    for one in entries:
        by_data.setdefault(one.data, []).append(one)
    return render(
        "model.html.j2",
        root="../",
        runs_total=total,
        model=model,
        card=card,
        parts=[_part(data, found, columns) for data, found in by_data.items()],
    )


def _part(data: str, entries: Sequence[_Measured], columns: Sequence[Column]) -> dict[str, Any]:
    here = [column for column in columns if any(column.place in one.numbers for one in entries)]
    entries = sorted(entries, key=lambda one: -(one.run.dates.started or 0.0))
    return {
        "data": data,
        "href": data_page(entries[0].run.cards[data]),
        "columns": here,
        "rows": [_row(one, here) for one in entries],
        "histories": [view for column in here if (view := _history(column, entries))],
    }


def _row(one: _Measured, columns: Sequence[Column]) -> dict[str, Any]:
    prints = one.info.fingerprint
    return {
        "run": one.run.id,
        "href": run_page(one.run),
        "started": iso(one.run.dates.started),
        "fingerprint": DASH if prints is None else data_digest(dict(prints))[:12],
        "cells": [
            shown(column.metric, number, number_link(number, one.run) if number else "")
            for column in columns
            for number in [one.numbers.get(column.place)]
        ],
    }


def _history(column: Column, entries: Sequence[_Measured]) -> dict[str, Any] | None:
    """Returns the history of a column, oldest first; None with fewer than two dated values.

    Numbers of another comparison key than the newest are hollow: they stand there, and can't be
    set against it.
    """
    points = [
        (one.run.dates.started, number)
        for one in entries
        if (number := one.numbers.get(column.place)) is not None
        and number.value is not None
        and one.run.dates.started is not None
    ]
    known = sorted(points, key=lambda point: (point[0], point[1].run))[-_MOST:]
    if len(known) < 2:
        return None
    (begun, _), (_, newest) = known[0], known[-1]
    metric = column.metric
    alt = " to ".join(
        f"{metric.show(one)} on {iso(time)[:10]}" for time, one in (known[0], known[-1])
    )
    # Releases of one day would all stand at 0 days.
    unit, seconds = ("days", 86_400) if known[-1][0] - begun >= 86_400 else ("minutes", 60)
    dots = [
        Dot(
            colour=0, x=(time - begun) / seconds, y=y, filled=one.key == newest.key,
            y_ends=ends if ends is not None and all(map(math.isfinite, ends)) else None,
        )
        for time, one in known
        for y, ends in [metric.scaled(one)]
        if math.isfinite(y)
    ]  # fmt: skip
    other = sum(one.key != newest.key for _, one in known)
    title = f"{column.title} [{metric.shown_unit}]" if metric.shown_unit else column.title
    described = f"{len(known)} values of {column.title}, from {alt}."
    return {
        "title": title,
        "words": direction_words(metric.direction),
        # Made of numbers and escaped texts.
        "picture": Markup(
            scatter_svg(
                dots, x=f"{unit} since {show_minute(begun)}", y="", alt=described, size=_SIZE
            )
            if dots else ""
        ),
        "note": f"{other} of {len(known)} (hollow) are not comparable with the newest."
        if other else "",
    }  # fmt: skip
