"""The report's parts as suites declare them: each is drawn by a registered kind of section.

Kinds draw from the evidence of a suite on a data set, and from the tables that its cells stored.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.examples import EXAMPLES, first_of
from crucibench.contracts.records import Records
from crucibench.contracts.rows import MetricRow
from crucibench.contracts.section import (
    Block,
    PlotBlock,
    Section,
    SectionCell,
    SectionEvidence,
    SectionKind,
    TableBlock,
    TextBlock,
)
from crucibench.contracts.task import Task
from crucibench.contracts.verdict import Status, Verdict
from crucibench.metrics.probabilistic import softmax
from crucibench.passes.scenario import SUITE as PASS
from crucibench.report import plots
from crucibench.report.format import embedded, listed, show_plain
from crucibench.report.numbers import ShownMetric
from crucibench.report.page import (
    Anchors,
    Download,
    Figure,
    FilledSection,
    ModelHead,
    PlainTable,
    Text,
)
from crucibench.store.cells import CellFile
from crucibench.store.layout import slug
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.registry import Catalogue
from crucibench.util.text import visible

ComparedTables: TypeAlias = Mapping[str, Mapping[str, pd.DataFrame]]
"""Tables that say what changed against a baseline, by cell and name."""


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


@dataclass(frozen=True, kw_only=True)
class PageEvidence(SectionEvidence):
    """What a suite found on one data set, and the page that shows it.

    A model's place among `models` is its colour.

    Attributes:
        metrics: what the run says of metrics, by suite and id.
        anchors: the page's ids.
        task: of the data set; None where the run has no card of it.
    """

    metrics: Mapping[tuple[str, str], ShownMetric]
    anchors: Anchors
    task: Task | None

    def absent(self) -> list[tuple[str, str, str]]:
        """Returns model, scenario and reason of each cell that did not end well."""
        return [
            (cell.model, cell.scenario, f"{cell.status}: {cell.reason}")
            for cell in self.all_cells
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

    def href(self, metric: ShownMetric) -> str:
        """Returns the anchor of a metric's definition."""
        return self.anchors("metric", metric.suite, metric.id)


class MissingColumnsError(Exception):
    """A stored table lacks columns that a section draws."""


class PageSection(SectionKind):
    """A kind that draws with the page's own blocks, which have templates."""

    def blocks(self, section: Section, evidence: SectionEvidence) -> Sequence[Block]:
        """Draws a section of the report's page."""
        if not isinstance(evidence, PageEvidence):
            raise TypeError(f"{self.name}: expected a PageEvidence, got {type(evidence).__name__}")
        try:
            return self.draw(section, evidence)
        except MissingColumnsError as error:
            return [TextBlock(text=str(error))]

    @abstractmethod
    def draw(self, section: Section, evidence: PageEvidence) -> Sequence[Block]:
        """Returns the section's blocks."""


def evidence_of(
    run: Run, data: str, suite: str, *, models: Sequence[str], rows: Sequence[MetricRow],
    metrics: Mapping[tuple[str, str], ShownMetric], anchors: Anchors, gallery: bool,
    compared: ComparedTables,
) -> PageEvidence:  # fmt: skip
    """Returns what a run holds of a suite on a data set.

    Args:
        run: the run.
        data: the data set's name.
        suite: the suite's name.
        models: all models of the page in order.
        rows: the suite's metric rows on the data set.
        metrics: what the run says of metrics.
        anchors: the page's ids.
        gallery: whether samples are shown.
        compared: tables that stand in place of those stored.
    """
    order = {name: place for place, name in enumerate(models)}
    cells = [cell for cell in run.cells.values() if (cell.suite, cell.data) == (suite, data)]
    cells.sort(key=lambda cell: (cell.scenario, order.get(cell.model, 0)))
    card = run.cards.get(data)
    task = None if card is None else card.task
    return PageEvidence(
        data=data,
        suite=suite,
        models=models,
        rows=rows,
        all_cells=[
            SectionCell(
                id=cell.cell, model=cell.model, scenario=cell.scenario, status=cell.status,
                verdict=cell.verdict, reason=cell.reason,
                table=partial(_table, run, cell.cell, compared.get(cell.cell, {})),
                examples=partial(_examples, run, cell, task if gallery else None),
            )
            for cell in cells
        ],
        metrics=metrics,
        anchors=anchors,
        task=task,
    )  # fmt: skip


def _table(
    run: Run, cell: str, compared: Mapping[str, pd.DataFrame], name: str
) -> pd.DataFrame | None:  # fmt: skip
    return compared[name] if name in compared else run.table(cell, name)


def _examples(run: Run, cell: CellFile, task: Task | None) -> pd.DataFrame | None:
    """Returns the rows of the samples that a cell kept, with what was decided in each."""
    info = run.models.get((cell.model, cell.data))
    if task is None or info is None or cell.status is not Status.OK:
        return None
    records = run.artifacts(cell.cell, cell.outputs).get(EXAMPLES)
    if records is None:
        return None
    frame = first_of(records.frame())
    if task.definition.list_targets:
        return frame
    clean = frame["point"] == ""
    answers = _plain_answers(run, cell, list(frame.loc[clean, "id"]), info)
    for name, values in answers.items():
        frame.loc[clean, name] = values
    frame["prediction"], frame["confidence"] = _decided(frame, task, info)
    return frame


