"""Writes the pages of a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crucibench.contracts.rows import MetricRow
from crucibench.report import leaderboard_text
from crucibench.report.leaderboard import Leaderboard, leaderboard
from crucibench.report.leaderboard.columns import gather
from crucibench.report.leaderboard.shown import ShownBoard, shown_board
from crucibench.report.provenance import card_facts
from crucibench.report.site.links import data_page, model_page, number_link, run_page, sealed
from crucibench.report.site.model_page import model_pages
from crucibench.report.site.render import render, script, style
from crucibench.report.site.run_page import run_facts, run_pages
from crucibench.util.atomic import write_text
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    from crucibench.spec.notes import Notes
    from crucibench.store.run import Run


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
