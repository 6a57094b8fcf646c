"""The worst case of each sample over all attacks of a norm, supplied inputs among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.records import Records
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.adversarial.attacked import OneAttack, UnderAttack
from crucibench_suites.adversarial.blackbox.surrogate import SurrogateTransfer
from crucibench_suites.adversarial.scenario import AutoAttack

if TYPE_CHECKING:
    from crucibench_suites.adversarial.scoring import Series

_CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class WorstCase(UnderAttack, Derived):
    """Joins the cells of several attacks, sample by sample: a mean of minima.

    Attributes:
        attacks: cells, by name, with the attacks of each.
        gradients: those of the cells whose attacks follow the model's own gradients.
        surrogates: those that ask about another model's examples, with that model's name.
    """

    attacks: tuple[tuple[str, tuple[str, ...]], ...]
    gradients: tuple[str, ...] = ()
    surrogates: tuple[tuple[str, str], ...] = ()

    audits: ClassVar[tuple[str, ...]] = ("surrogate-examples",)

    @classmethod
    def of(cls, suite: str, cells: Sequence[AutoAttack | OneAttack]) -> WorstCase:
        """Returns the scenario that joins `cells`, which share norm, eps and samples."""
        threat = cells[0].threat
        return cls(
            suite=suite,
            name=f"worst-case-{threat.norm}",
            threat=threat,
            attacks=tuple((cell.name, tuple(cell.series.stages)) for cell in cells),
            gradients=tuple(
                cell.name
                for cell in cells
                if Capability.GRADIENTS in cell.requires and cell.threat.access == "white-box"
            ),
            surrogates=tuple(
                (cell.name, cell.surrogate) for cell in cells if isinstance(cell, SurrogateTransfer)
            ),
            parameters={"of": {cell.name: dict(cell.parameters) for cell in cells}},
            points=cells[0].points,
            limit=cells[0].limit,
            needs=(
                Need(alias=_CLEAN, cell="pass/test"),
                *(Need(alias=cell.name, cell=cell.address) for cell in cells),
            ),
        )

    @property
    def series(self) -> Series:
        """Every attack of every cell."""
        from crucibench_suites.adversarial.scoring import Series

        steps = tuple(f"{name}/{one}" for name, attacks in self.attacks for one in attacks)
        return Series(self.threat, steps)

    def attacked(self, evidence: Evidence) -> Evidence:
        """Returns evidence in which the records of all attacks are the cell's own, made once."""
        return evidence.once("attacked", lambda: self._joined(evidence))

    def _joined(self, evidence: Evidence) -> Evidence:
        tables = []
        for name, _ in self.attacks:
            records = evidence.needs[name].records
            if not len(records):
                continue
            named = pa.array([f"{name}/{attack}" for attack in records.array("attack")])
            table = records.table
            tables.append(table.set_column(table.column_names.index("attack"), "attack", named))
        if not tables:
            return evidence
        shared = [
            name for name in tables[0].column_names
            if all(name in table.column_names for table in tables)
        ]  # fmt: skip
        joined = pa.concat_tables([table.select(shared) for table in tables])
        return replace(evidence, own=replace(evidence.own, records=Records(joined)))
