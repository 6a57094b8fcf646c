"""The report's parts as suites declare them: each is drawn by a registered kind of section.

`evidence` is what kinds draw from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from markupsafe import Markup, escape

from crucibench.contracts.section import (
    Block,
    PlotBlock,
    Section,
    SectionKind,
    TableBlock,
    TextBlock,
)
from crucibench.contracts.verdict import Status
from crucibench.report.format import embedded
from crucibench.report.page import (
    Download,
    Figure,
    FilledSection,
    ModelHead,
    PlainTable,
    Text,
)
from crucibench.report.sections.evidence import (
    MOST_ROWS,
    OPEN_ROWS,
    PageEvidence,
    evidence_of,
    file_name,
    text_of,
)
from crucibench.util.errors import InputError
from crucibench.util.registry import Catalogue
from crucibench.util.text import visible

__all__ = ["PageEvidence", "declared_sections", "evidence_of", "filled", "section_kinds"]


@cache
def section_kinds() -> Catalogue[SectionKind]:
    """Returns the registry of kinds of section."""
    return Catalogue("crucibench.sections", "section kind", SectionKind)


def declared_sections(
    suites: Mapping[str, Any],
) -> dict[tuple[str, str], list[tuple[Section, SectionKind]]]:
    """Returns the sections of each suite and data set, with the kinds that draw them.

    Args:
        suites: what ``suites.json`` holds.

    Returns:
        By suite and data; under "" those of data sets whose task has none of its own.

    Raises:
        InputError: if no installed package registers a section's kind; it names the nearest.
    """
    names = [field.name for field in fields(Section)]
    found: dict[tuple[str, str], list[tuple[Section, SectionKind]]] = {}
    for suite, info in suites.items():
        of_data = {"": info.get("sections", []), **info.get("sections_of_data", {})}
        for data, entries in of_data.items():
            found[suite, data] = []
            for entry in entries:
                known = {name: entry[name] for name in names if entry.get(name)}
                section = Section(**{"title": "", "kind": "", **known})
                try:
                    kind = section_kinds().get(section.kind)
                except InputError as error:
                    where = f"suite {suite!r}, section {section.title!r}"
                    raise InputError(f"{where}: {error}") from error
                found[suite, data].append((section, kind))
    return found


def filled(section: Section, kind: SectionKind, evidence: PageEvidence) -> FilledSection | None:
    """Fills a section, or returns None where the data set has no cell of it."""
    cells = evidence.cells(section.scenario)
    if not cells:
        return None
    blocks = [_on_page(block, evidence) for block in kind.blocks(section, evidence)]
    if not blocks:
        if kind.optional or all(cell.status is Status.OK for cell in cells):
            return None
        blocks = [TextBlock(text="No cell of this part ran to its end.")]
    return FilledSection(title=section.title, note=section.note, blocks=blocks)


def _on_page(block: Block, evidence: PageEvidence) -> Block:
    """Returns a block that has a template: a plain table and a plot as the page shows its own."""
    if isinstance(block, PlotBlock):
        picture = f'<div role="img" aria-label="{escape(visible(block.alt))}">{block.svg}</div>'
        return Figure(svg=Markup(picture), caption=block.caption, legend=())
    if not isinstance(block, TableBlock):
        return block
    of_model = block.model in evidence.models
    heads = [
        Text(text=name, numeric=all(text_of(row[at]).numeric for row in block.rows))
        for at, name in enumerate(block.columns)
    ]
    return PlainTable(
        caption=block.caption,
        head=evidence.head(block.model) if of_model else ModelHead(name=block.caption),
        columns=heads,
        rows=[[text_of(value) for value in row] for row in block.rows[:MOST_ROWS]],
        total=len(block.rows),
        data=Download(
            href=embedded(block.columns, block.rows[:5000]),
            name=file_name(evidence.data, evidence.suite, block.caption, block.model),
        ),
        folded=len(block.rows) > OPEN_ROWS,
    )
