"""The engine's own scenario: a plain forward pass over a role, shared by every suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, ModelInfo, Scored
from crucibench.contracts.lists import Column, joined
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Work
from crucibench.contracts.task import Task
from crucibench.passes.probes import probe_pass
from crucibench.passes.repeats import FLIP_RATE, SCORE_NOISE, noise_rows

SUITE = "pass"


@dataclass(frozen=True, kw_only=True)
class Pass(Mapped):
    """Asks a model about every sample of a role, once, or as often as its spec's ``repeat`` says.

    Records: ``prediction`` (class index, or value), and what was asked for of ``scores`` and
    ``features``, raw, as the adapter gives them; of several askings also ``draw``. Its probes and
    audits say whether the model answers like a function of its input; every cell that needs the
    pass inherits what they find.

    Attributes:
        repeat: how often it asks.
    """

    suite: str = SUITE
    repeat: int = 1

    metrics: ClassVar[tuple[MetricInfo, ...]] = (FLIP_RATE, SCORE_NOISE)
    audits: ClassVar[tuple[str, ...]] = (
        "mapping-errors", "repeated-answers", "scores-as-declared", "input-range", "askings",
    )  # fmt: skip

    @classmethod
    def of(cls, role: str, model: ModelInfo) -> Pass:
        """Returns the pass of a model over a role."""
        parameters = {"repeat": model.repeat} if model.repeat > 1 else {}
        return cls(name=role, role=role, repeat=model.repeat, parameters=parameters)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample and asking."""
        asked = [
            self._ask(replace(work, batch=replace(work.batch, draw=draw)), context)
            for draw in range(self.repeat)
        ]
        columns = {name: joined([one[name] for one in asked]) for name in asked[0]}
        if self.repeat > 1:
            columns["draw"] = np.repeat(np.arange(self.repeat), len(work.batch))
        return {"id": list(work.batch.ids) * self.repeat, "point": "", **columns}

    def _ask(self, work: Work, context: MapContext) -> dict[str, Column]:
        outputs = context.adapter.predict(work.batch, context.outputs)
        kind = context.adapter.task.definition
        columns: dict[str, Column] = {
            "prediction": kind.prediction(outputs),
            **kind.judged(outputs, work.samples.targets, context.adapter.score_kind),
        }
        # Labels and values are the prediction itself.
        for name in sorted(context.outputs - {"labels", "values"}):
            if (column := outputs.column(name)) is not None:
                columns[name] = column
        return columns

    def probe(self, work: Work, context: MapContext) -> Mapping[str, Columns]:
        """Asks again in other company, and with changes of the inputs undone."""
        probes = probe_pass(work, context)
        if Capability.ANY_INPUT not in context.adapter.capabilities:
            return probes
        from crucibench.passes.mapping.undone import PROBE, probe_undone  # it imports SciPy

        undone = probe_undone(work, context)
        return {**probes, PROBE: undone} if undone else probes

    def score(self, evidence: Evidence) -> Scored:
        """Says how noisy a model is that has no fingerprint."""
        return Scored(noise_rows(evidence))


def best_answer(task: Task, model: ModelInfo) -> frozenset[str]:
    """Returns what to ask a model for where nothing particular is needed."""
    return frozenset({task.definition.best_answer(model.capabilities)})


def lacking(outputs: frozenset[str], task: Task, model: ModelInfo) -> str | None:
    """Returns which of `outputs` the model can't give, as a reason, or None."""
    asked = outputs or best_answer(task, model)
    missing = sorted(asked - model.capabilities)
    return f"the model gives no {' and no '.join(missing)}" if missing else None
