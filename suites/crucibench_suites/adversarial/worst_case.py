"""The worst case of each sample over all attacks of a norm, and over norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, OutcomeView
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Records
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Number, Share
from crucibench_suites.adversarial.attacked import OneAttack, UnderAttack
from crucibench_suites.adversarial.blackbox.surrogate import SurrogateTransfer
from crucibench_suites.adversarial.metrics import ROBUST
from crucibench_suites.adversarial.scenario import AutoAttack
from crucibench_suites.adversarial.threat import point_of

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
        return evidence.once(("attacked", self.name), lambda: self._joined(evidence))

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


@dataclass(frozen=True, kw_only=True)
class AcrossNorms(Derived):
    """Joins norms: at its k-th point a sample withstands what each norm's k-th radius allows.

    Attributes:
        parts: of each norm its attacks.
    """

    parts: tuple[WorstCase, ...]

    metrics: ClassVar[tuple[MetricInfo, ...]] = (ROBUST,)
    perturbs: ClassVar[bool] = True

    @classmethod
    def of(cls, suite: str, parts: Sequence[WorstCase]) -> AcrossNorms:
        """Returns the scenario that joins `parts`, which share the samples."""
        grids = zip(*(part.threat.eps for part in parts), strict=False)
        return cls(
            suite=suite,
            name="worst-case-norms",
            parts=tuple(parts),
            parameters={part.threat.norm: dict(part.parameters) for part in parts},
            points=tuple(
                "+".join(
                    f"{part.threat.norm}{point_of(eps).removeprefix('eps')}"
                    for part, eps in zip(parts, radii, strict=True)
                )
                for radii in grids
            ),
            limit=parts[0].limit,
            needs=tuple({need.alias: need for part in parts for need in part.needs}.values()),
        )

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the share of the samples that withstand every norm, at each point."""
        if not len(evidence.own.samples):
            return []
        return [
            Number(
                metric=ROBUST.id,
                point=point,
                make=partial(Share, np.asarray(self._holds(evidence, at).all(axis=0))),
            )
            for at, point in enumerate(self.points)
        ]

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns one outcome per sample and point, as the first norm that breaks it says."""
        from crucibench_suites.adversarial.scoring import read_outcomes

        ids = evidence.own.samples.ids
        found = [read_outcomes(part.series, part.attacked(evidence)) for part in self.parts]
        taken = np.stack([one.prediction for one in found])
        predicted, correct = [], []
        for at in range(len(self.points)):
            holds = self._holds(evidence, at)
            first = taken[holds.argmin(0), np.arange(len(ids))]
            stays = holds.all(0) | ~found[0].right
            predicted.append(np.where(stays, found[0].clean, first))
            correct.append(holds.all(0))
        return OutcomeView(
            ids=np.tile(ids, len(self.points)),
            point=np.repeat(np.array(self.points, dtype=object), len(ids)),
            prediction=np.concatenate(predicted),
            score=np.full(len(ids) * len(self.points), np.nan),
            correct=np.concatenate(correct).astype(np.float64),
        )

    def _holds(self, evidence: Evidence, at: int) -> NDArray[np.bool_]:
        """Returns whether each sample withstands each norm, (norms, n)."""
        from crucibench_suites.adversarial.scoring import read_outcomes

        return np.stack(
            [read_outcomes(part.series, part.attacked(evidence)).robust(at) for part in self.parts]
        )
