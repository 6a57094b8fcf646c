"""Reliability diagrams: a panel a model and combination of text columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from crucibench.contracts.section import Block, Section
from crucibench.report import plots
from crucibench.report.format import counted, show_count
from crucibench.report.page import Figure, Panels
from crucibench.report.sections.evidence import PageEvidence, PageSection
from crucibench.report.sections.stored import (
    Stored,
    download,
    split_by_text,
    stored_tables,
    words,
)
from crucibench.stats import share_interval
from crucibench.util.text import shorten


class Reliability(PageSection):
    """Draws a panel a cell and combination of text columns."""

    name = "reliability"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        x, y = section.x or "confidence", section.y or "accuracy"
        figures = []
        for whole in stored_tables(section, evidence, x, y, "count"):
            for stored in split_by_text(whole, evidence):
                figure = _reliability_figure(section, stored, x, y)
                if figure is not None:
                    figures.append(figure)
        return [Panels(figures=figures)] if figures else []


def _reliability_figure(section: Section, stored: Stored, x: str, y: str) -> Figure | None:
    frame = stored.frame[stored.frame["count"] > 0].dropna(subset=[x, y])
    if not len(frame):
        return None
    count = frame["count"].to_numpy(dtype=np.float64)
    level, share = (frame[name].to_numpy(dtype=np.float64) for name in (x, y))
    hits = frame["hits"].to_numpy(dtype=np.float64) if "hits" in frame.columns else share * count
    intervals = [
        share_interval(min(round(hit), round(total)), round(total))
        for hit, total in zip(hits, count, strict=True)
    ]
    # `lower` and `upper` are the share's interval or, without `bin_lower`, the bin's ends.
    own = "bin_lower" in frame.columns
    sides = [_column(frame, f"bin_{name}" if own else name, level) for name in ("lower", "upper")]
    ends = [
        _column(frame, name if own else "", np.array([getattr(entry, name) for entry in intervals]))
        for name in ("lower", "upper")
    ]
    bins = plots.ReliabilityBins(
        left=sides[0],
        right=sides[1],
        count=count,
        confidence=level,
        share=share,
        lower=ends[0],
        upper=ends[1],
    )
    gaps = np.abs(share - level)
    worst = int(np.argmax(gaps))
    alt = (
        f"Reliability diagram of {shorten(stored.head.name)} {stored.extra}: "
        f"{counted(round(count.sum()), 'sample')} in {counted(len(frame), 'filled bin')}; the "
        f"largest gap is {100 * gaps[worst]:.1f} points at {words(x)} {level[worst]:.2f}, where "
        f"{show_count(round(count[worst]))} samples lie."
    )
    svg = plots.reliability_svg(
        bins, colour=stored.head.colour or 0, x=words(x), y=words(y), alt=alt
    )
    return Figure(
        svg=Markup(svg),
        caption=f"{counted(round(count.sum()), 'sample')} in {counted(len(frame), 'filled bin')}",
        legend=[stored.head],
        data=download(section, stored),
    )


def _column(frame: pd.DataFrame, name: str, other: NDArray[np.float64]) -> NDArray[np.float64]:
    return frame[name].to_numpy(dtype=np.float64) if name in frame.columns else other
