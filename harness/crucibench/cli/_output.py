"""Write data to stdout in the format asked for, and everything else to stderr."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from crucibench.cli._options import Format
from crucibench.util import text as texts
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from crucibench.engine.listener import Listener
    from crucibench.store.cells import CellFile


visible = partial(texts.visible, keep="\n\t")
"""Returns a text with what a terminal would obey, hide or reorder written as escapes."""

_NAME = 44
_APART = 3
_PIPED = 120
"""Letters of a line in a pipe or a log of CI, unless COLUMNS says else."""


class Table(NamedTuple):
    """A table to print.

    Attributes:
        columns: the names.
        rows: a value for each column; None is shown empty.
        title: stands above it; "" for none.
        headless: whether the terminal shows it without its column names.
        right: columns of texts that the terminal sets to the right, as it does numbers.
        folds: the columns that a terminal may fold, and to what width, of the first at least; all
            where it is empty.
        spare: columns that a terminal too narrow for all of them leaves out, in this order.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    headless: bool = False
    right: Collection[str] = ()
    folds: Mapping[str, int] = MappingProxyType({})
    spare: Sequence[str] = ()

    def within(self, width: int) -> Table:
        """Returns the table without the spare columns for which a terminal has no room."""
        least = {
            name: min(self.folds.get(name, width), max(len(name), *self._lengths(position)))
            for position, name in enumerate(self.columns)
        }
        kept = list(self.columns)
        for name in self.spare:
            if sum(least[one] for one in kept) + _APART * (len(kept) - 1) > width:
                kept.remove(name)
        places = [self.columns.index(name) for name in kept]
        return self._replace(columns=kept, rows=[[row[at] for at in places] for row in self.rows])

    def _lengths(self, position: int) -> Iterator[int]:
        yield 0
        yield from (len(_shown(row[position])) for row in self.rows if row[position] is not None)


class NotePrinter:
    """Sentences on stderr, unless they are not wanted."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, text: str) -> None:
        """Prints one sentence."""
        if not self.quiet:
            warn(text)


def notes_listener(note: NotePrinter) -> Listener:
    """Returns a listener of the engine that prints its notes and nothing else."""
    from crucibench.engine.listener import Listener

    class NotesListener(Listener):
        def note(self, message: str) -> None:
            note(message)

    return NotesListener()


def describe_cell(cell: CellFile) -> str:
    """Returns ``MODEL on DATA, SUITE/SCENARIO``."""
    return f"{cell.model} on {cell.data}, {cell.suite}/{cell.scenario}"


def warn(text: str) -> None:
    """Prints one sentence on stderr, wanted or not."""
    click.echo(visible(text), err=True)


def console(*, stderr: bool = False, terminal: bool | None = None) -> Console:
    """Returns a rich console; into a file or a pipe its lines are of 120 letters at most.

    Args:
        stderr: whether it writes there.
        terminal: whether to write as into a terminal; None finds out.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    folded = terminal or stream.isatty() or "COLUMNS" in os.environ
    return Console(
        file=stream, width=None if folded else _PIPED, markup=False, highlight=False,
        emoji=False, force_terminal=terminal,
    )  # fmt: skip


def emit(form: Format, document: Any, tables: Sequence[Table]) -> None:
    """Prints data on stdout.

    Args:
        form: the format.
        document: what JSON shows.
        tables: what the other formats show; CSV shows the first alone.
    """
    if form == "json":
        import json

        write(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    elif form == "csv":
        from crucibench.report.format import csv_text

        rows = [[_flat(value) for value in row] for row in tables[0].rows]
        write(csv_text(tables[0].columns, rows))
    elif form == "md":
        write("\n".join(_markdown(table) for table in tables))
    else:
        draw(lambda target: _draw_all(tables, target))


def _draw_all(tables: Sequence[Table], target: Console) -> None:
    for position, table in enumerate(tables):
        if position:
            target.print()
        print_table(table, target)


def draw(picture: Callable[[Console], None], *, stderr: bool = False) -> None:
    """Prints what `picture` draws; into a file or a pipe without spaces at the ends of lines."""
    target = console(stderr=stderr)
    if target.is_terminal:
        picture(target)
        return
    with target.capture() as captured:
        picture(target)
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), err=stderr)


def write(text: str) -> None:
    """Writes text to stdout as it is."""
    click.echo(text, nl=False)


def write_output_file(path: Path, text: str) -> None:
    """Writes the file that ``-o`` names.

    Raises:
        InputError: if the system refuses.
    """
    from crucibench.util.atomic import write_text

    try:
        write_text(path, text)
    except OSError as error:
        raise InputError(f"-o {str(path)!r}: can't write there: {error.strerror}") from error


def print_table(table: Table, target: Console) -> None:
    """Prints a table for people."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = table.within(target.width)
    if table.title:
        # Not the table's own title: that would be folded to the table's width.
        target.print(Text(visible(table.title), style="bold"))
    shown = RichTable(
        box=box.SIMPLE_HEAD, pad_edge=False, show_header=not table.headless, show_edge=False
    )
    for position, name in enumerate(table.columns):
        values = [row[position] for row in table.rows if row[position] is not None]
        numeric = bool(values) and all(isinstance(value, int | float) for value in values)
        right = numeric or name in table.right
        # Names stand whole, and what is said of them is folded beside them.
        longest = max((len(_shown(value)) for value in values), default=0) if not position else 0
        shown.add_column(
            name, overflow="fold", justify="right" if right else "left",
            min_width=min(longest, table.folds.get(name, _NAME)) or None,
            max_width=table.folds.get(name) if position else None,
            no_wrap=bool(table.folds) and name not in table.folds,
        )  # fmt: skip
    for row in table.rows:
        shown.add_row(*(Text(visible(_shown(value))) for value in row))
    target.print(shown)


def plain(value: Any) -> Any:
    """Returns `value` as JSON can hold it: no NaN, no infinity, no types of NumPy's."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if value is None or isinstance(value, str | int):
        return value
    item = getattr(value, "item", None)
    return plain(item()) if item is not None else str(value)


def _flat(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return " ".join(str(entry) for entry in value)
    if isinstance(value, Mapping):
        import json

        return json.dumps(plain(value), ensure_ascii=False)
    return None if isinstance(value, float) and math.isnan(value) else value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(entry)}" for key, entry in value.items())
    return ", ".join(map(_shown, value)) if isinstance(value, list | tuple) else str(value)


def _markdown(table: Table) -> str:
    lines = [f"## {texts.markdown_text(table.title)}", ""] if table.title else []
    lines.append(f"| {' | '.join(texts.markdown_text(name) for name in table.columns)} |")
    lines.append(f"|{' --- |' * len(table.columns)}")
    for row in table.rows:
        cells = (texts.markdown_text(_shown(value), 400).replace("\n", " ") for value in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def fact_table(entries: Mapping[str, Any], title: str = "") -> Table:
    """Returns names and values, a line each."""
    rows = [[name, value] for name, value in entries.items()]
    return Table(title=title, columns=("fact", "value"), rows=rows, headless=True)


def record_table(title: str, entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """Returns records, a line each; a record may hold more than is shown."""
    return Table(
        title=title, columns=columns, rows=[[entry[name] for name in columns] for entry in entries]
    )
