"""The self-tests of attacks on tables: linear models of 64 columns, and a tree of three leaves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from crucibench.contracts.batch import Batch
from crucibench.contracts.tree import Tree
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.books import Books, Floats, Ints
from crucibench_suites.adversarial.blackbox.hopskipjump import hopskipjump
from crucibench_suites.adversarial.self_test import (
    TOLERANCE,
    AttackCall,
    SelfTestResult,
    installed,
    self_tested,
)
from crucibench_suites.adversarial.tables.constraints import Constraints
from crucibench_suites.adversarial.tables.exact_tree import nearest_leaves
from crucibench_suites.adversarial.tables.gradient import Slopes, gradient
from crucibench_suites.adversarial.tables.greedy import greedy
from crucibench_suites.adversarial.tables.space import Facts, Space
from crucibench_suites.adversarial.threat import Norm

_QUERIES = {"table-greedy": 1000, "table-gradient": 100, "table-hopskipjump": 500}
_TOLERANCE = {"table-hopskipjump": 5.0}
_EXACT, _FAR = 1e-4, 0.01
"""A tree compares float32: near a threshold its spacing is a share of the distance."""


def tested(attack: str, norm: Norm) -> SelfTestResult:
    """Returns how an attack does where the answer is known, tested once a process."""
    if attack == "exact-tree":
        return _tree_tested(norm)
    return self_tested(
        attack, call(attack, norm), norm,
        kind="nearest" if attack == "table-hopskipjump" else "within",
        tolerance=_TOLERANCE.get(attack, TOLERANCE),
    )  # fmt: skip


class _Stacked:
    """A model of images as one of a table whose columns are the pixels."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        self._module = nn.Sequential(nn.Unflatten(1, shape), model)

    def module(self) -> nn.Module:
        return self._module

    def encode(self, batch: Batch) -> torch.Tensor:
        return torch.tensor(batch.inputs.to_numpy(dtype=np.float32))


def call(attack: str, norm: Norm) -> AttackCall:
    """Returns an attack on tables in the form that self-tests call."""

    def run(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
        shape = tuple(x.shape[1:])
        flat = x.flatten(1).numpy()
        frame = pd.DataFrame({f"c{at:02}": flat[:, at] for at in range(flat.shape[1])})
        facts = {name: Facts(0.0, 1.0, 1.0, False) for name in frame.columns}
        space = Space(frame, Constraints(), facts, norm)

        def answer(rows: Ints, points: Floats) -> Floats:
            images = torch.from_numpy(points.astype(np.float32)).view(-1, *shape)
            with torch.no_grad():
                logits = model(images)
            own = logits.gather(1, y[torch.from_numpy(rows)][:, None])[:, 0]
            others = logits.scatter(1, y[torch.from_numpy(rows)][:, None], -torch.inf).amax(1)
            lead: Floats = (others - own).double().numpy()
            return np.asarray(np.sign(lead) if attack == "table-hopskipjump" else lead)

        radii = np.array([radius]) if np.isfinite(radius) else np.zeros(0)
        books = Books(space, answer, radii, _QUERIES[attack])
        ids = [f"self-test-{row}" for row in range(len(x))]
        draws = Draws(0, "self-test")
        if attack == "table-gradient":
            slopes = Slopes(_Stacked(model, shape), space, y.numpy())
            gradient(books, space, slopes, ids=ids, draws=draws, radii=radii)
        elif attack == "table-greedy":
            greedy(books, space, ids, draws, radii)
        else:
            hopskipjump(books, ids, draws, norm)
        return torch.from_numpy(books.best.astype(np.float32)).view(x.shape)

    return run


def _tree_tested(norm: Norm) -> SelfTestResult:
    """Holds nearest leaves against the closed form for a <= 0.5 or b <= 0.25, and elsewhere."""
    tree = Tree(
        columns=("a", "b"),
        column=np.array([0, -1, 1, -1, -1]),
        threshold=np.array([0.5, 0.0, 0.25, 0.0, 0.0]),
        left=np.array([1, -1, 3, -1, -1]),
        right=np.array([2, -1, 4, -1, -1]),
        missing_left=np.ones(5, dtype=np.bool_),
        label=np.array([0, 0, 0, 0, 1]),
    )
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.uniform(0, 1, (64, 2)), columns=["a", "b"])
    facts = {"a": Facts(0.0, 1.0, 0.5, False), "b": Facts(0.0, 1.0, 0.25, False)}
    a, b = ((frame[name] - edge) / facts[name].spread for name, edge in (("a", 0.5), ("b", 0.25)))
    inside = (a > 0) & (b > 0)
    short = np.stack([np.maximum(-a, 0), np.maximum(-b, 0)])
    into = short.max(axis=0) if norm == "linf" else np.linalg.norm(short, axis=0)
    expected = np.where(inside, np.minimum(a, b), into)
    space = Space(frame, Constraints(), facts, norm)
    _, found = nearest_leaves(tree, space, inside.to_numpy().astype(np.int64))
    far = expected > _FAR
    ratio = float(np.max((found / expected)[far]))
    impossible = bool((found < expected * (1 - _EXACT)).any())
    return SelfTestResult(
        attack="exact-tree", norm=norm, kind="nearest", ratio=ratio, tolerance=1 + _EXACT,
        passed=ratio <= 1 + _EXACT and not impossible, found=float(np.isfinite(found).mean()),
        optimum=1.0, samples=len(frame), versions=installed(), distances=found,
        reason=f"exact-tree: on a tree of three leaves in {norm} its distances are up to "
        f"{ratio:.6g} times those in closed form",
    )  # fmt: skip
