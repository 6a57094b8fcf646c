"""The self-tests of attacks on tables: linear models of 64 columns, and a tree of three leaves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from crucibench.contracts.attack import (
    Attack,
    Floats,
    Ints,
    Norm,
    Search,
    SelfTestResult,
)
from crucibench.contracts.tree import Tree
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions
from crucibench_suites.adversarial.self_test import TestedOnce, judged, self_test
from crucibench_suites.adversarial.tables.constraints import Constraints
from crucibench_suites.adversarial.tables.gradient import Slopes
from crucibench_suites.adversarial.tables.space import Facts, RowSpace
from crucibench_suites.adversarial.threat import sizes

_EXACT, _FAR = 1e-4, 0.01
"""A tree compares float32: near a threshold its spacing is a share of the distance."""


class TableAnswers(TestedOnce):
    """Attacks on rows of tables, on models whose boundary is known."""

    name = "table"

    def test(self, attack: Attack, norm: Norm) -> SelfTestResult:
        """Runs an attack on the models that it is for."""
        return {"linear": _on_linear_models, "tree": _on_a_tree}[attack.known](attack, norm)


def _on_linear_models(attack: Attack, norm: Norm) -> SelfTestResult:
    def call(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
        shape = tuple(x.shape[1:])
        flat = x.flatten(1).numpy()
        frame = pd.DataFrame({f"c{at:02}": flat[:, at] for at in range(flat.shape[1])})
        facts = {name: Facts(0.0, 1.0, 1.0, False) for name in frame.columns}
        space = RowSpace(frame, Constraints(), facts, norm)

        def answer(rows: Ints, points: Floats) -> Floats:
            images = torch.from_numpy(points.astype(np.float32)).view(-1, *shape)
            with torch.no_grad():
                logits = model(images)
            own = logits.gather(1, y[torch.from_numpy(rows)][:, None])[:, 0]
            others = logits.scatter(1, y[torch.from_numpy(rows)][:, None], -torch.inf).amax(1)
            lead: Floats = (others - own).double().numpy()
            return np.asarray(np.sign(lead) if attack.access == "decision" else lead)

        radii = np.array([radius]) if np.isfinite(radius) else np.zeros(0)
        questions = BudgetedQuestions(space, answer, radii, attack.queries)
        stacked = nn.Sequential(nn.Unflatten(1, shape), model)
        adapter = SimpleNamespace(
            module=lambda: stacked,
            encode=lambda batch: torch.tensor(batch.inputs.to_numpy(dtype=np.float32)),
        )
        attack.run(_given(questions, space, adapter, y.numpy(), radii))
        return torch.from_numpy(questions.best.astype(np.float32)).view(x.shape)

    return self_test(
        call, norm, name=attack.name, kind="nearest" if attack.nearest else "within",
        tolerance=attack.tolerance,
    )  # fmt: skip


def _given(
    questions: BudgetedQuestions, space: RowSpace, model: Any, targets: Ints, radii: Floats
) -> Search:
    return Search(
        questions=questions, ids=[f"self-test-{row}" for row in range(len(space))],
        draws=Draws(0, "self-test"), radii=radii, slopes=Slopes(model, space, targets),
        model=model, targets=targets,
    )  # fmt: skip


_TREE = Tree(
    columns=("a", "b"),
    column=np.array([0, -1, 1, -1, -1]),
    threshold=np.array([0.5, 0.0, 0.25, 0.0, 0.0]),
    left=np.array([1, -1, 3, -1, -1]),
    right=np.array([2, -1, 4, -1, -1]),
    missing_left=np.ones(5, dtype=np.bool_),
    label=np.array([0, 0, 0, 0, 1]),
)
"""Of three leaves: class 1 where a > 0.5 and b > 0.25."""


def _on_a_tree(attack: Attack, norm: Norm) -> SelfTestResult:
    """Holds the nearest examples against the closed form, in both classes."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.uniform(0, 1, (64, 2)), columns=["a", "b"])
    facts = {"a": Facts(0.0, 1.0, 0.5, False), "b": Facts(0.0, 1.0, 0.25, False)}
    a, b = ((frame[name] - edge) / facts[name].spread for name, edge in (("a", 0.5), ("b", 0.25)))
    inside = (a > 0) & (b > 0)
    into = sizes(np.stack([np.maximum(-a, 0), np.maximum(-b, 0)], axis=1), norm)
    expected = np.where(inside, np.minimum(a, b), into)
    space = RowSpace(frame, Constraints(), facts, norm)
    targets = inside.to_numpy().astype(np.int64)

    def answer(rows: Ints, points: Floats) -> Floats:
        there = space.rows(rows, points).to_numpy(dtype=np.float32)
        return np.where(((there[:, 0] > 0.5) & (there[:, 1] > 0.25)) != targets[rows], 1.0, -1.0)

    questions = BudgetedQuestions(space, answer, np.zeros(0), attack.queries)
    adapter = SimpleNamespace(tree=lambda: _TREE)
    attack.run(_given(questions, space, adapter, targets, np.zeros(0)))
    found = questions.distance
    far = expected > _FAR
    ratio = float(np.max((found / expected)[far]))
    return judged(
        attack.name, norm, "nearest", ratio=ratio, tolerance=attack.tolerance, distances=found,
        optimum=1.0, nearer=int((found < expected * (1 - _EXACT)).sum()),
        reason=f"on a tree of three leaves in {norm} its distances are up to {ratio:.6g} times "
        "those in closed form",
    )  # fmt: skip