def _plain_answers(run: Run, cell: CellFile, ids: Sequence[str], info: ModelInfo) -> dict[str, Any]:
    """Returns what the plain pass says of samples, as `crucibench.contracts.examples` has it."""
    passes = [
        other
        for need in cell.needs.values()
        if (other := run.cells.get(need)) is not None
        and (other.suite, other.role, other.model) == (PASS, cell.role, cell.model)
    ]
    if not passes:
        return {}
    records = _records(run, passes[0].cell)
    rows = pd.Index(records.ids).get_indexer(pd.Index(ids))
    if (rows < 0).any():
        return {}
    answers = {"prediction": records.array("prediction")[rows].astype(np.float64)}
    if "scores" in records:
        scores = records.array("scores")[rows].astype(np.float64)
        chances = softmax(scores) if info.score_kind == "logits" else scores
        predicted = answers["prediction"].astype(np.int64)
        binary = chances.shape[1] == 2
        answers["score"] = chances[:, 1] if binary else chances[np.arange(len(rows)), predicted]
    return answers


@lru_cache(maxsize=4)
def _records(run: Run, cell: str) -> Records:
    return run.cell_records(cell).of_draw()  # of a pass, for each corruption of a few models


def _decided(frame: pd.DataFrame, task: Task, info: ModelInfo) -> tuple[Any, Any]:
    """Returns class (or value) and confidence of each row, by the model's decision rule."""
    predicted, score = frame["prediction"].to_numpy(), frame["score"].to_numpy()
    if not task.binary:
        return predicted, score
    rule = info.decision
    positive = score if rule.positive == 1 else 1.0 - score
    decided = np.where(positive >= rule.threshold, rule.positive, 1 - rule.positive)
    predicted = np.where(np.isfinite(score), decided, predicted)
    return predicted, np.where(predicted == rule.positive, positive, 1.0 - positive)


MOST_ROWS = 60
"""How many rows of a table are shown; its download has more."""

OPEN_ROWS = 14
"""Tables with more rows are folded."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One cell's table, or the part of it that one line or panel shows.

    Attributes:
        cell: the cell.
        frame: its table.
        head: the model's.
        key: no other part of the page has it.
        extra: what distinguishes it from others of its model: the scenario, values of text columns.
        within: the same, without the scenario.
    """

    cell: SectionCell
    frame: pd.DataFrame
    head: ModelHead
    key: str
    extra: str = ""
    within: str = ""


def stored_tables(section: Section, evidence: PageEvidence, *needed: str) -> list[Stored]:
    """Returns the section's table of each cell that ended well and has one.

    Raises:
        MissingColumnsError: if a table lacks one of the `needed` columns.
    """
    several = len({cell.scenario for cell in evidence.cells(section.scenario)}) > 1
    found = []
    for cell, frame in evidence.tables(section):
        missing = set(needed) - set(frame.columns)
        if missing:
            raise MissingColumnsError(
                f"The table {section.table!r} has no column {listed(sorted(missing))}."
            )
        extra = cell.scenario if several else ""
        key = evidence.anchors("plot", cell.id, section.table, section.title)
        head = evidence.head(cell.model, cell.verdict, extra)
        found.append(Stored(cell=cell, frame=frame, head=head, key=key, extra=extra))
    return found


def split_by_text(stored: Stored, evidence: PageEvidence) -> list[Stored]:
    """Splits a table by its text columns: each combination is a line or panel of its own."""
    frame = stored.frame
    keys = [
        name for name in frame.columns
        if not pd.api.types.is_numeric_dtype(frame[name]) and frame[name].notna().any()
    ]  # fmt: skip
    if not keys:
        return [stored]
    parts = []
    for values, part in frame.groupby([frame[key].fillna("") for key in keys], sort=False):
        within = " ".join(str(value) for value in values if str(value))
        extra = f"{stored.extra} {within}".strip()
        parts.append(
            Stored(
                cell=stored.cell,
                frame=part,
                head=evidence.head(stored.cell.model, stored.cell.verdict, extra),
                key=evidence.anchors("part", stored.key, *(str(value) for value in values)),
                extra=extra,
                within=within,
            )
        )
    return parts


def download(section: Section, stored: Stored) -> Download:
    """Returns a table as a file to keep."""
    columns = [str(name) for name in stored.frame.columns]
    rows = stored.frame.head(5000).itertuples(index=False, name=None)
    name = file_name(stored.cell.id, section.table or "table")
    return Download(href=embedded(columns, rows), name=name)


def file_name(*parts: str) -> str:
    """Returns a file name made of these parts."""
    return "-".join(slug(part) for part in parts if part) + ".csv"


def text_of(value: Any) -> Text:
    """Returns a value as text."""
    if isinstance(value, bool | np.bool_):
        return Text(text="yes" if value else "no")
    if isinstance(value, int | float | np.number):
        return Text(text=show_plain(float(value)), numeric=True)
    return Text(text="" if value is None else str(value))


def words(name: str) -> str:
    """Returns the name of a column as words."""
    return name.replace("_", " ")
