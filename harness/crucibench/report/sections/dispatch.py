"""Which drawer draws a section."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crucibench.contracts.verdict import Status
from crucibench.report.page import Block, Message, SectionView
from crucibench.report.sections.bars import draw_bars
from crucibench.report.sections.forest import draw_forest
from crucibench.report.sections.gallery import draw_gallery
from crucibench.report.sections.heat import draw_heat
from crucibench.report.sections.line import draw_histogram, draw_line
from crucibench.report.sections.matrix import draw_matrix
from crucibench.report.sections.metrics import draw_metrics
from crucibench.report.sections.reliability import draw_reliability
from crucibench.report.sections.sources import Sources
from crucibench.report.sections.table import draw_table


def section_view(section: Mapping[str, Any], sources: Sources) -> SectionView | None:
    """Fills a section, or returns None where the data set has no cell of it."""
    scenario = section.get("scenario") or ""
    cells = sources.cells(scenario)
    if not cells:
        return None
    draw = _DRAWERS.get(section.get("kind", ""))
    if draw is None:
        blocks: Sequence[Block] = [
            Message(text=f"This version can't draw a section of kind {section.get('kind')!r}.")
        ]
    else:
        blocks = draw(section, sources)
    # A run need not have kept examples, whatever became of its cells.
    optional = section.get("kind") == "gallery"
    if not blocks and (optional or all(cell.status is Status.OK for cell in cells)):
        return None
    return SectionView(
        title=section.get("title") or "",
        note=section.get("note") or "",
        blocks=blocks or [Message(text="No cell of this part ran to its end.")],
    )


_DRAWERS: Mapping[str, Callable[[Mapping[str, Any], Sources], list[Block]]] = {
    "metrics": draw_metrics,
    "table": draw_table,
    "matrix": draw_matrix,
    "line": draw_line,
    "histogram": draw_histogram,
    "bars": draw_bars,
    "heat": draw_heat,
    "forest": draw_forest,
    "gallery": draw_gallery,
    "reliability": draw_reliability,
}
