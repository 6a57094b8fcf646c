"""Floors: exact where that is known, never above an attack, and null with the reason elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from crucibench.contracts.tree import Forest
from crucibench.util.draws import Draws
from crucibench.util.errors import InputError
from crucibench_adapters.sklearn_estimator import read_formula
from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks.apgd import apgd
from crucibench_suites.adversarial.attacks.model import ImagePoints, ModuleOracle
from crucibench_suites.adversarial.floors.forests import Leaves, Verifier, _Programme
from crucibench_suites.adversarial.floors.networks import Network, certified
from crucibench_suites.adversarial.floors.scenario import Floor
from crucibench_suites.adversarial.scenario import Quick
from crucibench_suites.adversarial.threat import ThreatModel, sizes

sys.path.append(str(Path(__file__).parent))
from conftest import rows_of
from exact import distances
from small_models import digits, train

sys.path.pop()


def _booster(package: str, kind: str, **options: Any) -> Callable[[int], Any]:
    """Makes a booster of an optional package, which skips where it is not installed."""
    return lambda seed: getattr(pytest.importorskip(package), kind)(
        n_estimators=3, random_state=seed, n_jobs=1, **options
    )


KINDS: dict[str, Callable[[int], Any]] = {
    "tree": lambda seed: DecisionTreeClassifier(max_depth=3, random_state=seed),
    "forest": lambda seed: RandomForestClassifier(4, max_depth=3, random_state=seed),
    "extra trees": lambda seed: ExtraTreesClassifier(3, max_depth=3, random_state=seed),
    "boosting": lambda seed: GradientBoostingClassifier(
        n_estimators=3, max_depth=2, random_state=seed
    ),
    "histograms": lambda seed: HistGradientBoostingClassifier(
        max_iter=3, max_leaf_nodes=4, min_samples_leaf=5, random_state=seed
    ),
    "xgboost": _booster("xgboost", "XGBClassifier", max_depth=2),
    "lightgbm": _booster(
        "lightgbm", "LGBMClassifier", num_leaves=4, min_child_samples=5, verbose=-1
    ),
}


def _cells(forest: Forest, x: np.ndarray) -> np.ndarray:
    """Returns the nearest point of each cell that the thresholds of all trees make, (cells, d)."""
    nearest = []
    for at in range(len(x)):
        edges = sorted(
            {float(value) for tree in forest.trees for value in tree.threshold[tree.column == at]}
        )
        below = np.array(edges).astype(np.float32)
        below = np.where(below > edges, np.nextafter(below, np.float32(-1)), below)
        lows = [0.0, *np.nextafter(below, np.float32(2)).tolist()]
        highs = [*below.tolist(), 1.0]
        nearest.append(np.clip(x[at], lows, highs))
    return np.array(list(product(*nearest)))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", list(KINDS))
def test_forests_are_as_brute_force_says(kind: str, classes: int) -> None:
    settled = asked = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows = rng.uniform(size=(80, 3)).astype(np.float32).astype(np.float64)
        y = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0.8).astype(int)
        y = y + (rows[:, 2] > 0.7) if classes == 3 else y
        model = KINDS[kind](seed).fit(rows, y)
        forest = read_formula(model, 1.0)
        assert isinstance(forest, Forest)
        verifier = Verifier(forest)
        own = model.predict(rows)
        assert [int(verifier.scores(x).argmax()) for x in rows] == own.tolist()
        for x, label in zip(rows[:10], own, strict=False):
            cells = _cells(forest, x)
            wrong = model.predict(cells) != label
            best = np.sort(model.predict_proba(cells), axis=1)
            tied = best[:, -1] - best[:, -2] < 1e-6
            for norm, eps in product(("linf", "l2", "l1"), (0.03, 0.1, 0.25)):
                near = sizes(cells - x, norm) <= eps  # type: ignore[arg-type]
                found = verifier.ball(x, int(label), eps, norm)  # type: ignore[arg-type]
                broken = bool((near & wrong).any())
                assert not (found.holds and broken)
                assert not (found.broken and not broken)
                # Where classes tie, which one is named is a matter of rounding: no certificate.
                if not broken and not (near & tied).any():
                    asked, settled = asked + 1, settled + found.holds
    assert settled == asked > 50


def _network(seed: int) -> tuple[nn.Module, torch.Tensor]:
    """Returns a random small network and images."""
    torch.manual_seed(seed)
    hidden = 4 + seed % 9

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(9, 9), nn.Linear(9, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = (x.flatten(1) - 0.4) / 0.3
            logits: torch.Tensor = self.last(flat + torch.relu(self.first(flat)))
            return logits

    kinds = (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(9, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 3),
        ),
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 2, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 3),
        ),
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 2), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(2, 3)
        ),
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 2, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
        ),
        Residual,
    )  # fmt: skip
    model = kinds[seed % len(kinds)]().eval().requires_grad_(False)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    return model, torch.rand(6, 1, 3, 3)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_floors_of_networks_are_never_above_an_attack(norm: Any) -> None:
    tight = asked = 0
    for seed in range(20):
        model, x = _network(seed)
        y = model(x).argmax(1)
        network = Network(model, x[:1])
        for eps in (0.02, 0.1, 0.3):
            holds = certified(network, x, y.numpy(), eps, norm)
            ids = tuple(map(str, range(len(x))))
            points = ImagePoints(x=x, y=y, eps=torch.full((len(x),), eps), ids=ids, norm=norm)
            found = apgd(ModuleOracle(model, Draws(seed, "floors")), points, losses.dlr, steps=20)
            broken = found.broken.numpy()
            assert not (holds & broken).any()
            tight, asked = tight + int((holds | broken).sum()), asked + len(x)
    assert tight > 0.75 * asked


@pytest.mark.parametrize(
    ("norm", "boxed"), [("linf", True), ("linf", False), ("l2", False), ("l1", True)]
)
def test_linear_models_are_exact(linear: Any, norm: Any, boxed: bool) -> None:
    model, x, _ = linear(4, boxed=boxed)
    y = model(x).argmax(1).numpy()
    flat = x.flatten(1).numpy()
    weight, bias = (one.detach().numpy().astype(np.float64) for one in model.parameters())
    exact = distances(weight, bias, flat, y, norm, boxed=boxed)
    network = Network(model, x[:1])
    # What float32 may round is taken off: about 1e-5 of a margin here.
    for row in np.flatnonzero((exact > 1e-2) & np.isfinite(exact)):
        one = x[row : row + 1], y[row : row + 1]
        assert certified(network, *one, exact[row] * (1 - 5e-3), norm).all()
        assert not certified(network, *one, exact[row] * (1 + 1e-6), norm).any()


@pytest.mark.parametrize("model", [LogisticRegression(), LinearSVC()])
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_formulas_are_those_of_scikit_learn(model: Any, classes: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(size=(90, 4))
    model = model.fit(
        16 * rows, (rows @ [1, 2, -1, 1] * classes / 3).astype(int).clip(0, classes - 1)
    )
    found = read_formula(model, 1 / 16)
    assert not isinstance(found, Forest)
    scores = rows @ found.weight.T + found.bias
    theirs = model.decision_function(16 * rows)
    assert np.allclose(scores[:, 1] - scores[:, 0] if classes == 2 else scores, theirs)


@pytest.mark.parametrize(
    ("part", "told"),
    [(nn.GELU(), "gelu"), (nn.MaxPool2d(2, padding=1), "max_pool2d"), (nn.Tanh(), "tanh")],
)
def test_what_has_no_floor_is_named(part: nn.Module, told: str) -> None:
    model = nn.Sequential(part, nn.Flatten(), nn.LazyLinear(3)).eval()
    model(torch.rand(1, 1, 4, 4))
    with pytest.raises(InputError, match=told):
        Network(model, torch.rand(1, 1, 4, 4))


def test_a_branch_on_data_has_no_floor() -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = x.flatten(1)
            return flat if x.sum() > 1 else -flat

    with pytest.raises(InputError, match="can't be exported"):
        Network(Branch(), torch.rand(1, 1, 2, 2))


def test_the_cell_is_below_the_attacks_or_null_with_the_reason(drive: Any, plain: Any) -> None:
    _, _, x, y = digits()
    threat = ThreatModel(norm="linf", eps=(0.02, 0.05, 0.1), steps=20, targets=3, queries=50)
    quick = Quick.of("adversarial", threat)
    floor = Floor.of("adversarial", [quick])
    for name, reason in (("mlp", ""), ("deep-mlp", "tanh")):
        adapter = plain(train(name, 0), 10)  # type: ignore[arg-type]
        attacked = rows_of(quick, drive(quick, adapter, x[:40], y[:40]))
        rows = rows_of(floor, drive(floor, adapter, x[:40], y[:40]))
        for point in threat.points[1:]:
            row = rows["certified-accuracy", point]
            if reason:
                assert row.value is None
                assert reason in row.reason
            else:
                assert row.value <= attacked["robust-accuracy", point].value
        if not reason:
            assert rows["certified-accuracy", "eps=0.02"].value > 0.5


@pytest.mark.parametrize("wrong", ["dart", "linear"])
def test_boosters_that_are_not_their_trees_are_refused(wrong: str) -> None:
    xgboost = pytest.importorskip("xgboost")
    booster = {"dart": "dart", "linear": "gblinear"}[wrong]
    rows = np.random.default_rng(0).uniform(size=(60, 3))
    options = {"rate_drop": 0.9, "one_drop": 1} if wrong == "dart" else {}
    model = xgboost.XGBClassifier(booster=booster, n_estimators=9, n_jobs=1, **options)
    model.fit(rows, (rows[:, 0] + rows[:, 1] > 1).astype(int))
    with pytest.raises(InputError, match="boosters of"):
        read_formula(model, 1.0)


_CELLS: tuple[Any, ...] = (  # of six trees: beginnings, ends, and what each leaf gives
    ([[0, 0.411, 0.4192, 0], [0, 0.6305, 0, 0], [0, 0.411, 0, 0], [0, 0, 0, 0]],
     [[1, 1, 1, 1], [1, 1, 0.4192, 1], [1, 0.6305, 0.4192, 1], [1, 0.411, 1, 1]], [0, 0, 0, 0]),
    ([[0.7242, 0, 0, 0], [0, 0, 0.4192, 0], [0, 0, 0, 0]],
     [[1, 1, 1, 1], [0.7242, 1, 1, 1], [0.7242, 0.411, 0.4192, 1]], [-0.7835, -0.5429, -0.561]),
    ([[0.7242, 0, 0, 0.8825], [0.7242, 0, 0, 0], [0, 0, 0, 0]],
     [[1, 1, 1, 1], [1, 1, 1, 0.8825], [0.6293, 1, 1, 1]], [1.0452, 0.9818, 1.2992]),
    ([[0, 0.411, 0.4192, 0], [0.5797, 0.411, 0, 0], [0, 0.411, 0, 0], [0, 0, 0, 0]],
     [[1, 1, 1, 1], [1, 1, 0.4192, 1], [0.5797, 1, 0.4192, 1], [1, 0.411, 1, 1]], [0, 0, 0, 0]),
    ([[0.5797, 0, 0, 0], [0, 0.411, 0.6333, 0], [0, 0.411, 0, 0], [0, 0, 0, 0]],
     [[1, 1, 1, 1], [0.5797, 1, 1, 1], [0.5797, 1, 0.6333, 1], [0.5797, 0.411, 1, 1]],
     [-0.0784, 0.1173, -0.1246, 0.1059]),
    ([[0.7242, 0.206, 0, 0], [0.7242, 0, 0, 0], [0, 0, 0, 0]],
     [[1, 1, 1, 1], [1, 0.206, 1, 1], [0.6293, 1, 1, 1]], [-0.1821, -0.1323, 0.0914]),
)  # fmt: skip


def test_the_programme_is_not_above_a_point_that_a_presolve_lost() -> None:
    """HiGHS of SciPy 1.17 answered .0012 here and called it optimal, with its presolve."""
    trees = [Leaves(np.array(a), np.array(b), np.array(c)[:, None]) for a, b, c in _CELLS]
    x = np.array([0.7803, 0.0927, 0.4342, 0.9631])
    other = np.array([0.7803, 0.0927, 0.4342, 0.88])  # .0831 away, of .8121
    gives = sum(
        float(one.gives[((other > one.low) & (other <= one.high)).all(1)][0, 0]) for one in trees
    )
    least, _ = _Programme(trees, np.zeros(4), np.ones(4), (x, 0.8121, "l1")).least(0)
    assert least <= gives < -0.01
