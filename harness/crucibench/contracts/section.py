"""Report sections: what a suite declares as data, and what a kind of section draws of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from crucibench.contracts.rows import MetricRow
from crucibench.contracts.verdict import Status, Verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report, as data.

    Attributes:
        title: its heading.
        kind: how it is drawn: the name of a registered `SectionKind`, e.g. ``metrics``.
        scenario: the scenario's name; "" for every one of the suite.
        metrics: the metric ids that it shows; empty for those that the kind chooses.
        table: the name of a table of `Scored.tables`.
        x: a column.
        y: a column.
        note: what a reader must know, a sentence or two.
    """

    title: str
    kind: str
    scenario: str = ""
    metrics: tuple[str, ...] = ()
    table: str = ""
    x: str = ""
    y: str = ""
    note: str = ""


class Block:
    """Something that a section shows, one below the other.

    Kinds return `TextBlock`, `TableBlock` and `PlotBlock`, which every view can render.

    Attributes:
        kind: the name of the template that renders it.
    """

    kind: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class TextBlock(Block):
    """A sentence or two; plain text, no markup."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, kw_only=True)
class TableBlock(Block):
    """A table of plain values.

    Attributes:
        caption: what it shows; those who listen to the page hear it.
        columns: the heads.
        rows: one value a column: text, numbers, booleans, None.
        model: the model that it is of; "" for none.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class PlotBlock(Block):
    """A picture.

    Attributes:
        svg: an SVG element that loads nothing. It is put into the page as it is: names in it must
            be escaped.
        alt: what it shows, in words.
        caption: what stands beneath; plain text.
    """

    kind: ClassVar[str] = "plot"
    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class SectionCell:
    """A cell as a section sees it.

    Attributes:
        id: of the cell.
        model: its name.
        scenario: its name.
        status: whether it ended well.
        verdict: of a cell that did; None of others.
        reason: why it did not; "" where it did.
        table: reads a table of `Scored.tables` by name; None where the cell has none of that name.
        examples: reads the samples that the cell kept to be shown, as
            `crucibench.contracts.examples.first_of` returns them, with the columns ``prediction``
            and ``confidence`` by the model's decision rule; None where it kept none.
    """

    id: str
    model: str
    scenario: str
    status: Status
    verdict: Verdict | None
    reason: str
    table: Callable[[str], pd.DataFrame | None]
    examples: Callable[[], pd.DataFrame | None]


@dataclass(frozen=True, kw_only=True)
class SectionEvidence:
    """What a suite found on one data set: all that its sections are drawn from.

    Attributes:
        data: the data set's name.
        suite: the suite's name.
        models: all models in order.
        rows: the metric rows, in stored order.
        all_cells: by scenario, then by model in order.
    """

    data: str
    suite: str
    models: Sequence[str]
    rows: Sequence[MetricRow]
    all_cells: Sequence[SectionCell]

    def cells(self, scenario: str = "") -> list[SectionCell]:
        """Returns the cells of a scenario; of every one for ""."""
        return [cell for cell in self.all_cells if scenario in {"", cell.scenario}]

    def tables(self, section: Section) -> list[tuple[SectionCell, pd.DataFrame]]:
        """Returns the section's table of each cell that ended well and has rows in it."""
        found = []
        for cell in self.cells(section.scenario):
            frame = cell.table(section.table) if cell.status is Status.OK else None
            if frame is not None and len(frame):
                found.append((cell, frame))
        return found


class SectionKind(ABC):
    """A way to draw a section; registered in the entry-point group ``crucibench.sections``.

    Attributes:
        name: what a `Section` declares as its kind.
        optional: whether a section with nothing to show is left out although cells failed.
    """

    name: ClassVar[str]
    optional: ClassVar[bool] = False

    @abstractmethod
    def blocks(self, section: Section, evidence: SectionEvidence) -> Sequence[Block]:
        """Draws a section; returns nothing where there is nothing to show."""
