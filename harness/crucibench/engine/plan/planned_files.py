"""The file of each cell as the plan alone gives it: digests, comparison fields, skips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crucibench.contracts.scenario import Timed
from crucibench.contracts.verdict import Status
from crucibench.engine.plan.cell_files import planned_file
from crucibench.engine.plan.identity import (
    comparison_fields,
    identity_fields,
    meaning,
    numerics_fields,
)
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.store.cells import CellFile, Digest
from crucibench.util.hashing import data_digest

Ids = Callable[[str, str, int | None], str]
"""(data, role, limit) to the digest of the ids that are asked about."""


class PlannedFiles:
    """Makes the files of a plan's cells."""

    def __init__(self, plan: Plan, seed: int, environment: Mapping[str, Any], ids: Ids) -> None:
        self._cells = {cell.id: cell for cell in plan}
        self._seed = seed
        self._environment = environment
        self._ids = ids
        self._digests: dict[tuple[str, str, int | None], str] = {}
        self._identities: dict[str, dict[str, Any]] = {}
        self._numerics: dict[str, str] = {}

    def file(self, cell: PlannedCell) -> CellFile:
        """Returns the file of a cell that is to be collected, or skipped."""
        ids = self._ids_digest(cell)
        return planned_file(
            cell, status=Status.SKIPPED if cell.skip else Status.OK, reason=cell.skip,
            ids_digest=ids,
            comparison=comparison_fields(cell, self._seed, ids, self._environment),
            identity=Digest.of(self._identity(cell)),
            numerics=Digest.of(numerics_fields(cell, self._environment)),
        )  # fmt: skip

    def meaning(self, cell: PlannedCell) -> str | None:
        """Returns what names the cell's records across runs; None where nobody can tell.

        That is so for models without a fingerprint, for timings, and for whatever needs them.
        """
        needed = [self._cells[other] for other in cell.needs.values()]
        if (
            cell.model.fingerprint is None
            or isinstance(cell.scenario, Timed)
            or any(self.meaning(other) is None for other in needed)
        ):
            return None
        return meaning(self._identity(cell))

    def numerics(self, cell: PlannedCell) -> str:
        """Returns the digest of what moves the floats of a cell's records, or of what it needs."""
        if cell.id not in self._numerics:
            needs = {
                alias: self.numerics(self._cells[other]) for alias, other in cell.needs.items()
            }
            own = numerics_fields(cell, self._environment)
            self._numerics[cell.id] = data_digest({**own, "needs": needs})
        return self._numerics[cell.id]

    def _identity(self, cell: PlannedCell) -> dict[str, Any]:
        if cell.id not in self._identities:
            needs = {
                alias: meaning(self._identity(self._cells[other]))
                for alias, other in cell.needs.items()
            }
            self._identities[cell.id] = identity_fields(cell, self._seed, needs)
        return self._identities[cell.id]

    def _ids_digest(self, cell: PlannedCell) -> str:
        if cell.scenario.role not in cell.data.counts:
            return ""
        key = (cell.data.name, cell.scenario.role, cell.limit)
        if key not in self._digests:
            self._digests[key] = self._ids(*key)
        return self._digests[key]


def needs_failed(cell: PlannedCell, files: Mapping[str, CellFile]) -> str:
    """Returns why a cell can't be had: what it needs has failed; or ""."""
    for need in cell.scenario.needs:
        other = cell.needs.get(need.alias)
        if other is None or need.optional:
            continue
        if files[other].status is Status.FAILED:
            return f"it needs {need.cell}, which failed: {files[other].reason}"
    return ""
