"""``crucibench cache``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crucibench.cli._errors import SYSTEM
from crucibench.cli._options import FORMAT, QUIET, SIZE, Format, ParsedOptions, Verbs, examples
from crucibench.cli._output import NotePrinter, Table, emit, warn
from crucibench.report.format import show_minute
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    from crucibench.store.cell_cache import Entry

_COLUMNS = ("kind", "model", "data", "scenario", "outputs", "size", "last_used", "key")
_SHOWN_OF_KEY = 12


def _age(text: str) -> float:
    import math

    from crucibench.util.numbers import parse_duration

    age = parse_duration(text)
    if not isinstance(age, float) or not math.isfinite(age) or age < 0:
        raise ValueError(f"expected an age such as 12h or 30d, got {text!r}")
    return age


@click.group(
    cls=Verbs,
    no_args_is_help=False,
    epilog=examples(
        "crucibench cache ls", "crucibench cache prune --older-than 30d", "crucibench cache clear"
    ),
)
def command() -> None:
    """List, prune or clear what is kept between runs.

    Records of cells, so that no model is asked the same twice, and indexes of data. Runs in their
    own folders need none of it. CRUCIBENCH_CACHE names another folder, CRUCIBENCH_CACHE_LIMIT
    another limit for cells than 10GiB.
    """


@command.command("ls", epilog=examples("crucibench cache ls", "crucibench cache ls --format json"))
@FORMAT
@QUIET
def list_entries(*, form: Format, quiet: bool) -> int:
    """List what is kept, the most recently used first, and how much it is."""
    from crucibench.store.cell_cache import cache_limit, kept_entries
    from crucibench.util.numbers import size_text

    folder, limit = _folder(), cache_limit()
    entries = kept_entries(folder)
    note = NotePrinter(quiet)
    document = {
        "folder": str(folder), "limit": limit, "size": _size(entries),
        "entries": [_row(entry) for entry in entries],
    }  # fmt: skip
    if entries or form != "table":
        emit(form, document, [_table(entries, form)])
    where = f"in {str(folder)!r}; cells are kept up to {size_text(limit)}"
    note(f"{_count(entries)} {where}" if entries else f"nothing is kept {where}")
    return 0


@command.command(
    "prune",
    epilog=examples(
        "crucibench cache prune --older-than 30d",
        "crucibench cache prune --max-size 2GiB --dry-run",
    ),
)
@click.option("--max-size", type=SIZE,
              help="Keep at most so much of all kinds, e.g. 500MB or 2GiB: what was not used for "
              "the longest time goes.")  # fmt: skip
@click.option("--older-than", type=ParsedOptions("AGE", _age),
              help="Remove what was not used for so long, e.g. 12h or 30d.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@FORMAT
@QUIET
def prune(
    *, max_size: int | None, older_than: float | None, dry_run: bool, form: Format, quiet: bool
) -> int:
    """Remove what was not used for the longest time.

    Without --max-size and --older-than: cells beyond the limit that runs hold to. What a killed
    process left half made goes too, once it is a day old.
    """
    from crucibench.store.cell_cache import cache_limit, kept_entries, overdue, remove, sweep_all

    folder = _folder()
    entries = kept_entries(folder)
    if max_size is None and older_than is None:
        entries, max_size = [entry for entry in entries if entry.kind == "cell"], cache_limit()
    asked = overdue(entries, limit=max_size, older_than=older_than)
    gone = asked if dry_run else remove(asked)
    leftovers = 0 if dry_run else sweep_all(folder)
    document = {
        "folder": str(folder), "dry_run": dry_run, "size": _size(gone), "leftovers": leftovers,
        "entries": [_row(entry) for entry in gone],
    }  # fmt: skip
    if gone or form != "table":
        emit(form, document, [_table(gone, form)])
    NotePrinter(quiet)(_summary(gone, leftovers, "would remove" if dry_run else "removed"))
    return 0 if dry_run else _left(asked)


@command.command("clear", epilog=examples("crucibench cache clear", "crucibench cache clear --yes"))
@click.option("--yes", is_flag=True, help="Don't ask.")
@QUIET
def clear(*, yes: bool, quiet: bool) -> int:
    """Remove all that is kept between runs; asks before. Runs and their results stay."""
    from crucibench.store.cell_cache import kept_entries, remove, sweep_all

    note = NotePrinter(quiet)
    if not yes and not _can_ask():
        raise InputError("clear: nobody can be asked here; expected --yes")
    folder = _folder()
    entries = kept_entries(folder)
    question = f"Remove {_count(entries)}, from {str(folder)!r}?"
    if entries and not yes and not click.confirm(question, err=True):
        note("nothing was removed")
        return 0
    gone = remove(entries)
    note(_summary(gone, sweep_all(folder), "removed"))
    return _left(entries)


def _can_ask() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _folder() -> Path:
    """Returns the cache folder, which may not be there."""
    from crucibench.util.folders import cache_folder

    return cache_folder()


def _left(asked: Sequence[Entry]) -> int:
    """Complains of what is still there, and returns the exit code."""
    left = [entry for entry in asked if entry.path.exists()]
    if left:
        warn(f"{_count(left)} can't be removed: in use, or another user's: {str(left[0].path)!r}")
    return SYSTEM if left else 0


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind, "model": entry.model or None, "data": entry.data or None,
        "scenario": entry.scenario or None, "outputs": list(entry.outputs), "size": entry.size,
        "last_used": show_minute(entry.last_used), "key": entry.key,
    }  # fmt: skip


def _table(entries: Sequence[Entry], form: Format) -> Table:
    from crucibench.util.numbers import size_text

    rows = []
    for entry in entries:
        row = _row(entry)
        if form != "csv":
            row |= {"size": size_text(entry.size), "key": entry.key[:_SHOWN_OF_KEY]}
        rows.append([row[name] for name in _COLUMNS])
    shown = [name if form == "csv" else name.replace("_", " ") for name in _COLUMNS]
    return Table(columns=shown, rows=rows)


def _summary(gone: Sequence[Entry], leftovers: int, did: str) -> str:
    parts = [_count(gone)] if gone else []
    if leftovers:
        parts.append(f"what {leftovers} killed {'process' if leftovers == 1 else 'processes'} left")
    return f"{did} {' and '.join(parts)}" if parts else "there is nothing to remove"


def _count(entries: Sequence[Entry]) -> str:
    from crucibench.util.numbers import size_text

    noun = "entry" if len(entries) == 1 else "entries"
    return f"{len(entries)} {noun}, {size_text(_size(entries))}"


def _size(entries: Sequence[Entry]) -> int:
    return sum(entry.size for entry in entries)
