"""Floors beside attacks: never above one among random models, and how wide they leave the number.

    python benchmarks/floors.py [--random 10000] [--samples 60]

Random small networks and forests, each at a radius drawn for it, in Linf, L2 and L1 in turn: what
the floor certifies, an attack must not break (APGD on networks, 200 random points and corners of
the ball on forests). Then models of digits: the share of samples between both ends, at the radius
of a grid at which the attacked accuracy is nearest to half of the clean one.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from _attacked import Bundled, images
from _report import publish, table
from lightgbm import LGBMClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from torch import nn
from xgboost import XGBClassifier

from crucibench.contracts.attack import Norm
from crucibench.util.draws import Draws
from crucibench_adapters.sklearn_estimator import read_formula
from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks.apgd import apgd
from crucibench_suites.adversarial.attacks.model import ImagePoints, ModuleOracle
from crucibench_suites.adversarial.floors.forests import Verifier
from crucibench_suites.adversarial.floors.networks import Network, certified
from crucibench_suites.adversarial.threat import sizes

NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
POINTS = 4
GRIDS: dict[Norm, tuple[float, ...]] = {
    "linf": (0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16),
    "l1": (0.15, 0.3, 0.6, 1.0),
}
TRAIN = slice(900, None)


def broken_network(seed: int, norm: Norm) -> tuple[int, int, int]:
    """Returns certified and broken samples of a random network, and those that are both."""
    torch.manual_seed(seed)
    width, depth = 3 + seed % 7, 1 + seed // 7 % 3
    layers: list[nn.Module] = [nn.Flatten()]
    if seed % 4 == 3:
        layers = [nn.Conv2d(1, 3, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2, 1), *layers]
    for _ in range(depth):
        layers += [nn.LazyLinear(width), nn.ReLU()]
    model = nn.Sequential(*layers, nn.LazyLinear(3)).eval()
    x = torch.rand(POINTS, 1, 2, 3)
    with torch.no_grad():
        y = model(x).argmax(1)
    model.requires_grad_(False)
    eps = float(np.random.default_rng(seed).uniform(0.01, 0.3)) * {"l1": 3}.get(norm, 1)
    holds = certified(Network(model, x[:1]), x, y.numpy(), eps, norm)
    points = ImagePoints(
        x=x, y=y, eps=torch.full((POINTS,), eps), ids=tuple(map(str, range(POINTS))), norm=norm
    )
    found = apgd(ModuleOracle(model, Draws(seed, "floors")), points, losses.dlr, steps=20)
    broken = found.broken.numpy()
    return int(holds.sum()), int(broken.sum()), int((holds & broken).sum())


def broken_forest(seed: int, norm: Norm) -> tuple[int, int, int]:
    """Returns the same of a random forest or boosted trees."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(size=(60, 4)).astype(np.float32).astype(np.float64)
    y = (rows @ rng.normal(size=4) > 0.3).astype(int) + (rows[:, 0] > 0.7)
    y[:3] = 0, 1, 2
    kinds: tuple[Any, ...] = (
        RandomForestClassifier(4, max_depth=3, random_state=seed),
        ExtraTreesClassifier(4, max_depth=3, random_state=seed),
        GradientBoostingClassifier(n_estimators=2, max_depth=2, random_state=seed),
        XGBClassifier(n_estimators=2, max_depth=2, n_jobs=1, random_state=seed),
        LGBMClassifier(
            n_estimators=2, num_leaves=4, min_child_samples=5, n_jobs=1, random_state=seed,
            verbose=-1,
        ),
    )  # fmt: skip
    model = kinds[seed % len(kinds)].fit(rows, y)
    verifier = Verifier(read_formula(model, 1.0))
    own = model.predict(rows[:POINTS])
    eps = float(rng.uniform(0.01, 0.3)) * {"l1": 3}.get(norm, 1)
    certain = shown = both = 0
    for x, label in zip(rows[:POINTS], own, strict=True):
        holds = verifier.ball(x, int(label), eps, norm).holds
        moves = rng.choice((-1.0, 0.0, 1.0), (200, 4)) * np.where(
            np.arange(200)[:, None] < 100, 1.0, rng.uniform(size=(200, 4))
        )
        moves *= eps * (1 - 1e-6) / np.maximum(sizes(moves, norm), 1e-9)[:, None]
        asked = (x + moves).clip(0, 1)
        wrong = bool((model.predict(asked) != label).any())
        certain, shown, both = certain + holds, shown + wrong, both + (holds and wrong)
    return certain, shown, both


def forest_width(model: Any, norm: Norm, samples: int) -> tuple[float, float, float, float]:
    """Returns radius, certified, attacked (by the floor's own examples) and clean accuracy."""
    x, y = images("digits", 1797)
    flat = x.flatten(1).numpy().astype(np.float64)
    model.fit(flat[TRAIN], y[TRAIN])
    verifier = Verifier(read_formula(model, 1.0))
    right = model.predict(flat[:samples]) == y[:samples]

    def ends(eps: float) -> tuple[float, float]:
        found = [verifier.ball(flat[row], int(y[row]), eps, norm) for row in np.flatnonzero(right)]
        holds, broken = (sum(getattr(one, name) for one in found) for name in ("holds", "broken"))
        return holds / samples, (len(found) - broken) / samples

    return _halved(ends, norm, float(right.mean()))


