"""ODIN: MSP at a high temperature, after a step towards confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from crucibench.contracts.capability import Capability
from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score

TEMPERATURE = 1000.0
SIZES = (0.0, 0.0014, 0.0028)


class ODIN(Detector):
    """Out-of-distribution detector for neural networks."""

    name: ClassVar[str] = "odin"
    title: ClassVar[str] = "ODIN"
    definition: ClassVar[str] = (
        "Minus the highest probability of softmax(logits / 1000) after a step of eps, in canonical "
        "pixels, against the sign of the gradient of the predicted class's log loss."
    )
    source: ClassVar[str] = "Liang, Li and Srikant, ICLR 2018"
    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SCORES, Capability.LOGITS, Capability.GRADIENTS, Capability.ANY_INPUT}
    )
    setting: ClassVar[str] = "eps"
    values: ClassVar[tuple[float, ...]] = SIZES
    default: ClassVar[float] = 0.0014

    def fit(self, material: Material) -> Score:
        """Needs nothing: the steps were taken while the model was there."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            if answers.steps is None:
                raise TypeError("ODIN: expected answers with `steps`")
            return -answers.steps[:, [SIZES.index(value) for value in values]]

        return score
