"""A leaderboard as one HTML page that loads nothing."""

from __future__ import annotations

from crucibench.report.leaderboard import Leaderboard
from crucibench.report.leaderboard.shown import shown_board
from crucibench.report.site.render import render, script, style
from crucibench.report.templating import source_digest


def html(board: Leaderboard) -> str:
    """Renders a leaderboard as a page of its own."""
    code = script()
    return render(
        "leaderboard.html.j2",
        boards=[shown_board(one) for one in board.boards],
        runs=board.runs,
        css=style(),
        code=code,
        digest=source_digest(code),
    )
