"""The scenarios of corruptions: one at several severities, and all of them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.columns import KnownColumns, carried, uncarried
from crucibench.contracts.corruption import Corruption, corruptions
from crucibench.contracts.evidence import Evidence, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import (
    Derived,
    MapContext,
    Mapped,
    Need,
    Selection,
    StageView,
    Work,
)
from crucibench.contracts.statistic import Number
from crucibench.passes.inputs import other_categories, read_facts
from crucibench_suites.shift.metrics import (
    OF_CORRUPTION,
    OF_GRID,
    OF_IMAGE_CORRUPTION,
    OF_IMAGE_SUMMARY,
    OF_SUMMARY,
)
from crucibench_suites.shift.names import ALEXNET, OWN, REFERENCE

if TYPE_CHECKING:
    import pandas as pd

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Corrupted(Mapped):
    """Corrupts every sample at several severities, from one set of draws, and asks about each.

    The point without a name is that of numbers over all severities.
    """

    version: ClassVar[int] = 1
    metrics: tuple[MetricInfo, ...] = OF_CORRUPTION  # type: ignore[misc]
    draws: ClassVar[Any] = "sample"
    perturbs: ClassVar[bool] = True
    any_sizes: ClassVar[bool] = True
    shows: ClassVar[bool] = True
    audits: ClassVar[tuple[str, ...]] = ("corrupted-samples",)

    @classmethod
    def of(
        cls, suite: str, corruption: Corruption, *, severities: Sequence[int], limit: int | None,
        parameter_set: str = "", needs: Sequence[Need] = (), **more: Any,
    ) -> Corrupted:  # fmt: skip
        """Returns the scenario of a corruption.

        Args:
            suite: the suite's name.
            corruption: which.
            severities: of those that it has.
            limit: at most so many samples.
            parameter_set: of its levels.
            needs: other cells than the plain pass.
            more: further parameters that give the result its meaning.
        """
        return cls(
            suite=suite,
            name=corruption.name,
            parameters={
                "source": "generated",
                "corruption": corruption.name,
                "family": corruption.family,
                "corruption_version": corruption.version,
                "parameter_set": parameter_set,
                "levels": {
                    str(severity): list(corruption.level(severity, parameter_set))
                    for severity in severities
                },
                **more,
            },
            points=("", *(corruption.point(severity) for severity in severities)),
            limit=limit,
            needs=(Need(alias="clean", cell="pass/test"), *needs),
        )

    @property
    def corruption(self) -> Corruption:
        """What is done to the samples."""
        return corruptions().get(self.name)

    @property
    def severities(self) -> tuple[int, ...]:
        """The severities, in order."""
        return tuple(int(severity) for severity in self.parameters["levels"])

    @property
    def requires(self) -> frozenset[Capability]:  # type: ignore[override]
        """The capabilities that the corruption asks of a model."""
        return self.corruption.requires | {Capability.ANY_INPUT}

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record a sample and severity."""
        from crucibench_suites.shift.asking import ask_corrupted

        return ask_corrupted(
            self.corruption, self.severities, work, context,
            parameter_set=self.parameters["parameter_set"], columns=self.known_columns(work),
        )  # fmt: skip

    def known_columns(self, work: Work) -> KnownColumns | None:
        """Returns what is known of the columns of a table."""
        return None

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns the numbers at every severity, and over all of them."""
        from crucibench_suites.shift.scoring import corrupted_numbers

        return corrupted_numbers(evidence) if len(evidence.own.samples) else []

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns a line a severity, 0 being the clean samples."""
        from crucibench_suites.shift.scoring import curve

        return curve(evidence, self, rows)

    def score(self, evidence: Evidence) -> Scored:
        """Computes how many samples are changed at all."""
        from crucibench_suites.shift.scoring import perturbed_shares

        return perturbed_shares(evidence, self) if len(evidence.own.samples) else Scored([])

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns an outcome per sample and severity, under the model's decision rule."""
        from crucibench_suites.shift.scoring import outcomes_of_corrupted

        return outcomes_of_corrupted(evidence)


