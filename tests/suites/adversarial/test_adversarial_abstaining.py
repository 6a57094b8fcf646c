"""Declared abstention: both definitions as the closed form of linear models has them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Decision, Modality, Task
from crucibench.engine.worker.inspect import _decision
from crucibench.spec.check import parse_spec
from crucibench.spec.models import ModelSpec
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.abstaining import Abstention
from crucibench_suites.adversarial.config import AdversarialConfig
from crucibench_suites.adversarial.scenario import Quick
from crucibench_suites.adversarial.suite import AdversarialSuite
from crucibench_suites.adversarial.threat import ThreatModel

sys.path.append(str(Path(__file__).parent))
from conftest import rows_of

sys.path.pop()

GRID = (0.004, 0.015, 0.06, 0.1)
LEAST = 0.55
UNSURE = 2


def _nearest(w: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """Returns the Linf distance of x (d,) to where all rows of w z + b are at least 0."""
    d = len(x)
    solved = linprog(
        np.r_[np.zeros(d), 1.0],
        A_ub=np.block([
            [-w, np.zeros((len(w), 1))], [np.eye(d), -np.ones((d, 1))],
            [-np.eye(d), -np.ones((d, 1))],
        ]),
        b_ub=np.r_[b, x, -x], bounds=[(0, 1)] * d + [(0, None)],
    )  # fmt: skip
    return float(solved.fun) if solved.status == 0 else np.inf


def _truth(weight: Any, bias: Any, x: Any, y: Any, rule: Abstention) -> np.ndarray:
    """Returns each sample's distance to where it no longer counts; 0 where it never does."""
    found = []
    for one, own in zip(x, y, strict=True):
        least = np.log(LEAST / (1 - LEAST))  # of two classes: the lead that is an answer
        ends = []
        for other in range(len(weight)):
            if other == own or (rule.safe and other == rule.unsure):
                continue
            w, b = weight[[other]] - weight[[own]], bias[[other]] - bias[[own]]
            if rule.unsure < 0:
                b = b - least if rule.safe else b + least
            elif rule.safe:
                w = np.vstack([w, weight[other] - weight[rule.unsure]])
                b = np.r_[b, bias[other] - bias[rule.unsure]]
            ends.append(_nearest(w, b, one))
        found.append(min(ends))
    return np.array(found)


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("declared", ["threshold", "class"])
def test_both_definitions_are_the_closed_form(
    drive: Any, plain: Any, linear: Any, declared: str, safe: bool
) -> None:
    classes = 2 if declared == "threshold" else 4
    model, x, y = linear(classes, boxed=False, n=48)
    y = np.where(y == UNSURE, 0, y)
    decision = Decision(least=LEAST) if declared == "threshold" else Decision(unsure=UNSURE)
    rule = Abstention.of(decision, safe=safe)
    assert rule is not None
    threat = ThreatModel(norm="linf", eps=GRID, steps=40, targets=3, queries=10)
    scenario = Quick.of("adversarial", threat, abstention=rule)
    evidence = drive(scenario, plain(model, classes), x, y)
    rows = rows_of(scenario, evidence)
    weight, bias = (part.detach().numpy().astype(np.float64) for part in (model.weight, model.bias))
    truth = _truth(weight, bias, x.flatten(1).numpy().astype(np.float64), y, rule)
    metric = "without-confident-error" if safe else "robust-accuracy"
    between = 0
    for eps in GRID:
        near = np.abs(truth - eps) < 2e-3 * eps
        held = round(48 * rows[metric, f"eps={eps:g}"].value)
        # Where two conditions must be met at once, an ascent may end between them.
        missed = int(declared == "class" and safe)
        assert (truth > eps)[~near].sum() <= held <= ((truth > eps) | near).sum() + missed
        between += 0 < held < 48
    assert between
    scores = model(x).detach().double().softmax(1).numpy()
    silent = scores.max(1) < LEAST if declared == "threshold" else scores.argmax(1) == UNSURE
    if not safe:
        assert rows["coverage", ""].value == pytest.approx(1 - silent.mean())
        right = (scores.argmax(1) == y)[~silent].mean()
        assert rows["accuracy-where-answered", ""].value == pytest.approx(right)


@pytest.mark.parametrize(
    ("declared", "found"),
    [(0.7, {"least": 0.7}), ("cat", {"unsure": 1}), (1, {"unsure": 2}), ("dog", "unknown class")],
)
def test_what_a_spec_declares(declared: Any, found: Any) -> None:
    spec = ModelSpec(name="m", uri="torch:a.py:b", abstains=declared)
    task = Task(kind="classification", modality=Modality.IMAGE, classes=("bird", "cat", "1"))
    entry: Any = SimpleNamespace(spec=spec)
    card = DataCard(name="data", uri="test:data", task=task)
    if isinstance(found, str):
        with pytest.raises(InputError, match=found):
            _decision(entry, card)
    else:
        assert _decision(entry, card) == replace(Decision(), **found)


@pytest.mark.parametrize("declared", [1.5, 0.0, True, ["cat"]])
def test_what_says_nothing_of_abstaining_is_one_sentence(declared: Any) -> None:
    models = [{"name": "m", "uri": "torch:a.py:b", "abstains": declared}]
    with pytest.raises(InputError) as found:
        parse_spec({"models": models, "data": [{"name": "d", "uri": "csv:d"}]}, "spec.yaml")
    assert str(found.value) == (
        "spec.yaml: models[0].abstains: expected a class, or a probability between 0 and 1, got "
        f"{declared!r}"
    )


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.TABLE])
@pytest.mark.parametrize("decision", [Decision(least=0.7), Decision(unsure=1)])
def test_tables_and_texts_are_not_attacked_as_if_always_answered(
    modality: Modality, decision: Decision
) -> None:
    task = Task(kind="classification", modality=modality, classes=("a", "b"))
    request: Any = SimpleNamespace(
        config=AdversarialConfig.model_validate({"constraints": {}}),
        data=SimpleNamespace(task=task), model=SimpleNamespace(decision=decision),
    )  # fmt: skip
    assert AdversarialSuite().scenarios(request) == (
        f"it goes by `abstains:` on images alone, and not on {modality} samples"
    )
