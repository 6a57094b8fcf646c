"""Templates of the site, and of a leaderboard as one page."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from crucibench.report.leaderboard import Leaderboard
from crucibench.report.leaderboard.shown import shown_board
from crucibench.report.templating import environment, part, source_digest

if TYPE_CHECKING:
    from jinja2 import Environment

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
