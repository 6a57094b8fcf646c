"""The scenario that records what drift tests need of the inputs; it asks the model nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Work


@dataclass(frozen=True, kw_only=True)
class Inputs(Mapped):
    """Records a table's numbers and hashes of its categories; statistics of images and texts.

    An image is seen as the model gets it: resized, in the model's channels.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = ()

    @classmethod
    def of(cls, suite: str, role: str, limit: int | None = None) -> Inputs:
        """Returns the scenario of a role, of at most `limit` samples."""
        return cls(suite=suite, name=f"inputs/{role.rpartition('/')[2]}", role=role, limit=limit)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record a sample."""
        from crucibench_suites.shift.input_statistics import input_columns

        columns: dict[str, Any] = {"id": list(work.batch.ids), "point": ""}
        return columns | input_columns(work.batch.inputs)
