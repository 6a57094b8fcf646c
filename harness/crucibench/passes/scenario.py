"""The engine's own scenario: a plain forward pass over a role, shared by every suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Findings, ModelInfo, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Work
from crucibench.contracts.task import Task
from crucibench.passes.audits import audit_pass
from crucibench.passes.probes import probe_pass
from crucibench.passes.repeats import FLIP_RATE, SCORE_NOISE, noise_rows

SUITE = "pass"


@dataclass(frozen=True, kw_only=True)
class Pass(Mapped):
    """Asks a model about every sample of a role, once.

    Records: ``prediction`` (class index, or value), and what was asked for of ``scores`` and
    ``features``, raw, as the adapter gives them. Its probes and audits say whether the model
    answers like a function of its input; every cell that needs the pass inherits what they find.
    """

    suite: str = SUITE

    metrics: ClassVar[tuple[MetricInfo, ...]] = (FLIP_RATE, SCORE_NOISE)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        outputs = context.adapter.predict(work.batch, context.outputs)
        columns: dict[str, Any] = {
            "id": list(work.batch.ids),
            "point": "",
            "prediction": prediction(outputs),
        }
        for name in ("scores", "features"):
            if name in context.outputs:
                columns[name] = getattr(outputs, name)
        return columns

    def probe(self, work: Work, context: MapContext) -> Mapping[str, Columns]:
        """Asks again in other company and under other normalisations."""
        return probe_pass(work, context)

    def score(self, evidence: Evidence) -> Scored:
        """Says how noisy a model is that has no fingerprint."""
        return Scored(noise_rows(evidence))

    def audit(self, evidence: Evidence) -> Findings:
        """Says whether the model answers like a function of its input."""
        return audit_pass(evidence)


def prediction(outputs: Answer) -> NDArray[Any]:
    """Returns class indices (int32), the first of equals, or values (float64); shape (N,)."""
    if outputs.values is not None:
        return outputs.values.astype(np.float64)
    if outputs.scores is not None:
        labels: NDArray[np.int32] = outputs.scores.argmax(axis=1).astype(np.int32)
        return labels
    if outputs.labels is not None:
        return outputs.labels.astype(np.int32)
    raise AssertionError("Adapter.predict lets no empty answer through")


def best_answer(task: Task, model: ModelInfo) -> frozenset[str]:
    """Returns what to ask a model for where nothing particular is needed."""
    if task.kind == "regression":
        return frozenset({"values"})
    if Capability.SCORES in model.capabilities:
        return frozenset({"scores"})
    return frozenset({"labels"})


def lacking(outputs: frozenset[str], task: Task, model: ModelInfo) -> str | None:
    """Returns which of `outputs` the model can't give, as a reason, or None."""
    needed = {"scores": Capability.SCORES, "labels": Capability.LABELS,
              "values": Capability.VALUES, "features": Capability.FEATURES}  # fmt: skip
    missing = [name for name in sorted(outputs) if needed[name] not in model.capabilities]
    if missing:
        return f"the model gives no {' and no '.join(missing)}"
    if task.kind == "regression" and Capability.VALUES not in model.capabilities:
        return "the model gives no values"
    return None
