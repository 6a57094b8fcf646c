"""Detectors that read the outputs: MSP, MaxLogit, energy, entropy, GEN, temperature and ODIN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import entr, log_softmax, logsumexp, softmax

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Score,
)
from crucibench.metrics import probabilistic
from crucibench.metrics.temperature import fit_temperature


class MSP(Detector):
    """Maximum softmax probability, the baseline."""

    name = "msp"
    title = "MSP"
    definition = "Minus the highest softmax probability."
    source = "Hendrycks and Gimpel, ICLR 2017"

    def fit(self, material: Material) -> Score:
        """Needs nothing."""
        return lambda answers, values: np.asarray(-answers.probabilities.max(axis=1, keepdims=True))

    def known_answer(self, example: DetectorExample) -> Floats:
        """1 / sum of exp(logit - highest logit), a sample at a time."""
        logits = example.head.logits(example.asked)
        return np.array([-1.0 / np.exp(row - row.max()).sum() for row in logits])


class MaxLogit(Detector):
    """The highest logit."""

    name = "max-logit"
    title = "MaxLogit"
    definition = "Minus the highest logit."
    source = "Hendrycks et al., Scaling OOD Detection, ICML 2022"
    requires = frozenset({Capability.SCORES, Capability.LOGITS})

    def fit(self, material: Material) -> Score:
        """Needs nothing."""
        return lambda answers, values: np.asarray(-answers.logits.max(axis=1, keepdims=True))

    def known_answer(self, example: DetectorExample) -> Floats:
        """The highest of the head's inner products with a sample."""
        rows = list(zip(example.head.weight, example.head.bias, strict=True))
        return np.array([-max(w @ x + b for w, b in rows) for x in example.asked])


class Energy(Detector):
    """Free energy at temperature 1."""

    name = "energy"
    title = "Energy"
    definition = "Minus the logarithm of the sum of exponentials of the logits."
    source = "Liu et al., Energy-based OOD Detection, NeurIPS 2020"
    requires = frozenset({Capability.SCORES, Capability.LOGITS})

    def fit(self, material: Material) -> Score:
        """Needs nothing."""
        return lambda answers, values: free_energy(answers.logits)[:, None]

    def known_answer(self, example: DetectorExample) -> Floats:
        """Minus scipy's log-sum-exp of the logits."""
        return np.asarray(-logsumexp(example.head.logits(example.asked), axis=1))


def free_energy(logits: Floats) -> Floats:
    """Returns minus log sum exp of logits (n, K), shape (n,)."""
    highest = logits.max(axis=1)
    return np.asarray(-highest - np.log(np.exp(logits - highest[:, None]).sum(axis=1)))


class Entropy(Detector):
    """Shannon entropy of the softmax probabilities."""

    name = "entropy"
    title = "Entropy"
    definition = "The entropy of the softmax probabilities, in nats."
    source = "Chan, Rottmann and Gottschalk, ICCV 2021"

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            spread: Floats = entr(answers.probabilities).sum(axis=1, keepdims=True)
            return spread

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Minus the mean log probability of a class drawn by its probability."""
        log_p = log_softmax(example.head.logits(example.asked), axis=1)
        return np.array([-np.average(row, weights=np.exp(row)) for row in log_p])


MOST_CLASSES = 100
"""Only so many of the highest probabilities are summed."""


class GEN(Detector):
    """Generalised entropy."""

    name = "gen"
    title = "GEN"
    definition = "The sum of p^gamma (1 - p)^gamma over the 100 highest softmax probabilities p."
    source = "Liu, Lochman and Zach, CVPR 2023"
    setting = "gamma"
    values = (0.01, 0.1, 0.5, 1.0)
    default = 0.1

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            spread = _p_times_rest(answers.logits)
            if spread.shape[1] > MOST_CLASSES:
                order = answers.logits.argpartition(-MOST_CLASSES, axis=1)[:, -MOST_CLASSES:]
                spread = np.take_along_axis(spread, order, axis=1)
            return np.stack([(spread**gamma).sum(axis=1) for gamma in values], axis=1)

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """The sum over classes of a power of p (1 - p), p by scipy."""
        p = softmax(example.head.logits(example.asked), axis=1)
        return np.asarray(((p * (1 - p)) ** self.default).sum(axis=1))


def _p_times_rest(logits: Floats) -> Floats:
    """Returns p (1 - p) of softmax probabilities, to full precision also where p is nearly 1."""
    top = logits.argmax(axis=1)[:, None]
    parts = np.exp(logits - np.take_along_axis(logits, top, axis=1))
    total = parts.sum(axis=1, keepdims=True)
    rest = total - parts
    others = parts.copy()
    np.put_along_axis(others, top, 0.0, axis=1)
    np.put_along_axis(rest, top, others.sum(axis=1, keepdims=True), axis=1)
    return np.asarray(parts * rest / total**2)


class TemperatureScaled(Detector):
    """MSP after dividing logits by the temperature that calibrates the model."""

    name = "temperature"
    title = "Temperature-scaled MSP"
    definition = (
        "Minus the highest probability of softmax(logits / T), T of lowest log loss on the "
        "familiar samples that are kept apart and not scored; T = 1 where the log loss has no "
        "minimum."
    )
    source = "Guo et al., ICML 2017"
    uses = frozenset({"kept"})

    def fit(self, material: Material) -> Score:
        """Fits T."""
        answers, targets = material.the_kept()
        found = fit_temperature(answers.logits, targets)
        # All predicted rightly, or no skill: the loss falls up to the end of the searched range.
        temperature = 1.0 if found.at_bound else found.temperature.value or 1.0

        return lambda answers, values: np.asarray(
            -probabilistic.softmax(answers.logits / temperature).max(axis=1, keepdims=True)
        )

    def known_answer(self, example: DetectorExample) -> Floats:
        """MSP at the inverse temperature of lowest log loss, by scipy's bounded search."""
        logits, targets = example.head.logits(example.train), example.targets
        own = logits[np.arange(len(targets)), targets]
        best = minimize_scalar(
            lambda b: np.mean(logsumexp(b * logits, axis=1) - b * own),
            bounds=(0.01, 10.0), method="bounded", options={"xatol": 1e-10},
        ).x  # fmt: skip
        return np.array(
            [-1.0 / np.exp(best * (x - x.max())).sum() for x in example.head.logits(example.asked)]
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
