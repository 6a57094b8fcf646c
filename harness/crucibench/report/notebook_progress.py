"""Progress of a run in a notebook: a bar over its cells, as tqdm draws it there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from crucibench.engine.listener import Listener
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    from crucibench.engine.inspect import Inspection
    from crucibench.engine.plan.plan import Plan, PlannedCell
    from crucibench.store.cells import CellFile

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