def network_width(name: str, norm: Norm, samples: int) -> tuple[float, float, float, float]:
    """Returns the same of a bundled network, attacked by APGD."""
    module = Bundled(name).eval().requires_grad_(False)
    x, targets = images(name, samples)
    y = torch.as_tensor(targets)
    right = (module(x).argmax(1) == y).numpy()
    network = Network(module, x[:1])
    rows = torch.from_numpy(np.flatnonzero(right))

    def ends(eps: float) -> tuple[float, float]:
        holds = certified(network, x[rows], targets[right], eps, norm)
        ids = tuple(map(str, rows.tolist()))
        points = ImagePoints(
            x=x[rows], y=y[rows], eps=torch.full((len(rows),), eps), ids=ids, norm=norm
        )
        oracle = ModuleOracle(module, Draws(0, "floors"))
        broken = apgd(oracle, points, losses.dlr, steps=50).broken
        return float(holds.sum()) / samples, float((~broken).sum()) / samples

    return _halved(ends, norm, float(right.mean()))


def _halved(
    ends: Callable[[float], tuple[float, float]], norm: Norm, clean: float
) -> tuple[float, float, float, float]:
    best: tuple[float, float, float, float] | None = None
    for eps in GRIDS[norm]:
        low, high = ends(eps)
        if best is None or abs(high - clean / 2) < abs(best[2] - clean / 2):
            best = eps, low, high, clean
        if high < clean / 2:
            break
    assert best is not None
    return best


def forest(trees: int, depth: int | None) -> Callable[[int], Any]:
    """Makes a forest of a seed."""
    return lambda seed: RandomForestClassifier(trees, max_depth=depth, random_state=seed)


DIGITS: dict[str, tuple[Callable[[int], Any], int]] = {
    "20 trees, depth 6": (forest(20, 6), 5),
    "100 full trees": (forest(100, None), 1),
    "XGBoost, 20 rounds, depth 4": (
        lambda seed: XGBClassifier(n_estimators=20, max_depth=4, n_jobs=1, random_state=seed), 1,
    ),
    "LightGBM, 20 rounds, 15 leaves": (
        lambda seed: LGBMClassifier(
            n_estimators=20, num_leaves=15, n_jobs=1, random_state=seed, verbose=-1
        ), 1,
    ),
}  # fmt: skip
FEWER = {"cnn-adversarial (bundled)": 8}
"""Samples of a model whose bounds take minutes."""


def main() -> None:
    """Measures, prints and writes both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    totals: dict[str, Counter[str]] = {"networks": Counter(), "forests": Counter()}
    for seed in range(args.random // 2):
        for kind, check in (("networks", broken_network), ("forests", broken_forest)):
            certain, shown, both = check(seed, NORMS[seed % 3])
            totals[kind].update(models=1, certified=certain, broken=shown, both=both)
        if seed % 100 == 99:
            write(rows, totals)
    makers: dict[str, tuple[Callable[[int], Any], int] | None] = {
        **DIGITS, "mlp (bundled)": None, "cnn-adversarial (bundled)": None,
    }  # fmt: skip
    for name, held in makers.items():
        for norm in ("linf", "l1") if name in {"20 trees, depth 6"} else ("linf",):
            for seed in range(held[1] if held and norm == "linf" else 1):
                start, samples = time.process_time(), FEWER.get(name, args.samples)
                found = (
                    network_width(name.partition(" ")[0], norm, samples)
                    if held is None
                    else forest_width(held[0](seed), norm, samples)  # type: ignore[arg-type]
                )
                eps, low, high, clean = found
                rows.append([
                    name, norm, seed, samples, f"{100 * clean:.1f}", f"{eps:g}",
                    f"[{100 * low:.1f}, {100 * high:.1f}]", f"{100 * (high - low):.1f}",
                    f"{time.process_time() - start:.1f}",
                ])  # fmt: skip
                print(*rows[-1], sep=" | ", flush=True)
                write(rows, totals)
    write(rows, totals)


def write(rows: Sequence[Sequence[Any]], totals: dict[str, Counter[str]]) -> None:
    """Writes the page."""
    told = "; ".join(
        f"{one['models']:,} {kind} of {POINTS} samples: {one['certified']:,} certified, "
        f"{one['broken']:,} broken by an attack, **{one['both']} both**"
        for kind, one in totals.items()
    )
    publish(
        "floors",
        "Floors beside attacks",
        [
            f"Random small models in Linf, L2 and L1, each at a radius of its own: {told}.",
            "",
            "On digits, at the radius of a grid where what attacks leave is "
            "nearest to half of clean accuracy: accuracy between both ends, in points. Forests are "
            "attacked by the floor's own examples, networks by APGD of 50 steps.",
            "",
            *table(
                ("model", "norm", "seed", "samples", "clean %", "eps", "[certified, attacked] %",
                 "width", "CPU s"),
                rows,
            ),
        ],
        "torch", "scikit-learn", "xgboost", "lightgbm",
    )  # fmt: skip


if __name__ == "__main__":
    main()
