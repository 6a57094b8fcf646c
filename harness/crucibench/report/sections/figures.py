"""Sections that are plots: lines, histograms, reliability diagrams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from crucibench.contracts.section import Block, Section, TextBlock
from crucibench.contracts.verdict import Verdict
from crucibench.report import plots
from crucibench.report.format import counted, embedded, show_count, show_plain
from crucibench.report.page import Download, Figure, ModelHead, Panels
from crucibench.report.sections import (
    PageEvidence,
    PageSection,
    Stored,
    download,
    file_name,
    split_by_text,
    stored_tables,
    words,
)
from crucibench.stats import share_interval
from crucibench.util.text import shorten


class LinePlot(PageSection):
    """Draws a figure a scenario, side by side where there are several."""

    name = "line"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        return _figures(section, evidence, apart=False)


class Histogram(PageSection):
    """Draws a figure a scenario and model: models' scores need not have a scale in common."""

    name = "histogram"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        return _figures(section, evidence, apart=True)


def _figures(section: Section, evidence: PageEvidence, *, apart: bool) -> list[Block]:
    x, y = section.x or "x", section.y or "y"
    by_scenario: dict[tuple[str, str], list[Stored]] = {}
    empty = False
    for stored in stored_tables(section, evidence, x, y):
        place = stored.cell.scenario, stored.cell.model if apart else ""
        for part in split_by_text(stored, evidence):
            if part.frame[[x, y]].notna().all(axis=1).any():
                by_scenario.setdefault(place, []).append(part)
            else:
                empty = True
    if empty and not by_scenario:
        return [TextBlock(text=f"No row has both {words(x)} and {words(y)}.")]
    named = len({scenario for scenario, _ in by_scenario}) > 1
    several = len(by_scenario) > 1
    # One scale, so that panels side by side can be held against each other.
    span = _span(by_scenario.values(), y) if several and not apart else None
    figures = [
        _line_figure(section, evidence, place, found, named=named, small=several, span=span)
        for place, found in by_scenario.items()
    ]
    if not several:
        return list(figures)
    legends = {tuple(figure.legend) for figure in figures}
    if len(legends) > 1:
        return [Panels(figures=figures)]
    figures = [replace(figure, legend=()) for figure in figures]
    return [Panels(figures=figures, legend=legends.pop())]


def _span(found: Iterable[Sequence[Stored]], y: str) -> tuple[float, float] | None:
    values = [
        value
        for parts in found
        for part in parts
        for name in (y, "lower", "upper")
        if name in part.frame.columns
        for value in part.frame[name]
        if np.isfinite(value)
    ]
    return (min(values), max(values)) if values else None


def _line_figure(
    section: Section,
    evidence: PageEvidence,
    place: tuple[str, str],
    found: Sequence[Stored],
    *,
    named: bool,
    small: bool,
    span: tuple[float, float] | None,
) -> Figure:
    x, y = section.x or "x", section.y or "y"
    curves, legend, rows, described, thinned = [], [], [], [], False
    single = len({part.cell.model for part in found}) == len(found)
    for row, part in enumerate(found):
        frame = part.frame.dropna(subset=[x, y]).sort_values(x, kind="stable")
        values = frame[y].to_numpy(dtype=np.float64)
        keep = plots.thinned(len(frame), values)
        thinned |= len(keep) < len(frame)
        frame = frame.iloc[keep]
        band = [
            frame[name].to_numpy(dtype=np.float64) if name in frame.columns else None
            for name in ("lower", "upper")
        ]
        index = list(evidence.models).index(part.cell.model) if single else row
        curves.append(
            plots.Curve(
                colour=index,
                x=frame[x].to_numpy(dtype=np.float64),
                y=frame[y].to_numpy(dtype=np.float64),
                lower=band[0],
                upper=band[1],
            )
        )
        legend.append(
            ModelHead(
                name=part.cell.model,
                colour=index % plots.COLOURS,
                dash=plots.dash(index),
                verdict=part.cell.verdict or Verdict.VALID,
                extra=part.within if named else part.extra,
            )
        )
        name = f"{part.cell.model} {part.within if named else part.extra}".strip()
        first, last = frame.iloc[0], frame.iloc[-1]
        described.append(f"{shorten(name)} goes from {_at(first, x, y)} to {_at(last, x, y)}")
        rows += [[part.cell.model, *row] for row in frame.itertuples(index=False, name=None)]
    axes = f"{words(y)} against {words(x)}"
    title = ", ".join(filter(None, (_name(place[0]) if named else "", place[1])))
    if named:
        axes = f"{_name(place[0])}: {axes}"
    alt = f"Line plot of {axes}. " + "; ".join(described[:8]) + "."
    names = ["model", *(str(name) for name in found[0].frame.columns)]
    key = evidence.anchors(
        "lines", evidence.data, evidence.suite, section.title, *filter(None, place)
    )
    note = " Long lines are drawn through fewer points, their extremes kept." if thinned else ""
    return Figure(
        svg=Markup(
            plots.line_svg(curves, x=words(x), y=words(y), key=key, alt=alt, small=small, span=span)
        ),
        title=title,
        caption=note.strip() if small else f"{axes[:1].upper()}{axes[1:]}.{note}",
        legend=legend,
        data=Download(
            href=embedded(names, rows),
            name=file_name(evidence.data, section.title, *filter(None, place)),
        ),
    )


def _name(scenario: str) -> str:
    """Returns a scenario's name as words, without the folder that it shares with others."""
    return words(scenario.rpartition("/")[2])


def _at(row: pd.Series[Any], x: str, y: str) -> str:
    return f"{show_plain(float(row[y]))} at {show_plain(float(row[x]))}"


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
    bins = {
        "left": sides[0], "right": sides[1], "count": count, "confidence": level, "share": share,
        "lower": ends[0], "upper": ends[1],
    }  # fmt: skip
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
