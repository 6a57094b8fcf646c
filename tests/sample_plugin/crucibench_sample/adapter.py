"""``nearest:LEAN``: a model for stripes that needs no weights; LEAN moves its boundary."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.task import Modality


class NearestMean(Adapter):
    """Compares how much rows and columns vary."""

    input_spec = InputSpec(modality=Modality.IMAGE)
    capabilities = frozenset(
        {Capability.LABELS, Capability.SCORES, Capability.LOGITS, Capability.ANY_INPUT}
    )
    score_kind = "logits"

    def __init__(self, opening: Opening) -> None:
        self.task = opening.data.task
        self.lean = float(opening.uri.rest or 0)

    @classmethod
    def open(cls, opening: Opening) -> NearestMean:
        return cls(opening)

    def _predict(self, batch: Batch, want: Request) -> Answer:
        images = batch.inputs.numpy().astype(np.float64)
        across = images.mean(axis=(1, 2)).std(axis=1)
        down = images.mean(axis=(1, 3)).std(axis=1)
        lead = 20.0 * (across - down) + self.lean
        return Answer(scores=np.stack([-lead, lead], axis=1))

    def fingerprint(self) -> Mapping[str, str]:
        return {"lean": str(self.lean)}
