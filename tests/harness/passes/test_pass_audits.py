"""Each audit of a pass: a planted defect is caught, honest models are not flagged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from crucibench.contracts.adapter import Adapter, Answer, Normalisation, Opening
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ModelInfo, ScoringOptions
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Finding
from crucibench.passes.audits import _not_probabilities
from crucibench.passes.scenario import Pass
from crucibench.util.draws import Draws

TASK = Task(kind="classification", modality=Modality.IMAGE, classes=tuple("0123456789"))
X, Y = load_digits(return_X_y=True)
IMAGES = torch.from_numpy((X / 16.0).astype(np.float32).reshape(-1, 1, 8, 8))
FITTED = LogisticRegression(max_iter=2000).fit(X[:900] / 16.0, Y[:900])
POOR = LogisticRegression(max_iter=2000).fit(X[:30] / 16.0, Y[:30])
CURVED = SVC(gamma=0.1, C=10.0).fit(X[:900] / 16.0, Y[:900])
TEST = slice(900, 1500)
MEAN, SPREAD = float(IMAGES.mean()), 0.15


def logits(images: torch.Tensor) -> np.ndarray:
    return FITTED.decision_function(images.numpy().reshape(len(images), -1).astype(float))


def touchy(images: torch.Tensor) -> np.ndarray:
    """Answers well on the canonical range alone, as deep networks do."""
    return CURVED.decision_function(images.numpy().reshape(len(images), -1).astype(float))


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class _Function(Adapter):
    input_spec = InputSpec(modality=Modality.IMAGE)
    task = TASK

    def __init__(
        self,
        function: Callable[[torch.Tensor], np.ndarray],
        *,
        kind: str = "logits",
        normalisation: Normalisation | None = None,
        training: tuple[str, ...] = (),
    ) -> None:
        self.function = function
        self.score_kind = kind  # type: ignore[assignment]
        self.normalisation = normalisation
        self.training = training
        self.capabilities = frozenset({Capability.LABELS, Capability.SCORES, Capability.ANY_INPUT})

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise AssertionError("not opened by address")

    def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
        images = batch.inputs
        if self.normalisation is not None:
            part = self.normalisation
            images = (images * part.scale - part.mean[0]) / part.std[0]
        return Answer(scores=self.function(images))

    def diagnostics(self) -> Mapping[str, Any]:
        return {"training_modules": list(self.training)}


def findings(
    adapter: _Function, rows: slice = TEST, images: torch.Tensor = IMAGES
) -> list[Finding]:
    inputs, targets = images[rows], Y[rows]
    ids = np.array([f"{n:032x}" for n in range(len(inputs))], dtype=object)
    samples = Samples(ids, targets.astype(np.int64), pd.DataFrame(index=range(len(ids))))
    scenario = Pass(name="test")
    context = MapContext(adapter, Draws(0, "pass/test"), frozenset({"scores"}))
    work = Work(Batch(tuple(ids), inputs), samples, {})
    records = Records(to_table(scenario.run("main", work, context)))
    probe_work = Work(work.batch.take(range(256)), samples.take(np.arange(256)), {})
    probes = {
        name: Records(to_table(columns))
        for name, columns in scenario.probe(probe_work, context).items()
    }
    info = ModelInfo(
        name="m", uri="live:m", capabilities=adapter.capabilities, score_kind=adapter.score_kind,
        geometry={}, fingerprint=None, diagnostics=adapter.diagnostics(),
    )  # fmt: skip
    own = CellEvidence(
        cell="c", model=info, role="test", records=records, samples=samples, probes=probes
    )
    card = DataCard(name="d", uri="u", task=TASK)
    return scenario.audit(Evidence(own=own, needs={}, data=card, options=ScoringOptions()))


def codes(found: list[Finding]) -> dict[str, str]:
    return {finding.code: str(finding.severity) for finding in found}


HONEST = {
    "logits": _Function(logits),
    "probabilities": _Function(lambda x: softmax(logits(x)), kind="probabilities"),
    "float noise": _Function(lambda x: logits(x) + 1e-6 * len(x)),
    "an unsure and poor model": _Function(
        lambda x: softmax(0.02 * POOR.decision_function(x.numpy().reshape(len(x), -1))),
        kind="probabilities",
    ),
    "log-probabilities are logits": _Function(lambda x: np.log(softmax(logits(x)) + 1e-12)),
    "a model that is touchy about its range": _Function(touchy),
    "a constant model": _Function(lambda x: np.zeros((len(x), 10))),
    "declared normalisation that fits": _Function(
        lambda x: logits(x * 0.3 + 0.4),
        normalisation=Normalisation(mean=(0.4,), std=(0.3,)),
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_models_are_not_flagged(name: str) -> None:
    found = findings(HONEST[name])
    assert codes(found) == {"batch-noise": "info"}, [finding.message for finding in found]


def _noisy() -> Callable[[torch.Tensor], np.ndarray]:
    rng = np.random.default_rng(0)
    return lambda x: logits(x) + rng.normal(0, 1, (len(x), 10))


DEFECTS = {
    "train mode": (_Function(logits, training=("layer1.bn",)), "train-mode", "invalid"),
    "random output": (_Function(_noisy()), "non-deterministic-output", "suspect"),
    "batch norm in train mode": (
        _Function(lambda x: logits(x) - 3 * logits(x).mean(axis=0)), "batch-composition", "invalid",
    ),
    "probabilities called logits": (
        _Function(lambda x: softmax(logits(x))), "probabilities-declared-as-logits", "invalid",
    ),
    "logits called probabilities": (
        _Function(logits, kind="probabilities"), "not-probabilities", "invalid",
    ),
    "log-probabilities called probabilities": (
        _Function(lambda x: np.log(softmax(logits(x)) + 1e-300), kind="probabilities"),
        "not-probabilities", "invalid",
    ),
    "independent sigmoids": (
        _Function(lambda x: 1 / (1 + np.exp(-logits(x))), kind="probabilities"),
        "not-probabilities", "invalid",
    ),
    "double softmax": (
        _Function(lambda x: softmax(softmax(logits(x))), kind="probabilities"),
        "double-softmax", "invalid",
    ),
    "not normalised at all": (
        _Function(lambda x: touchy(x * float(IMAGES.std()) + MEAN)),
        "mapping-error", "invalid",
    ),
    "trained on [0, 255]": (
        _Function(lambda x: logits(x / 255.0) + 1e-3 * np.arange(10)),
        "mapping-error", "invalid",
    ),
    "normalised by its own code and by the adapter": (
        _Function(
            touchy,
            normalisation=Normalisation(mean=(MEAN,), std=(SPREAD,)),
        ),
        "mapping-error", "invalid",
    ),
    "inverted": (
        _Function(lambda x: logits(1.0 - x)), "mapping-error", "invalid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_planted_defects_are_caught(name: str) -> None:
    adapter, code, severity = DEFECTS[name]
    found = codes(findings(adapter))
    assert found.get(code) == severity, found


def test_the_guess_names_what_the_scores_are() -> None:
    adapter, _, _ = DEFECTS["log-probabilities called probabilities"]
    (finding,) = [f for f in findings(adapter) if f.code == "not-probabilities"]
    assert "they are log-probabilities" in finding.message
    scores = np.full((100, 2), np.log(0.5))
    scores[0] = -4.0  # 99 of 100 are no more than 99 in 100
    assert _not_probabilities(scores, 0.0).evidence["guess"] == "they look like logits"


@pytest.mark.parametrize(
    ("images", "severity"), [(IMAGES * 2.0, "invalid"), (IMAGES / 255.0, "suspect")]
)
def test_images_outside_or_far_inside_the_range_are_flagged(
    images: torch.Tensor, severity: str
) -> None:
    assert codes(findings(_Function(logits), images=images))["input-range"] == severity
