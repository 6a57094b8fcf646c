"""The conformance kit: whether a kind of report section can be relied on by every view."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd

from crucibench.contracts.rows import Address, MetricRow
from crucibench.contracts.section import Block, Section, SectionCell, SectionKind
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Status, Verdict
from crucibench.report.html import render_section
from crucibench.report.numbers import ShownMetric
from crucibench.report.page import Anchors
from crucibench.report.sections import PageEvidence, filled

_MARKUP = '<img src=x onerror="alert(1)">'
_MODELS = ("plain", f"second {_MARKUP}")
_CLASSES = ("no", f"yes {_MARKUP}")


def check_section(
    kind: SectionKind, section: Section | None = None, table: pd.DataFrame | None = None
) -> None:
    """Checks that a kind draws what every view can render.

    It is asked to draw two models with a failed cell beside them, nothing at all, and names that
    are markup.

    Args:
        kind: as it is registered.
        section: as a suite would declare it; by default of the table ``example`` with its columns
            ``x`` and ``y``, and the metric ``example``.
        table: what every cell has as the section's table; by default columns ``group`` (text),
            ``x``, ``y``, ``lower``, ``upper`` (0 to 1) and ``count``.

    Raises:
        AssertionError: naming the promise that is broken, and how.
    """
    name = getattr(kind, "name", "")
    section = section or Section(
        title="Example", kind=name, table="example", x="x", y="y", metrics=("example",)
    )
    section = replace(section, title=f"{section.title} {_MARKUP}", note=_MARKUP)
    table = _table() if table is None else table
    if not name or section.kind != name:
        raise AssertionError(
            f"{type(kind).__name__}: name: expected {section.kind!r}, got {name!r}"
        )
    page = _page(kind, section, _evidence(table, Status.OK))
    if not page:
        raise AssertionError(f"{name}: something to show: no block was drawn of evidence")
    if page != _page(kind, section, _evidence(table, Status.OK)):
        raise AssertionError(f"{name}: repeatable: the same evidence gave another page")
    for empty in (None, table.head(0)):
        for status in (Status.OK, Status.FAILED):
            nothing = replace(_evidence(empty, status), rows=())
            try:
                _page(kind, section, nothing)
            except Exception as error:
                raise AssertionError(
                    f"{name}: nothing to show: {type(error).__name__}: {error}"
                ) from error
    if _MARKUP in page or "<img src=x" in page:
        raise AssertionError(f"{name}: escaped names: {_MARKUP!r} reached the page as markup")
    reader = _Reader()
    reader.feed(page)
    if reader.silent:
        raise AssertionError(
            f"{name}: text alternative: <{reader.silent[0]}> says nothing to those who listen"
        )


def _page(kind: SectionKind, section: Section, evidence: PageEvidence) -> str:
    blocks: Sequence[object] = kind.blocks(section, evidence)
    strange = [block for block in blocks if not isinstance(block, Block)]
    if strange:
        raise AssertionError(f"{kind.name}: blocks: expected a Block, got {strange[0]!r}")
    found = filled(section, kind, evidence) if blocks else None
    return "" if found is None else render_section(found)


def _table() -> pd.DataFrame:
    steps = [0.2, 0.4, 0.6, 0.8]
    return pd.DataFrame(
        {
            "group": ["one"] * 4 + [f"two {_MARKUP}"] * 4,
            "x": [*steps, *steps],
            "y": [0.1, 0.5, 0.6, 0.9, 0.2, 0.3, math.nan, 1.0],
            "lower": [0.0, 0.4, 0.5, 0.8, 0.1, 0.2, math.nan, 0.9],
            "upper": [0.2, 0.6, 0.7, 1.0, 0.3, 0.4, math.nan, 1.0],
            "count": [3, 5, 8, 13, 3, 5, 0, 13],
        }
    )


def _evidence(table: pd.DataFrame | None, status: Status) -> PageEvidence:
    metric = ShownMetric(
        suite="made-up", id="example", name=f"Example {_MARKUP}", direction="higher",
        lower=0.0, upper=1.0, definition="Made up.",
    )  # fmt: skip
    cells = [
        SectionCell(
            id=f"{scenario}-{model}", model=model, scenario=scenario, status=status,
            verdict=Verdict.SUSPECT if status is Status.OK else None,
            reason="" if status is Status.OK else _MARKUP,
            table=lambda name: table,
            examples=lambda: None if table is None or status is not Status.OK else _examples(),
        )
        for scenario in ("first", f"second {_MARKUP}")
        for model in _MODELS
    ]  # fmt: skip
    failed = SectionCell(
        id="failed", model=_MODELS[0], scenario="third", status=Status.FAILED, verdict=None,
        reason=_MARKUP, table=lambda name: None, examples=lambda: None,
    )  # fmt: skip
    return PageEvidence(
        data=f"data {_MARKUP}",
        suite="made-up",
        models=_MODELS,
        rows=_rows(cells),
        all_cells=[*cells, failed],
        metrics={(metric.suite, metric.id): metric},
        anchors=Anchors(),
        task=Task(kind="classification", modality=Modality.TABLE, classes=_CLASSES),
    )


def _rows(cells: Sequence[SectionCell]) -> list[MetricRow]:
    return [
        MetricRow(
            data=f"data {_MARKUP}",
            address=Address(cell.model, "made-up", cell.scenario, "", "example", group),
            value=value, lower=None if value is None else value - 0.1,
            upper=None if value is None else value + 0.1, level=0.95, method="made-up", n=40,
            direction="higher", unit="", reason="" if value is not None else _MARKUP,
            verdict=Verdict.SUSPECT, cell=cell.id, key="k", run="made-up",
        )
        for cell in cells
        for group, value in (("", 0.5), ("g=a", 0.4), (f"g={_MARKUP}", 0.7), ("g=c", None))
    ]  # fmt: skip


def _examples() -> pd.DataFrame:
    """Returns a sample as it is and changed, with the answers to both."""
    common = {
        "id": "s", "key": 0.5, "wrong": True, "target": 1.0, "score": math.nan, "change": b"",
        "factor": math.nan,
    }  # fmt: skip
    versions = [("", 0, "", 1.0, 0.9, 41), ("eps=1", 1, _MARKUP, 0.0, 0.6, 7)]
    return pd.DataFrame(
        [
            {
                **common, "point": point, "rank": rank, "by": by, "prediction": prediction,
                "confidence": confidence, "content": json.dumps({_MARKUP: age, "b": _MARKUP}),
            }
            for point, rank, by, prediction, confidence, age in versions
        ]
    )  # fmt: skip


class _Reader(HTMLParser):
    """Finds pictures and tables that have no words for those who don't see them.

    Attributes:
        silent: the names of their elements.
    """

    def __init__(self) -> None:
        super().__init__()
        self.silent: list[str] = []
        self._described: list[bool] = []
        self._tables: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Looks at an element's own words."""
        facts = dict(attrs)
        words = bool((facts.get("aria-label") or "").strip()) or facts.get("aria-hidden") == "true"
        if tag == "svg" and not words and not any(self._described):
            self.silent.append(tag)
        if tag == "img" and not (facts.get("alt") or "").strip():
            self.silent.append(tag)
        if tag == "div":
            self._described.append(facts.get("role") == "img" and words)
        if tag == "table":
            self._tables.append(False)
        if tag == "caption" and self._tables:
            self._tables[-1] = True

    def handle_endtag(self, tag: str) -> None:
        """Looks whether a table that ends had a caption."""
        if tag == "div" and self._described:
            self._described.pop()
        if tag == "table" and self._tables and not self._tables.pop():
            self.silent.append(tag)
