"""Asks models in blocks of samples, in turn, and looks after each: until a judge has enough.

What was asked so far is what the run then is of: its cells are made as those of every run are, and
find the blocks on disk. A run that is killed looks again at the blocks that it has, and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ScoringOptions
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Address
from crucibench.contracts.scenario import Derived
from crucibench.contracts.statistic import Number
from crucibench.contracts.verdict import Status
from crucibench.data.evalset import InHashOrder
from crucibench.engine.collect.lifecycle import CellLifecycle
from crucibench.engine.collect.open_cell import OpenCell, stage_records
from crucibench.engine.inspect import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.metrics.askings import numbers_of_cell
from crucibench.passes.scenario import SUITE as PASS
from crucibench.store.cells import CellFile, StageFile
from crucibench.util.errors import InputError

_ASKED = f"{PASS}/test"


@dataclass(frozen=True)
class Look:
    """What was asked so far.

    Attributes:
        data: the data set.
        n: samples, of each model.
        most: samples in all.
        block: samples to a look.
        samples: those asked about.
        numbers: by address.
        infos: of their metrics, by id.
    """

    data: str
    n: int
    most: int
    block: int
    samples: Samples
    numbers: Mapping[Address, Number]
    infos: Mapping[str, MetricInfo]


class Judge(Protocol):
    """Says when enough was asked."""

    def check(self, plan: Plan) -> None:
        """Is shown what will be asked.

        Raises:
            InputError: if no look could ever decide.
        """

    def look(self, look: Look) -> bool:
        """Is shown what was asked; returns whether that is enough."""

    def write(self, root: Path) -> None:
        """Writes what the looks have shown into the run's folder."""


def check_blocks(plan: Plan) -> None:
    """Refuses what can't be asked in blocks.

    Raises:
        InputError: if there is more than one data set, or samples are asked about in other ways.
    """
    if len({cell.data.name for cell in plan}) > 1:
        raise InputError("until_decided: expected one data set")
    if any(cell.limit is not None for cell in plan):
        raise InputError("until_decided goes without a limit: the data set is the most it asks")
    other = [
        cell.scenario.suite
        for cell in plan
        if cell.scenario.suite != PASS and not isinstance(cell.scenario, Derived)
    ]
    if other:
        raise InputError(
            f"until_decided looks at plain answers alone: leave out the suite {other[0]!r}, and "
            "run it by itself"
        )


class BlockLifecycle(CellLifecycle):
    """Collects the blocks; they are scored once it is known how many there are."""

    def finish(self, cell: PlannedCell, file: CellFile, opened: OpenCell | None) -> CellFile:
        """Notes that nothing more is asked."""
        self.files[cell.id] = file
        return file


class Blocks:
    """The passes of a run's models over the role test, block by block.

    Attributes:
        plan: the passes.
        data: the data set.
    """

    def __init__(
        self, plan: Plan, lifecycle: BlockLifecycle, inspection: Inspection, judge: Judge, *,
        options: ScoringOptions, listener: Listener,
    ) -> None:  # fmt: skip
        passes = tuple(cell for cell in plan if cell.scenario.address == _ASKED)
        self.plan = Plan(passes, {})
        self.data = passes[0].data.name
        self._whole = plan
        self._lifecycle, self._judge = lifecycle, judge
        self._options, self._listener = options, listener
        evalset = inspection.data[self.data]
        assert isinstance(evalset, InHashOrder)
        self._evalset = evalset
        self._looks, self._decided = 0, False

    @property
    def _n(self) -> int:
        return min(self._looks * self._evalset.card.block, self._most)

    @property
    def _most(self) -> int:
        return self._evalset.card.counts["test"]

    def go_on(self) -> bool:
        """Looks at one block more, which is on disk; returns whether to ask for the next."""
        if self._decided or self._n == self._most or self._failed():
            return False
        self._looks += 1
        self._decided = self._judge.look(self._look())
        state = "decided" if self._decided else "undecided"
        self._listener.note(f"asked {self._n:,} of {self._most:,} samples: {state}")
        return not self._decided and self._n < self._most

    def asked(self) -> InHashOrder:
        """Returns what was asked, as a data set; one block at least, where a model failed at it."""
        while self.go_on():  # what a run left on disk that was killed after its last block
            pass
        return self._evalset.first(self._n or min(self._evalset.card.block, self._most))

    def _failed(self) -> bool:
        return any(file.status is not Status.OK for file in self._lifecycle.files.values())

    @cached_property
    def _samples(self) -> Samples:
        return self._evalset.samples("test")

    def _look(self) -> Look:
        samples = self._samples.take(np.arange(self._n))
        card = self._evalset.first(self._n).card
        numbers: dict[Address, Number] = {}
        infos: dict[str, MetricInfo] = {}
        for asked in self.plan:
            stage = StageFile(name="main", samples=self._n, shards=self._looks)
            (records,) = stage_records(self._lifecycle.layout, asked.id, [stage]).values()
            answers = CellEvidence(
                cell=asked.id, model=asked.model, role="test", records=records, samples=samples
            ).by_asking()
            for cell in derived_from(self._whole, asked):
                evidence = Evidence(
                    own=replace(
                        answers, cell=cell.id, records=Records(to_table({"id": []})), askings=()
                    ),
                    needs={
                        alias: answers for alias, other in cell.needs.items() if other == asked.id
                    },
                    data=card, options=self._options,
                )  # fmt: skip
                infos |= {info.id: info for info in cell.scenario.metrics}
                numbers |= {
                    address_of(cell, one): one for one in numbers_of_cell(cell.scenario, evidence)
                }
        block = self._evalset.card.block
        return Look(self.data, self._n, self._most, block, samples, numbers, infos)


def derived_from(plan: Plan, asked: PlannedCell) -> Iterator[PlannedCell]:
    """Yields the cells whose numbers are made of one pass alone."""
    for cell in plan:
        needed = {cell.needs.get(one.alias) for one in cell.scenario.needs if not one.optional}
        if isinstance(cell.scenario, Derived) and needed == {asked.id}:
            yield cell


def address_of(cell: PlannedCell, number: Number) -> Address:
    """Returns a number's address."""
    return Address(
        cell.model.name, cell.scenario.suite, cell.scenario.name, number.point, number.metric,
        number.group,
    )  # fmt: skip
