"""What a notebook shows: runs, comparisons, gates; a frame, a plot; the progress of a run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from crucibench.comparing.results import Comparison
from crucibench.contracts.verdict import Severity
from crucibench.engine.inspect import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.gating.result import GateVerdict
from crucibench.gating.text import plain_text
from crucibench.report.decision import decisions_of
from crucibench.report.findings import findings_of
from crucibench.report.format import show_number
from crucibench.report.leaderboard import Board, Column, Line, leaderboard
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_MOST = 40
"""Differences of a comparison that a notebook shows; the object holds all."""


def run_html(run: Run) -> str:
    """Returns a run's decisions, headline numbers and findings as HTML."""
    if not run.finished:
        return str(_paragraph(f"{run!r}: not finished; the same call resumes it"))
    parts = [_paragraph(f"{one.data}: {one.text}") for one in decisions_of(run)]
    for board in leaderboard([run]).boards:
        heads = ["model", *(column.heading for column in board.columns)]
        rows = [
            [line.label, *(line.entries[column.place].shown.text for column in board.columns)]
            for line in board.lines
        ]
        rows += [[name, *(cell.text for cell in cells)] for name, cells in board.baselines]
        parts.append(_table(board.data, heads, rows))
    grave = [one for one in findings_of(run) if one.severity is not Severity.INFO]
    parts += [_paragraph(f"{one.severity}: {one.code}: {one.message}") for one in grave]
    if not run.packed:
        parts.append(_paragraph(f"report: {run.layout.report}"))
    return "".join(parts)


def comparison_html(found: Comparison) -> str:
    """Returns a comparison as HTML: headline numbers first."""
    ordered = sorted(found.differences, key=lambda one: not one.primary)
    rows = []
    for one in ordered[:_MOST]:
        ends = (None, None) if one.interval is None else (one.interval.lower, one.interval.upper)
        delta = "" if one.delta is None else str(show_number(one.delta, *ends))
        values = ["" if each is None else f"{each:.4g}" for each in (one.baseline, one.candidate)]
        p = "" if one.p_adjusted is None else f"{one.p_adjusted:.2g}"
        rows.append([str(one.address), *values, delta, p, one.reason])
    heads = ["number", "baseline", "candidate", "difference", "p, corrected", "note"]
    left = len(ordered) - len(rows)
    notes = [f"{left} more in .differences"] if left else []
    notes += [f"not compared: {one.cell}: {one.reason}" for one in found.refused]
    return "".join([_table("", heads, rows), *map(_paragraph, [*notes, *found.notes])])


def verdict_html(verdict: GateVerdict) -> str:
    """Returns a gate's verdict as HTML."""
    return str(Markup("<pre>{}</pre>").format(visible(plain_text(verdict))))


def scorecard(run: Run) -> pd.DataFrame:
    """Returns the headline numbers of a run, one a row.

    Columns: ``data``, ``model``, ``axis``, ``metric``, ``value``, ``lower``, ``upper``, ``n``,
    ``unit``, ``direction``, ``verdict``, ``mark``, ``reason``. Values are as stored: shares from 0
    to 1. A number that was not measured is NaN, with the reason.
    """
    import pandas as pd

    rows = [
        _row(board, line, column)
        for board in leaderboard([run]).boards
        for line in board.lines
        for column in board.columns
    ]
    return pd.DataFrame(rows)


def plot(run: Run, metric: str | None = None) -> Figure:
    """Draws the models' values of one headline metric with their intervals, a panel a data set.

    Args:
        run: the run.
        metric: as in the column ``metric`` of `scorecard`; the first unless given.

    Raises:
        InputError: if there is no such metric.
    """
    from matplotlib.figure import Figure

    frame = scorecard(run)
    names = list(dict.fromkeys(frame["metric"])) if len(frame) else []
    chosen = metric or next(iter(names), "")
    if chosen not in names:
        raise InputError(unknown("metric", chosen, names))
    found = frame[(frame["metric"] == chosen) & frame["value"].notna()]
    panels = list(found.groupby("data", sort=False))
    models = max((len(part) for _, part in panels), default=1)
    figure = Figure(figsize=(6.0, 0.6 + (0.35 * models + 0.6) * max(1, len(panels))))
    grid: Any = figure.subplots(max(1, len(panels)), squeeze=False)
    for axes, (data, part) in zip(grid[:, 0], panels, strict=True):
        places = range(len(part))
        ends = [
            (part["value"] - part["lower"]).fillna(0),
            (part["upper"] - part["value"]).fillna(0),
        ]
        axes.errorbar(part["value"], places, xerr=ends, fmt="o", capsize=3)
        axes.set_yticks(list(places), [_plain(name) for name in part["model"]])
        axes.set_title(_plain(str(data)), loc="left", fontsize="medium")
        axes.invert_yaxis()
        axes.margins(y=0.2)
    grid[-1, 0].set_xlabel(_plain(chosen))
    figure.tight_layout()
    return figure


def _row(board: Board, line: Line, column: Column) -> dict[str, Any]:
    entry = line.entries[column.place]
    number = entry.number
    ends = None if number is None else number.interval
    nothing = float("nan")
    return {
        "data": board.data,
        "model": line.label,
        "axis": column.axis,
        "metric": column.title,
        "value": nothing if number is None or number.value is None else number.value,
        "lower": nothing if ends is None else ends[0],
        "upper": nothing if ends is None else ends[1],
        "n": 0 if number is None else number.n,
        "unit": column.metric.unit,
        "direction": column.metric.direction,
        "verdict": "" if number is None else str(number.verdict),
        "mark": "" if number is None else number.mark,
        "reason": entry.shown.reason,
    }


def _plain(text: str) -> str:
    return visible(str(text)).replace("$", r"\$")  # which matplotlib takes for mathematics


def _paragraph(text: str) -> Markup:
    return Markup("<p>{}</p>").format(visible(text))


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    caption = f"<caption>{escape(visible(title))}</caption>" if title else ""
    head = "".join(f"<th>{escape(visible(name))}</th>" for name in heads)
    lines = (
        "<tr>" + "".join(f"<td>{escape(visible(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    body = "".join(lines)
    return Markup(f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


_WIDEST = 60


@contextlib.contextmanager
def progress_shown() -> Iterator[Listener]:
    """Yields what listens to a run: in a kernel of a notebook a bar, elsewhere nothing."""
    ask = getattr(sys.modules.get("IPython"), "get_ipython", None)
    if ask is None or not hasattr(ask(), "kernel"):
        yield Listener()
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.close()


class _Bar(Listener):
    """A bar over the cells, with what was begun last before it."""

    def __init__(self) -> None:
        # A widget where ipywidgets is installed, else text.
        from tqdm.auto import tqdm

        self._tqdm = tqdm(desc="starting", unit="cell")

    def note(self, message: str) -> None:
        self._tqdm.set_description_str(shorten(visible(message), _WIDEST))

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        self._tqdm.reset(total=len(plan.cells))

    def started(self, cell: PlannedCell, total: int) -> None:
        self.note(f"{cell.model.name} on {cell.data.name}, {cell.scenario.address}")

    def finished(self, cell: CellFile) -> None:
        self._tqdm.update()

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._tqdm.close()
