"""Attacks on models of several labels: any label flips, or a named one.

To an attack a sample looks like one of K + 1 classes: "as it is", with a logit of 0, or "label k
flips", with the logit -m, m being the margin by which label k is right: positive while it is. So
the class is the first as long as all labels are right, and every attack, its losses and its targets
mean what they mean of a classifier. Which labels are right depends on the sample; samples with the
same labels are attacked together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, Findings, OutcomeView, Scored
from crucibench.contracts.records import Columns, Records, to_table
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import (
    Derived,
    MapContext,
    Mapped,
    Scenario,
    Selection,
    StageView,
    Work,
)
from crucibench.contracts.statistic import Number
from crucibench.contracts.task import Task
from crucibench.tasks.multilabel.kind import MultiLabel, flags_of, judged_scores
from crucibench_suites.adversarial.attacked import Attacked, UnderAttack, by_group
from crucibench_suites.adversarial.worst_case import WorstCase

if TYPE_CHECKING:
    import torch

_CLEAN = "clean"
_SIGNS = "label_signs"
_THRESHOLDS = "label_thresholds"
_TIE = 1e-9


@dataclass(frozen=True)
class Labels:
    """The labels of some samples that share them, as attacks see them.

    Attributes:
        task: of the data.
        present: which labels they have, shape (K,).
        attacked: places of the labels whose change counts.
        thresholds: from which probability on each is predicted, shape (K,).
    """

    task: Task
    present: NDArray[np.bool_]
    attacked: tuple[int, ...]
    thresholds: NDArray[np.float64]

    def classes(self, scores: NDArray[Any], score_kind: str) -> NDArray[np.float64]:
        """Returns logits of "as it is" and of each flip, (n, attacked + 1), of scores (n, K).

        The first is the largest exactly where the decision rule gets all attacked labels right.
        """
        ranking, probabilities = judged_scores(scores, score_kind)
        decided = (ranking if probabilities is None else probabilities) >= self.thresholds
        numbers = ranking - self.offsets(score_kind)
        lead = np.where(self.present, -numbers, numbers)
        wrong = decided != self.present
        lead = np.where(wrong, np.maximum(lead, _TIE), np.minimum(lead, 0.0))
        return np.column_stack([np.zeros(len(scores)), lead[:, list(self.attacked)]])

    def offsets(self, score_kind: str) -> NDArray[np.float64]:
        """Returns the thresholds on the scale of scores, (K,)."""
        if score_kind != "logits":
            return self.thresholds
        inner = np.clip(self.thresholds, 1e-12, 1 - 1e-12)
        return np.asarray(np.log(inner) - np.log1p(-inner))


class FlipAdapter(Adapter):
    """A model of several labels as a classifier: "as it is", or "label k flips"."""

    def __init__(self, inner: Adapter, labels: Labels) -> None:
        names = tuple(f"flips {labels.task.classes[at]}" for at in labels.attacked)
        kept = {Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT,
                Capability.EMBEDDINGS, Capability.MISSING_VALUES}  # fmt: skip
        self.task = Task(
            kind="classification", modality=labels.task.modality, classes=("as it is", *names)
        )
        self.input_spec, self.device = inner.input_spec, inner.device
        self.capabilities = inner.capabilities & frozenset(kept)
        self.score_kind = "logits"
        self.remote = inner.remote  # type: ignore[misc]
        self._inner, self._labels = inner, labels
        self._module: torch.nn.Module | None = None

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        """Is never called: a scenario makes one of a model that is open."""
        raise NotImplementedError

    def _predict(self, batch: Batch, want: Request) -> Answer:
        scores = self._inner.predict(batch, frozenset({"scores"}))["scores"]
        return Answer(scores=self._labels.classes(scores, self._inner.score_kind))

    def module(self) -> torch.nn.Module:
        """Returns the map from the canonical sample to the logits of flips."""
        if self._module is None:
            from crucibench_suites.adversarial.attacks.flips import FlipModule

            offsets = self._labels.offsets(self._inner.score_kind)
            if self._inner.score_kind != "logits":
                offsets = np.log(np.maximum(offsets, 1e-30))  # the module gives their logarithms
            self._module = FlipModule(
                self._inner.module(), self._labels.present, self._labels.attacked, offsets
            )
        return self._module

    def encode(self, batch: Batch) -> torch.Tensor:
        """Returns what the model's own does."""
        return self._inner.encode(batch)

    def neighbours(self, words: Sequence[str], count: int) -> list[list[tuple[str, float]]]:
        """Returns what the model's own does."""
        return self._inner.neighbours(words, count)


