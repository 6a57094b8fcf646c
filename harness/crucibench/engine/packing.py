"""Makes a pack of a run: finds out which of its columns a comparison reads, and keeps those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.evidence import DECISION, CellEvidence, Evidence
from crucibench.contracts.lists import Lists
from crucibench.contracts.records import Records
from crucibench.contracts.scenario import Scenario, Timed
from crucibench.contracts.verdict import Status
from crucibench.engine.plan.plan import make_plan
from crucibench.engine.resolve.resolve import offline
from crucibench.engine.score.score import Scorer
from crucibench.metrics.askings import numbers_of_cell
from crucibench.store.manifest import differences
from crucibench.store.pack import PackContents, write_pack
from crucibench.store.run import Run
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.libraries import package_version
from crucibench.util.names import Names


def pack_run(run: Run, path: Path, *, with_groups: bool = False) -> Path:
    """Writes the pack of a run.

    Args:
        run: a finished run.
        path: the file to write.
        with_groups: whether group columns are kept.

    Returns:
        The file.

    Raises:
        UnreadableError: if the run is not finished, or not as its manifest says.
        InputError: if it is a pack itself.
    """
    if run.packed:
        raise InputError("a pack is not packed again: copy it")
    changed = differences(run.layout)
    if changed:
        raise UnreadableError(f"run {run.id} is not as its manifest says: {changed[0]}")
    write_pack(
        run, path, compared_columns(run), package_version("crucibench"), with_groups=with_groups
    )
    return path


def compared_columns(run: Run) -> PackContents:
    """Runs what a comparison asks of every scenario, and notes which columns that reads."""
    resolved = offline(run.spec)
    scorer = Scorer(run, resolved.spec.defaults.scoring)
    read: dict[str, set[str]] = {}
    limits: dict[tuple[str, str, int], NDArray[Any]] = {}
    for cell in make_plan(resolved, run.models, run.cards):
        file = run.cells.get(cell.id)
        if file is None or file.status is not Status.OK or not _is_compared(cell.scenario):
            continue
        evidence = scorer.evidence(cell, run.cells)
        if DECISION in cell.needs:
            read.setdefault(cell.needs[DECISION], set()).update(("id", "scores"))
        watched = _watched(evidence, read)
        numbers_of_cell(cell.scenario, watched)
        cell.scenario.outcomes(watched)
        for part in (evidence.own, *evidence.needs.values()):
            own = run.cells[part.cell]
            if own.limit is not None and part.cell in read:
                whole = pd.Index(run.samples(own.data, own.role).ids)
                if own.limit < len(whole):
                    rows = whole.get_indexer(pd.Index(part.samples.ids))
                    limits[own.data, own.role, own.limit] = rows
        # A cell's own sample table is read even where its records are other cells'.
        read.setdefault(cell.id, set())
    return PackContents({cell: frozenset(columns) for cell, columns in read.items()}, limits)


def _is_compared(scenario: Scenario) -> bool:
    # Rounds pair within one run alone, and a pack is for comparing with others.
    return not isinstance(scenario, Timed) and any(
        getattr(type(scenario), name) is not getattr(Scenario, name)
        for name in ("numbers", "outcomes")
    )


def _watched(evidence: Evidence, read: dict[str, set[str]]) -> Evidence:
    def watch(part: CellEvidence) -> CellEvidence:
        first, *askings = (
            _WatchedRecords(one, part.cell, read) for one in (part.records, *part.askings)
        )
        return replace(part, records=first, askings=tuple(askings))

    needs: Mapping[str, CellEvidence] = {
        alias: watch(part) for alias, part in evidence.needs.items()
    }
    return replace(evidence, own=watch(evidence.own), needs=needs)


class _WatchedRecords(Records):
    """Records that note which columns are read of which cell."""

    def __init__(self, records: Records, cell: str, read: dict[str, set[str]]) -> None:
        self._records = records
        self._cell = cell
        self._read = read

    @property
    def table(self) -> pa.Table:
        """All of them, as an Arrow table."""
        return self._records.table

    def array(self, name: str) -> NDArray[Any]:
        """Returns a column."""
        self._read.setdefault(self._cell, set()).add(name)
        return self._records.array(name)

    def lists(self, name: str) -> Lists:
        """Returns a column of lists."""
        self._read.setdefault(self._cell, set()).add(name)
        return self._records.lists(name)

    def blocks(self, *names: str) -> Iterator[Records]:
        """Yields some columns in blocks."""
        self._read.setdefault(self._cell, set()).update(names)
        return self._records.blocks(*names)

    def at(self, point: str, draw: int | None = None) -> Records:
        """Returns the records of one point, of all its draws or of one."""
        return _WatchedRecords(self._records.at(point, draw), self._cell, self._read)

    def aligned(self, ids: NDArray[Any] | Names) -> Records:
        """Returns the records in the order of `ids`."""
        self._read.setdefault(self._cell, set()).add("id")
        return _WatchedRecords(self._records.aligned(ids), self._cell, self._read)

    def frame(self) -> pd.DataFrame:
        """Returns a DataFrame."""
        self._read.setdefault(self._cell, set()).update(self._records.table.column_names)
        return self._records.frame()