@dataclass(frozen=True, kw_only=True)
class CorruptedImage(Corrupted):
    """`Corrupted` of images: distances are of pixels."""

    metrics: tuple[MetricInfo, ...] = OF_IMAGE_CORRUPTION  # type: ignore[misc]
    audits: ClassVar[tuple[str, ...]] = ("corrupted-images",)

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns the numbers at every severity, and their mean."""
        from crucibench_suites.shift.scoring import image_numbers

        return image_numbers(evidence) if len(evidence.own.samples) else []

    def score(self, evidence: Evidence) -> Scored:
        """Computes nothing beside the numbers."""
        return Scored([])


@dataclass(frozen=True, kw_only=True)
class CorruptedGrid(Corrupted):
    """Corrupts every sample at each point of a grid; a sample counts by its worst point."""

    metrics: tuple[MetricInfo, ...] = OF_GRID  # type: ignore[misc]
    draws: ClassVar[Any] = "none"
    intensive: ClassVar[bool] = True
    shows: ClassVar[bool] = False
    audits: ClassVar[tuple[str, ...]] = ("finite-images",)

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns the worst case of each sample, and each point."""
        from crucibench_suites.shift.scoring import grid_numbers

        return grid_numbers(evidence) if len(evidence.own.samples) else []

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns none: the points of a grid are in no order."""
        return {}

    def score(self, evidence: Evidence) -> Scored:
        """Computes nothing beside the numbers."""
        return Scored([])


@dataclass(frozen=True, kw_only=True)
class CorruptedTable(Corrupted):
    """`Corrupted` of tables: what their columns hold is learnt from the need ``spread``."""

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Says what the columns hold, and for each sample where other categories stand."""
        seen = view()
        n = len(seen.samples)
        records = seen.needs["spread"].records
        carry = dict(carried(read_facts(records), n))
        if self.corruption.needs == "categories":
            records = (seen.needs.get("inputs") or seen.needs["spread"]).records
            found = other_categories(records, seen.samples.ids)
            carry |= {f"others{place}": rows for place, rows in found.items()}
        return Selection(np.ones(n, dtype=np.bool_), carry)

    def known_columns(self, work: Work) -> KnownColumns:
        """Returns what `select` learnt, of a batch."""
        names = tuple(sorted(work.batch.inputs.columns))
        others = {name: work.carry.get(f"others{place}") for place, name in enumerate(names)}
        return KnownColumns(
            names=names, facts=uncarried(work.carry), protect=self.parameters["protect"],
            others={
                name: rows for name, rows in others.items() if rows is not None and rows.shape[1]
            },
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CorruptionSummary(Derived):
    """Joins the cells of the corruptions of a run, sample by sample."""

    version: ClassVar[int] = 1
    metrics: tuple[MetricInfo, ...] = OF_SUMMARY  # type: ignore[misc]
    perturbs: ClassVar[bool] = True
    any_sizes: ClassVar[bool] = True
    audits: ClassVar[tuple[str, ...]] = ("corruptions-missing",)

    @classmethod
    def of(
        cls, suite: str, cells: Sequence[Corrupted], reference: str | None = None
    ) -> CorruptionSummary:
        """Returns the scenario that joins `cells`.

        Args:
            suite: the suite's name.
            cells: of the corruptions; they are of the same samples.
            reference: a model of the run, `ALEXNET`, or None.
        """
        needs = [Need(alias="clean", cell="pass/test")]
        needs += [Need(alias=OWN + cell.name, cell=cell.address, optional=True) for cell in cells]
        if reference not in {None, ALEXNET}:
            needs.append(
                Need(alias=REFERENCE + "clean", cell="pass/test", model=reference, optional=True)
            )
            needs += [
                Need(alias=REFERENCE + cell.name, cell=cell.address, model=reference, optional=True)
                for cell in cells
            ]
        return cls(
            suite=suite,
            name="summary",
            parameters={
                "reference": reference,
                "corruptions": {cell.name: cell.parameters["family"] for cell in cells},
                "severities": list(cells[0].severities),
                "parameter_set": cells[0].parameters["parameter_set"],
                "versions": {cell.name: cell.parameters["corruption_version"] for cell in cells},
            },
            limit=cells[0].limit,
            needs=tuple(needs),
        )

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns means and worst cases over all corruptions."""
        from crucibench_suites.shift.joining import summary_numbers

        return summary_numbers(evidence)

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns a line a corruption."""
        from crucibench_suites.shift.joining import summary_table

        return summary_table(evidence, self)


@dataclass(frozen=True, kw_only=True)
class ImageSummary(CorruptionSummary):
    """`CorruptionSummary` of images, with the mean corruption error over the common corruptions."""

    metrics: tuple[MetricInfo, ...] = OF_IMAGE_SUMMARY  # type: ignore[misc]

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns means and worst cases over all corruptions, and mean corruption errors."""
        from crucibench_suites.shift.joining import image_summary_numbers

        return image_summary_numbers(evidence, self)
