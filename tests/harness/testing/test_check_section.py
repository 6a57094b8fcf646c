"""Kinds of report section: the registered ones, one as a third party writes it, broken ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from typing import Any

import pandas as pd
import pytest

from crucibench.contracts.section import PlotBlock, SectionKind, TableBlock, TextBlock
from crucibench.report.sections import section_kinds
from crucibench.testing import check_section


class Sparkline(SectionKind):
    """A line a model without axes, and its highest value in a table."""

    name = "sparkline"

    def blocks(self, section: Any, evidence: Any) -> list[Any]:
        blocks: list[Any] = []
        for cell, frame in evidence.tables(section):
            values = frame[section.y].dropna()
            points = " ".join(f"{at},{20 - 20 * value:.1f}" for at, value in enumerate(values))
            svg = f'<svg viewBox="0 0 40 20"><title>{escape(cell.model)}</title>'
            svg += f'<polyline points="{points}"/></svg>'
            alt = f"{cell.model}: {len(values)} values up to {values.max():.2f}"
            blocks.append(PlotBlock(svg=svg, alt=alt, caption=cell.scenario))
            table = TableBlock(caption="Highest", columns=["model", "highest"],
                               rows=[[cell.model, values.max()]], model=cell.model)  # fmt: skip
            blocks.append(table)
        return [TextBlock(text=section.note), *blocks] if blocks else []


@pytest.mark.parametrize("name", section_kinds().names())
def test_every_registered_kind_keeps_its_promises(name: str) -> None:
    check_section(section_kinds().get(name))


def test_a_kind_of_plain_blocks_keeps_its_promises() -> None:
    check_section(Sparkline())


def _made(draw: Callable[[Any, Any], list[Any]]) -> SectionKind:
    methods = {"name": "made", "blocks": lambda self, section, evidence: draw(section, evidence)}
    kind: SectionKind = type("Made", (SectionKind,), methods)()
    return kind


def _first(section: Any, evidence: Any) -> pd.DataFrame:
    return evidence.tables(section)[0][1]


@pytest.mark.parametrize(
    ("draw", "promise"),
    [
        (lambda section, evidence: [], "something to show"),
        (lambda section, evidence: ["text"], "blocks"),
        (lambda section, evidence: [TextBlock(text=str(_first(section, evidence).shape))],
         "nothing to show"),
        (lambda section, evidence: [TextBlock(text=str(id(object()) if evidence.rows else 0))
                                    for _ in range(len(_seen.append(0) or _seen))],  # type: ignore[func-returns-value]
         "repeatable"),
        (lambda section, evidence: [PlotBlock(svg=f"<svg>{section.title}</svg>", alt="a plot")],
         "escaped names"),
        (lambda section, evidence: [PlotBlock(svg="<svg></svg>", alt="")], "text alternative"),
    ],
)  # fmt: skip
def test_a_broken_kind_is_named_with_its_promise(draw: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=f"^made: {re.escape(promise)}:"):
        check_section(_made(draw))


_seen: list[int] = []
