"""What the registered kinds of section draw from: a run's evidence, and the page it goes on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crucibench.contracts.examples import EXAMPLES, first_of
from crucibench.contracts.section import (
    Block,
    Section,
    SectionCell,
    SectionEvidence,
    SectionKind,
    TextBlock,
)
from crucibench.contracts.verdict import Status, Verdict
from crucibench.metrics.probabilistic import softmax
from crucibench.passes.scenario import SUITE as PASS
from crucibench.report import plots
from crucibench.report.numbers import ShownMetric
from crucibench.report.page import Anchors, ModelHead

if TYPE_CHECKING:
    from crucibench.contracts.evidence import ModelInfo
    from crucibench.contracts.rows import MetricRow
    from crucibench.contracts.task import Task
    from crucibench.store.cells import CellFile
    from crucibench.store.run import Run


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
) -> PageEvidence:  # fmt: skip
    """Returns what a run holds of a suite on a data set.

    Args:
        run: the run.
        data: the data set's name.
        suite: the suite's name.
        models: all models of the page in order.
        rows: the run's metric rows.
        metrics: what the run says of metrics.
        anchors: the page's ids.
        gallery: whether samples are shown.
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
        rows=[row for row in rows if (row.data, row.address.suite) == (data, suite)],
        all_cells=[
            SectionCell(
                id=cell.cell, model=cell.model, scenario=cell.scenario, status=cell.status,
                verdict=cell.verdict, reason=cell.reason, table=partial(run.table, cell.cell),
                examples=partial(_examples, run, cell, task if gallery else None),
            )
            for cell in cells
        ],
        metrics=metrics,
        anchors=anchors,
        task=task,
    )  # fmt: skip


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
    records = run.cell_records(passes[0].cell)
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
