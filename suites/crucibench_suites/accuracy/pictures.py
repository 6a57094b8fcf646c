"""The scenario ``worst-images``: a few images with their boxes, true beside found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crucibench.contracts.data import DataCard
from crucibench.contracts.examples import EXAMPLES, MOST, framed
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Need, Selection, StageView, Work
from crucibench.contracts.task import Task
from crucibench.tasks.detection.precision import SCORE_FROM

_TRUE, _FOUND = "#0072b2", "#d55e00"


@dataclass(frozen=True, kw_only=True)
class WorstImages(Mapped):
    """Asks again about the images of which the least was found, and keeps them with boxes drawn.

    Attributes:
        task: of the data.
    """

    task: Task

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = ()
    shows: ClassVar[bool] = True

    @classmethod
    def of(cls, suite: str, data: DataCard) -> WorstImages:
        """Returns the scenario of a data set."""
        needs = (Need(alias="clean", cell="pass/test"),)
        return cls(suite=suite, name="worst-images", needs=needs, task=data.task)

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses the images with the least quality; of equals those with the first ids."""
        seen, kind = view(), self.task.definition
        quality = kind.quality(kind.view(seen.needs["clean"], self.task, seen.samples.ids))
        order = np.lexsort((seen.samples.ids.astype(str), quality))
        keep = np.zeros(len(quality), dtype=np.bool_)
        keep[order[:MOST]] = True
        return Selection(keep, {"quality": quality})

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns each image's quality; keeps two pictures of it."""
        kind, targets = self.task.definition, work.samples.targets
        want = frozenset({kind.best_answer(context.adapter.capabilities)})
        answer = context.adapter.predict(work.batch, want)
        lines: list[dict[str, Any]] = []
        for row, identity in enumerate(work.batch.ids):
            here = np.array([row])
            boxes, labels, scores = (answer.lists(name)[here].values for name in
                                     ("boxes", "labels", "scores"))  # fmt: skip
            shown, truth = scores >= SCORE_FROM, targets[here].values
            true = np.column_stack([truth[:, :2], truth[:, :2] + truth[:, 2:4]])
            pixels, stored = work.batch.inputs[row].cpu().numpy(), work.batch.stored[row]
            for rank, (frames, named, colour) in enumerate(
                ((true, truth[:, 4], _TRUE), (boxes[shown], labels[shown], _FOUND))
            ):
                lines.append({
                    "id": identity, "point": ("true", "found")[rank], "rank": np.int32(rank),
                    "key": np.float32(work.carry["quality"][row]), "wrong": False,
                    "by": self._counted(named), "target": np.nan, "prediction": np.nan,
                    "score": float(work.carry["quality"][row]),
                    "content": framed(pixels, frames, stored, colour), "change": b"",
                    "factor": np.nan,
                })  # fmt: skip
        if lines:
            work.keep(EXAMPLES, {name: _column([line[name] for line in lines])
                                 for name in lines[0]})  # fmt: skip
        return {"id": list(work.batch.ids), "prediction": work.carry["quality"]}

    def _counted(self, labels: Any) -> str:
        """Returns how many objects of each class there are, in words."""
        counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(self.task.classes))
        named = [f"{counts[at]} {name}" for at, name in enumerate(self.task.classes) if counts[at]]
        return ", ".join(named) or "nothing"


def _column(values: list[Any]) -> Any:
    return values if isinstance(values[0], str | bytes) else np.array(values)
