"""Templates of pages: how they are found and rendered; all that a run says is escaped."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from crucibench.report.format import show_count
from crucibench.util import doors
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    from jinja2 import Environment, FileSystemBytecodeCache


def environment(package: str) -> Environment:
    """Returns what renders the templates of a package, in its folder ``templates``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
        auto_reload=False,
        bytecode_cache=_compiled(package),
    )
    made.filters["short"] = lambda text, limit=60: shorten(visible(str(text)), limit)
    made.filters["count"] = show_count
    return made


def _compiled(package: str) -> FileSystemBytecodeCache | None:
    """Returns where compiled templates are kept: beside them, as Python keeps modules."""
    from jinja2 import FileSystemBytecodeCache

    folder = Path(str(resources.files(package))) / "templates" / "__pycache__"
    if sys.dont_write_bytecode or not os.access(folder.parent, os.W_OK):
        return None
    doors.make_folder(folder)
    return FileSystemBytecodeCache(str(folder), "%s.pyc")


@cache
def part(name: str, package: str = "crucibench.report") -> Markup:
    """Returns a part of a page that is written by hand: a style sheet or a script."""
    path = resources.files(package) / "templates" / name
    return Markup(path.read_text(encoding="utf-8"))


def source_digest(script: str) -> str:
    """Returns how a content security policy names a script: no other may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _finalize(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value, keep="\n\t")
    return value
