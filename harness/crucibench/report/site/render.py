"""Templates of the site, and of a leaderboard as one page."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from crucibench.report.format import show_count
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = "crucibench.report.site"


def render(template: str, **facts: Any) -> str:
    """Renders a template; all that stands in `facts` is escaped."""
    return _environment().get_template(template).render(**facts)


@cache
def style() -> str:
    """Returns the site's style sheet: the report's, and what the site has besides."""
    return _part("crucibench.report", "report.css") + _part(_PACKAGE, "site.css")


@cache
def script() -> str:
    """Returns the site's script, which sorts and filters tables: the report's."""
    return _part("crucibench.report", "report.js")


def _part(package: str, name: str) -> str:
    return (resources.files(package) / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(_PACKAGE, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
        auto_reload=False,
    )
    environment.filters["short"] = lambda text, limit=60: shorten(visible(str(text)), limit)
    environment.filters["count"] = show_count
    return environment


def _finalize(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value, keep="\n\t")
    return value