@dataclass(frozen=True, kw_only=True)
class _OfLabels(Scenario):
    """Numbers of attacks on labels: those of a classifier whose class is "as it is".

    Attributes:
        inner: the scenario as it is of a classifier.
        attacked: places of the labels whose change counts.
        task: of the data.
    """

    inner: UnderAttack
    attacked: tuple[int, ...]
    task: Task

    decides: ClassVar[bool] = True
    perturbs: ClassVar[bool] = True

    @property
    def metrics(self) -> Any:  # type: ignore[override]
        """Those of the scenario."""
        return self.inner.metrics

    @property
    def audits(self) -> Any:  # type: ignore[override]
        """Those of the scenario."""
        return self.inner.audits

    @property
    def version(self) -> int:  # type: ignore[override]
        """That of the scenario."""
        return self.inner.version

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns what the scenario makes of flips."""
        return self.inner.numbers(self._seen(evidence))

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns what the scenario makes of flips."""
        return self.inner.tables(self._seen(evidence), rows)

    def score(self, evidence: Evidence) -> Scored:
        """Computes what the scenario makes of flips."""
        return self.inner.score(self._seen(evidence))

    def audit(self, evidence: Evidence) -> Findings:
        """Says what the scenario does."""
        return self.inner.audit(self._seen(evidence))

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns one outcome per sample and eps: 0 as it is, or which attacked label flips."""
        return self.inner.outcomes(self._seen(evidence))

    def _seen(self, evidence: Evidence) -> Evidence:
        def make() -> Evidence:
            own = replace(evidence.own, samples=as_it_is(evidence.own.samples))
            clean = self.answers(evidence.needs[_CLEAN])
            return replace(evidence, own=own, needs={**evidence.needs, _CLEAN: clean})

        return evidence.once("labels", make)

    def answers(self, clean: CellEvidence) -> CellEvidence:
        """Returns a plain pass whose predictions are 0 where all attacked labels are right."""
        view = MultiLabel().view(clean, self.task)
        wrong = view.wrong[:, list(self.attacked)]
        prediction = np.where(wrong.any(axis=1), 1 + wrong.argmax(axis=1), 0).astype(np.int32)
        records = Records(to_table({"id": list(view.ids), "prediction": prediction}))
        return replace(clean, records=records, samples=as_it_is(clean.samples))


def as_it_is(samples: Samples) -> Samples:
    """Returns the samples with class 0, "as it is", for target."""
    return samples.replaced(targets=np.zeros(len(samples), dtype=np.int64))


@dataclass(frozen=True, kw_only=True)
class AttackedLabels(_OfLabels, Mapped):
    """Attacks on the labels of each sample."""

    draws: ClassVar = "sample"
    intensive: ClassVar[bool] = True

    @property
    def requires(self) -> Any:  # type: ignore[override]
        """Those of the scenario."""
        return self.inner.requires

    @property
    def stages(self) -> Any:  # type: ignore[override]
        """Those of the scenario."""
        return self._attack.stages

    @property
    def most_questions(self) -> int | None:
        """Those of the scenario."""
        return self._attack.most_questions

    @property
    def _attack(self) -> Attacked:
        return cast("Attacked", self.inner)

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses as the scenario does, and says which labels each sample has."""
        seen = view()
        clean = seen.needs[_CLEAN]
        of_flips = StageView(
            as_it_is(seen.samples), {**seen.needs, _CLEAN: self.answers(clean)}, seen.earlier
        )
        chosen = self._attack.select(stage, lambda: of_flips)
        assert chosen is not None
        decision, count = clean.model.decision, len(self.task.classes)
        thresholds = decision.thresholds or (decision.threshold,) * count
        carry = {
            **chosen.carry,
            _SIGNS: flags_of(seen.samples.targets, count),
            _THRESHOLDS: np.tile(np.array(thresholds), (len(seen.samples), 1)),
        }
        return Selection(chosen.keep, carry)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns the scenario's records, samples with the same labels at a time."""
        signs = work.carry[_SIGNS].astype(np.bool_)
        sets, place = np.unique(signs, axis=0, return_inverse=True)
        place = np.asarray(place).reshape(-1)
        rows = [np.flatnonzero(place == at) for at in range(len(sets))]
        thresholds = work.carry[_THRESHOLDS]

        def flipping(at: int) -> Adapter:
            labels = Labels(self.task, sets[at], self.attacked, thresholds[rows[at][0]])
            return FlipAdapter(context.adapter, labels)

        own = {name: of for name, of in work.carry.items() if name not in {_SIGNS, _THRESHOLDS}}
        of_flips = Work(work.batch, as_it_is(work.samples), own)
        return by_group(partial(self._attack.run, stage), of_flips, context, rows, flipping)

    def probe(self, work: Work, context: MapContext) -> Mapping[str, Columns]:
        """Tests the attacks."""
        return self._attack.probe(work, context)


@dataclass(frozen=True, kw_only=True)
class WorstLabels(_OfLabels, Derived):
    """Joins attacks on labels, sample by sample."""


def on_labels(found: Scenario, task: Task, flips: str | None) -> Scenario:
    """Returns a scenario of this suite as one on several labels; one that attacks nothing as it is.

    Args:
        found: as of a classifier.
        task: of the data.
        flips: the one label whose change counts; None for any.
    """
    if not isinstance(found, UnderAttack):
        return found
    make = WorstLabels if isinstance(found, WorstCase) else AttackedLabels
    attacked = range(len(task.classes)) if flips is None else [task.classes.index(flips)]
    return make(
        suite=found.suite, name=found.name, points=found.points, role=found.role,
        parameters={**found.parameters, "flips": flips or "any label"}, limit=found.limit,
        needs=found.needs, inner=found, attacked=tuple(attacked), task=task,
    )  # fmt: skip
