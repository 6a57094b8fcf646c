"""What sections are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crucibench.contracts.verdict import Status, Verdict
from crucibench.report import plots
from crucibench.report.numbers import Metric, Number
from crucibench.report.page import Anchors, ModelHead

if TYPE_CHECKING:
    from crucibench.store.cells import CellFile
    from crucibench.store.run import Run


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What sections are drawn from.

    Attributes:
        run: the run.
        data: the data set's name.
        suite: the suite's name.
        models: all models of the run in order: their places are their colours.
        numbers: those of this suite and data set, in stored order.
        metrics: what the run says of metrics.
        anchors: the page's ids.
        gallery: whether samples are shown.
    """

    run: Run
    data: str
    suite: str
    models: Sequence[str]
    numbers: Sequence[Number]
    metrics: Mapping[tuple[str, str], Metric]
    anchors: Anchors
    gallery: bool

    def cells(self, scenario: str) -> list[CellFile]:
        """Returns the suite's cells on this data set, of one scenario or (for "") of all."""
        order = {name: place for place, name in enumerate(self.models)}
        found = [
            cell
            for cell in self.run.cells.values()
            if (cell.suite, cell.data) == (self.suite, self.data)
            and scenario in {"", cell.scenario}
        ]
        return sorted(found, key=lambda cell: (cell.scenario, order.get(cell.model, 0)))

    def absent(self) -> list[tuple[str, str, str]]:
        """Returns model, scenario and reason of each cell that did not end well."""
        return [
            (cell.model, cell.scenario, f"{cell.status}: {cell.reason}")
            for cell in self.cells("")
            if cell.status is not Status.OK
        ]

    def head(self, model: str, verdict: Verdict | None = None, extra: str = "") -> ModelHead:
        """Returns a model's head."""
        colour = list(self.models).index(model) if model in self.models else 0
        return ModelHead(
            name=model,
            colour=colour % plots.COLOURS,
            dash=plots.dash(colour),
            verdict=verdict or Verdict.VALID,
            extra=extra,
        )

    def href(self, metric: Metric) -> str:
        """Returns the anchor of a metric's definition."""
        return self.anchors("metric", metric.suite, metric.id)
