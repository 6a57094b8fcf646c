"""ODIN: MSP at a high temperature, after a step towards confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Score,
)

TEMPERATURE = 1000.0


class ODIN(Detector):
    """Out-of-distribution detector for neural networks."""

    name = "odin"
    title = "ODIN"
    definition = (
        "Minus the highest probability of softmax(logits / 1000) after a step of eps, in canonical "
        "pixels, against the sign of the gradient of the predicted class's log loss."
    )
    source = "Liang, Li and Srikant, ICLR 2018"
    requires = frozenset(
        {Capability.SCORES, Capability.LOGITS, Capability.GRADIENTS, Capability.ANY_INPUT}
    )
    setting = "eps"
    values = (0.0, 0.0014, 0.0028)
    default = 0.0014

    def ask(self, module: Any, inputs: Any, values: Sequence[float]) -> Any:
        """Returns the highest probability after x - eps sign(d loss / d x), for each eps."""
        import torch

        inputs = inputs.detach().clone().requires_grad_()
        logits = module(inputs)
        predicted = logits.argmax(dim=1)
        loss = torch.nn.functional.cross_entropy(logits / TEMPERATURE, predicted, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, inputs)
        direction, found = gradient.sign(), []
        with torch.no_grad():
            for size in values:
                stepped = logits if size == 0 else module(inputs - size * direction)
                # In double precision: at this temperature all probabilities are nearly equal.
                tall = (stepped.detach().double() / TEMPERATURE).softmax(dim=1).amax(dim=1)
                found.append(tall.cpu())
        return torch.stack(found, dim=1).numpy()

    def fit(self, material: Material) -> Score:
        """Needs nothing: the steps were taken while the model was there."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            if answers.asked is None:
                raise TypeError("ODIN: expected answers with what it asked")
            return -answers.asked[:, [self.values.index(value) for value in values]]

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Of a linear model the gradient is known: W^T (p - 1 of the predicted class) / T."""
        weight, bias = example.head.weight, example.head.bias
        found = []
        for x in example.asked:
            logits = weight @ x + bias
            p = softmax(logits / TEMPERATURE)
            p[logits.argmax()] -= 1.0
            stepped = weight @ (x - self.default * np.sign(weight.T @ p)) + bias
            found.append(-softmax(stepped / TEMPERATURE).max())
        return np.array(found)
