"""The scenario ``other-ious``: detections held against objects at IoU thresholds of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Number, RowMetric

if TYPE_CHECKING:
    from crucibench.tasks.detection.kind import Detection

AT_IOU = MetricInfo(
    id="detection-ap-at-ious", name="AP at declared IoUs", direction="higher", lower=0.0, upper=1.0,
    source="Lin et al., Microsoft COCO, ECCV 2014; pycocotools",
    definition="Precision interpolated at 101 recalls, its mean over classes that have objects and "
    "over the IoU thresholds that the parameters name, or at the one that the point names.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OtherIous(Derived):
    """AP at IoU thresholds of the user's, from the boxes of the plain pass.

    Attributes:
        ious: ascending.
    """

    ious: tuple[float, ...]

    metrics: ClassVar[tuple[MetricInfo, ...]] = (AT_IOU,)

    @classmethod
    def of(cls, suite: str, ious: Sequence[float]) -> OtherIous:
        """Returns the scenario of some thresholds."""
        grid = tuple(sorted(ious))
        return cls(
            suite=suite, name="other-ious", needs=(Need(alias="test", cell="pass/test"),),
            ious=grid, points=("", *map(_point, grid)), parameters={"ious": list(grid)},
        )  # fmt: skip

    def derive(self, evidence: Evidence) -> Columns:
        """Returns ``matches`` and ``objects``, as passes have them, at these thresholds."""
        kind: Detection = evidence.task.definition  # type: ignore[assignment]
        return kind.held_at(evidence.needs["test"], self.ious)

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns AP over all thresholds, and at each."""
        from crucibench.tasks.detection.metrics import resampled
        from crucibench.tasks.detection.precision import (
            DetectionView,
            average_precision,
        )

        ids = evidence.own.samples.ids
        records = evidence.own.records.aligned(ids)
        view = DetectionView(
            ids, evidence.task.classes, records.lists("matches"), records.lists("objects"),
            len(self.ious),
        )  # fmt: skip

        def made(at: Sequence[int] | None) -> RowMetric:
            statistic = average_precision(view, thresholds=at)
            return resampled(statistic, "corrected", view.shares)

        reason = view.undefined("all")
        each = [(_point(iou), [at]) for at, iou in enumerate(self.ious)]
        return [
            Number(
                metric=AT_IOU.id, point=point, undefined=reason,
                make=None if reason else partial(made, at),
            )
            for point, at in (("", None), *each)
        ]  # fmt: skip


def _point(iou: float) -> str:
    return f"iou={iou:g}"
