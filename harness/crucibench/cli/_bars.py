"""Progress as bars in a terminal, with rate and time left, below the lines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from crucibench.cli._lines import MOST, Lines, rate_words, words_of
from crucibench.cli._output import console, visible
from crucibench.cli._remembering import Remembering
from crucibench.util.text import shorten

if TYPE_CHECKING:
    from crucibench.engine.inspected import Inspection
    from crucibench.engine.plan.plan import Plan, PlannedCell
    from crucibench.engine.resolve.resolve import Resolved
    from crucibench.store.cells import CellFile


_ROOMY = 100
_NUMBERS = 34
"""Columns that counts, rate and time left take."""


class Board(Progress):
    """Bars, and how many more there would be.

    Attributes:
        more: how many are not shown.
    """

    more = 0

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yields what is drawn."""
        yield from super().get_renderables()
        if self.more:
            yield Text(f"and {self.more} more", style="dim")


class Rate(ProgressColumn):
    """Samples a second."""

    def render(self, task: Task) -> Text:
        """Returns the rate, or nothing while it can't be told."""
        speed = task.finished_speed or task.speed
        return Text(rate_words(speed) if speed else "", style="dim")


class Bars(Lines):
    """Draws bars below the lines."""

    def __init__(self, resolved: Resolved, *, announce: bool) -> None:
        super().__init__(resolved, announce=announce)
        screen = console(stderr=True, terminal=True)
        bar = 24 if screen.width >= _ROOMY else 10
        self._board = Board(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=bar),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(compact=True),
            console=screen,
            transient=True,
        )
        self._widest = max(20, screen.width - bar - _NUMBERS)
        self._doing = self._board.add_task("starting", total=None)
        self._indexed: dict[str, TaskID] = {}
        self._tasks: dict[str, TaskID] = {}
        """Of the cells under way, those begun first first."""

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        with self._board, Remembering.at_work(self):
            yield

    def note(self, message: str) -> None:
        self._board.update(self._doing, description=self._name(message))

    def indexing(self, data: str, done: int, total: int) -> None:
        if data not in self._indexed:
            self._indexed[data] = self._board.add_task(self._name(f"indexing {data}"), total=None)
        self._board.update(self._indexed[data], completed=done, total=total or None)

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        Remembering.planned(self, plan, inspection)
        for task in self._indexed.values():
            self._board.remove_task(task)
        self._indexed.clear()
        if self._announce:
            self._print_plan(plan, inspection, self._board.console)
            self._board.reset(self._doing, total=len(plan.cells), description="cells")

    def started(self, cell: PlannedCell, total: int) -> None:
        super().started(cell, total)
        if cell.id in self._tasks:  # begun anew
            self._board.remove_task(self._tasks.pop(cell.id))
        self._tasks[cell.id] = self._board.add_task(
            self._name(words_of(cell)), total=total or None, visible=len(self._tasks) < MOST
        )
        self._count()

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        if cell.id in self._tasks:
            self._board.advance(self._tasks[cell.id], samples)

    def finished(self, cell: CellFile) -> None:
        super().finished(cell)
        if cell.cell in self._tasks:
            self._board.remove_task(self._tasks.pop(cell.cell))
            for task in list(self._tasks.values())[:MOST]:
                self._board.update(task, visible=True)
        self._count()
        self._board.advance(self._doing)

    def _count(self) -> None:
        self._board.more = max(0, len(self._tasks) - MOST)

    def _name(self, text: str) -> str:
        # Start and end say most: the model and the scenario.
        return shorten(visible(text), self._widest)

    def _say(self, text: str) -> None:
        self._board.console.print(Text(visible(text)))
