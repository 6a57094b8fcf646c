"""A run in parts, on machines that share nothing: which part does what.

Whatever can be split is split by shards: cells of one stage that need no other. Cells with several
stages, or with needs, are done whole by one part, which then collects what they need as well; the
models of a timed scenario stay together. Nothing is scored before the parts are merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crucibench.contracts.scenario import Derived, Mapped
from crucibench.contracts.verdict import Status
from crucibench.engine.collect.cell_work import CellWork, total_cost
from crucibench.engine.collect.cells import Cells
from crucibench.engine.options import Part
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.store.cells import CellFile
from crucibench.util.atomic import write_json


@dataclass(frozen=True)
class Assigned:
    """What one part does.

    Attributes:
        plan: its cells.
        split: those of which it does some shards alone.
    """

    plan: Plan
    split: frozenset[str]


def assign(plan: Plan, part: Part) -> Assigned:
    """Returns what a part does: with all parts together, everything, at least once."""
    cells = {cell.id: cell for cell in plan}
    whole: set[str] = set()
    turn = 0
    for cohort in plan.cohorts():
        if _splittable(cohort[0]) or isinstance(cohort[0].scenario, Derived):
            continue
        if turn % part.of == part.number - 1:
            for cell in cohort:
                _add_with_needs(cell, cells, whole)
        turn += 1
    split = {cell.id for cell in plan if _splittable(cell)} - whole
    mine = tuple(cell for cell in plan if cell.id in whole | split)
    return Assigned(Plan(mine, plan.not_applicable), frozenset(split))


def _add_with_needs(cell: PlannedCell, cells: Mapping[str, PlannedCell], found: set[str]) -> None:
    if cell.id not in found:
        found.add(cell.id)
        for other in cell.needs.values():
            _add_with_needs(cells[other], cells, found)


def _splittable(cell: PlannedCell) -> bool:
    scenario = cell.scenario
    return (
        isinstance(scenario, Mapped)
        and len(scenario.stages) == 1
        and not cell.needs
        # Its parts could be answered by two models, and nobody could tell.
        and cell.model.fingerprint is not None
    )


class PartCells(Cells):
    """The cells of one part: collected, and kept account of; scored when all are merged."""

    part: Part
    split: frozenset[str] = frozenset()

    def of_part(self, part: Part, split: frozenset[str]) -> PartCells:
        """Says which part it is, and which cells it does only some shards of."""
        self.part, self.split = part, split
        self.entries: dict[str, dict[str, Any]] = {}
        return self

    def work(self, cell: PlannedCell, file: CellFile) -> CellWork | CellFile:
        """Returns what this part is to ask."""
        if cell.id not in self.split:
            return super().work(cell, file)
        self.vouched(cell, file)
        return self.new_work(cell, file, lambda shard: self.part.has(cell, shard))

    def finish(self, cell: PlannedCell, file: CellFile, work: CellWork | None) -> CellFile:
        """Keeps account of what was collected of a cell."""
        if file.status is Status.OK:
            file = self.complete(cell, file, work)
        journal = self.journals.get(cell.id)
        self.files[cell.id], self.rows[cell.id] = file, []
        if isinstance(cell.scenario, Derived):
            return file  # derived again when the parts are merged
        self.entries[cell.id] = {
            "file": file.model_dump(mode="json"),
            "whole": cell.id not in self.split,
            "files": {} if journal is None else dict(journal.files),
            "cost": {} if journal is None else total_cost(journal, cached=False),
        }
        return file

    def write(self, run_id: str, plan: Plan) -> None:
        """Writes the account of the part: every cell of the run's plan, done here or not."""
        for cell in plan:
            if cell.id not in self.entries:
                planned = self.planned.file(cell).model_dump(mode="json")
                self.entries[cell.id] = {"file": planned, "whole": False}
        account = {"part": self.part.number, "of": self.part.of, "run": run_id}
        write_json(self.layout.part, {**account, "cells": self.entries})
