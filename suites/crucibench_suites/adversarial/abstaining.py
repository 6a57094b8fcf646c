"""Declared abstention: what counts as an answer, and attacks that go by it.

Two definitions, and neither flatters. Under the first an abstention is no answer: a sample counts
while nothing within eps makes the model name another class or abstain. Under the second only a
confident error counts against it: the model names another class and does not abstain. Attacks see
a model whose abstention is a score of a class: of another than the true one, or of that itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.statistic import Number, Share
from crucibench.contracts.task import Decision
from crucibench_suites.adversarial.metrics import ANSWERED, COVERAGE


@dataclass(frozen=True)
class Abstention:
    """When a model gives no answer, and what that counts as.

    Attributes:
        unsure: the class that stands for it, -1 where none does.
        least: the probability of the best class below which there is no answer, 0 for none.
        safe: whether to abstain is as good as to be right.
    """

    unsure: int
    least: float
    safe: bool

    @classmethod
    def of(cls, decision: Decision, *, safe: bool) -> Abstention | None:
        """Returns what a model declares; None where it always answers."""
        if decision.unsure < 0 and not decision.least:
            return None
        return cls(decision.unsure, decision.least, safe)

    def silent(self, scores: NDArray[Any], kind: str) -> NDArray[np.bool_]:
        """Returns where the model abstains, (n,), by scores (n, K) of a kind."""
        if self.unsure >= 0:
            return np.asarray(scores.argmax(axis=1) == self.unsure)
        best = scores.astype(np.float64)
        if kind == "logits":
            best = np.exp(best - best.max(axis=1, keepdims=True))
            best /= best.sum(axis=1, keepdims=True)
        return np.asarray(best.max(axis=1) < self.least)

    def clean(
        self, need: CellEvidence, ids: Any, targets: NDArray[Any]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Returns which samples are right without an attack, and on which the model abstains."""
        scores = need.records.aligned(ids).array("scores")
        silent = self.silent(scores, need.model.score_kind)
        right = scores.argmax(axis=1) == targets
        return (right | silent if self.safe else right & ~silent), silent


def abstention_numbers(rule: Abstention, evidence: Evidence) -> list[Number]:
    """Returns coverage, and accuracy where there is an answer."""
    samples = evidence.own.samples
    right, silent = rule.clean(evidence.needs["clean"], samples.ids, samples.targets)
    # Where there is an answer depends on the model.
    answered = partial(Share, right & ~silent, ~silent, same_samples=False)
    return [
        Number(metric=COVERAGE.id, make=partial(Share, ~silent)),
        Number(metric=ANSWERED.id, make=answered),
    ]
