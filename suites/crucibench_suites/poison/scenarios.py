"""The scenarios: a trigger in every image, and models trained on flipped labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, MapContext, Mapped, Need, Work
from crucibench.contracts.statistic import Number
from crucibench.contracts.suite import NamedFile
from crucibench.metrics.numbers import numbers_of
from crucibench_suites.poison import metrics
from crucibench_suites.poison.metrics import Compared, Triggered
from crucibench_suites.poison.triggers import Trigger


@dataclass(frozen=True, kw_only=True)
class WithTrigger(Mapped):
    """Puts a trigger into every image and asks again.

    Attributes:
        trigger: what is put in.
        file: the picture, where the trigger names one.
    """

    suite: str = "poison"
    trigger: Trigger
    file: NamedFile | None = None
    needs: tuple[Need, ...] = (Need(alias="clean", cell="pass/test"),)

    metrics: ClassVar[tuple[MetricInfo, ...]] = tuple(one.info for one in metrics.OF_TRIGGER)
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.ANY_INPUT})
    perturbs: ClassVar[bool] = True
    audits: ClassVar[tuple[str, ...]] = ("trigger",)
    headline_metrics: ClassVar[tuple[str, ...]] = ("trigger-success",)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        adapter, images = context.adapter, work.batch.inputs
        path: Path | None = None if self.file is None else self.file.path
        altered = self.trigger.applied(images, path)
        kind = adapter.task.definition
        asked = kind.best_answer(adapter.capabilities)
        answer = adapter.predict(work.batch.with_inputs(altered), frozenset({asked}))
        changed = (altered - images).abs().flatten(1).amax(dim=1)
        return {
            "id": list(work.batch.ids),
            "change": changed.cpu().numpy(),
            **kind.outcome_columns(answer, work.samples.targets, adapter.score_kind),
        }

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns how often the trigger steers the model."""
        return numbers_of(metrics.OF_TRIGGER, triggered(evidence, self.trigger))


def triggered(evidence: Evidence, trigger: Trigger) -> Triggered:
    """Returns the answers with the trigger and without."""
    task, own = evidence.task, evidence.own
    ids, target = own.samples.ids, task.classes.index(trigger.target)
    records = own.records.aligned(ids)
    columns = {name: records.array(name) for name in ("prediction", "score", "loss")}
    predictions = task.definition.view_of_outcomes(columns, own, task).predictions
    clean = task.definition.view(evidence.needs["clean"], task, ids)
    targets = clean.targets
    return Triggered(
        predictions == target, clean.predictions == target, targets != target,
        predictions == targets,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FlippedLabels(Derived):
    """What a model lost that was trained on partly flipped labels.

    Where trainings of one recipe are judged, each on its own share of flipped labels, the recipe's
    numbers say what the next training loses.

    Attributes:
        share: of labels flipped in the model's training.
    """

    suite: str = "poison"
    name: str = "flipped-labels"
    share: float

    metrics: ClassVar[tuple[MetricInfo, ...]] = tuple(one.info for one in metrics.OF_FLIPS)

    @classmethod
    def of(cls, shares: Mapping[str, float], model: str) -> FlippedLabels:
        """Returns a model's scenario, given the shares of flipped labels by model."""
        needs = [
            Need(alias=f"clean/{name}", cell="pass/test", model=name)
            for name, share in shares.items()
            if not share
        ]
        return cls(
            share=shares[model], needs=(Need(alias="own", cell="pass/test"), *needs),
            parameters={"flipped": dict(shares)},
        )  # fmt: skip

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the accuracy lost."""
        ids = evidence.needs["own"].samples.ids

        def right(cell: CellEvidence) -> np.ndarray:
            found: np.ndarray = evidence.task.definition.view(cell, evidence.task, ids).correct
            return found

        clean = [right(cell) for alias, cell in evidence.needs.items() if alias != "own"]
        view = Compared(right(evidence.needs["own"]), np.mean(clean, axis=0), self.share)
        return numbers_of(metrics.OF_FLIPS, view)
