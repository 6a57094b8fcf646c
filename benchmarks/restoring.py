"""Restore beside a plain search that puts blocks of coordinates back, and beside HopSkipJump.

    python benchmarks/restoring.py [--samples 30] [--only WORD]

Models of steps on scikit-learn's digits, none of which was looked at while the attack was built;
labels alone, equal questions. The plain search is the yardstick: from the nearest of ten random
images that is wrong, blocks of ever fewer coordinates go back to what they were, what is left goes
half the way three times, and so again from other images while questions last.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from _attacked import images
from _report import publish, table
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from crucibench.contracts.attack import Norm, Search, attacks
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.images import Pixels
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions
from crucibench_suites.adversarial.threat import sizes

MODELS: dict[str, Any] = {
    "forest, depth 6": RandomForestClassifier(20, max_depth=6, random_state=1),
    "extra trees": ExtraTreesClassifier(50, random_state=1),
    "boosting": GradientBoostingClassifier(n_estimators=30, random_state=1),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=20, random_state=1),
    "bagging": BaggingClassifier(DecisionTreeClassifier(), 20, random_state=1),
    "AdaBoost": AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=4), n_estimators=30, random_state=1
    ),
}
BUDGETS = (200, 1000)
NORMS: tuple[Norm, ...] = ("l2", "linf")
TRAIN = slice(900, None)


def plain(clean: np.ndarray, seed: int) -> Generator[np.ndarray, bool, None]:
    """Asks whether points are wrong, one after the other, until it is closed."""
    rng = np.random.default_rng(seed)
    while True:
        starts = rng.uniform(size=(10, len(clean)))
        starts = starts[np.argsort(np.linalg.norm(starts - clean, axis=1))]
        for x in starts:
            if (yield x):
                break
        else:
            continue
        for size in (32, 16, 8, 4, 2, 1):
            order = rng.permutation(np.flatnonzero(x != clean))
            order = order[np.argsort(-np.abs(x - clean)[order])] if size == 1 else order
            for at in range(0, len(order), size):
                there = x.copy()
                there[order[at : at + size]] = clean[order[at : at + size]]
                x = there if (yield there) else x
        for _ in range(3):
            for at in np.flatnonzero(x != clean):
                there = x.copy()
                there[at] = (x[at] + clean[at]) / 2
                x = there if (yield there) else x


def yardstick(model: Any, x: np.ndarray, y: np.ndarray, norm: Norm, budget: int) -> float:
    """Returns the median distance of the plain search, with all samples side by side."""
    searches = [plain(clean, row) for row, clean in enumerate(x)]
    points = np.stack([next(search) for search in searches])
    best = np.full(len(x), np.inf)
    for _ in range(budget):
        wrong = model.predict(points) != y
        best = np.where(wrong, np.minimum(best, sizes(points - x, norm)), best)
        points = np.stack(
            [search.send(bool(one)) for search, one in zip(searches, wrong, strict=True)]
        )
    return float(np.median(best))


def ours(name: str, model: Any, x: np.ndarray, y: np.ndarray, norm: Norm, budget: int) -> float:
    """Returns the median distance of a registered attack."""
    space = Pixels(torch.from_numpy(x).view(-1, 1, 8, 8), norm)

    def answer(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        return np.where(model.predict(points) != y[rows], 1.0, -1.0)

    radii = np.array([1e-9])
    questions = BudgetedQuestions(space, answer, radii, budget)
    ids = [str(row) for row in range(len(x))]
    attacks().get(name).run(
        Search(questions=questions, ids=ids, draws=Draws(0, name), radii=radii, targets=y)
    )
    return float(np.median(questions.distance))


def main() -> None:
    """Attacks, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    pixels, y = images("mlp", 1797)
    x = pixels.flatten(1).numpy().astype(np.float64)
    rows: list[list[str]] = []
    for name, model in MODELS.items():
        if args.only not in name:
            continue
        model.fit(x[TRAIN], y[TRAIN])
        right = np.flatnonzero(model.predict(x[:200]) == y[:200])[: args.samples]
        for norm in NORMS:
            for budget in BUDGETS:
                start = time.process_time()
                found = {
                    one: ours(one, model, x[right], y[right], norm, budget)
                    for one in ("restore", "hopskipjump")
                }
                peer = yardstick(model, x[right], y[right], norm, budget)
                ratio = found["restore"] / peer
                rows.append(
                    [name, norm, str(budget), *(f"{one:.3f}" for one in found.values()),
                     f"{peer:.3f}", f"{ratio:.2f}"]
                )  # fmt: skip
                print(*rows[-1], round(time.process_time() - start), flush=True)
                write(args.samples, rows)


def write(samples: int, rows: list[list[str]]) -> None:
    """Writes the table of what has been asked."""
    worst = max(float(row[-1]) for row in rows)
    publish(
        "restoring",
        "Attacks on labels of models of steps",
        [
            f"Digits, {samples} samples that each model gets right, median distances of the "
            "nearest example. The yardstick is the plain block-restoring search of "
            f"`benchmarks/restoring.py`; the largest ratio to it is {worst:.2f}.",
            "",
            *table(
                ("model", "norm", "questions", "restore", "HopSkipJump", "plain search", "ratio"),
                rows,
            ),
        ],
        "scikit-learn",
    )  # fmt: skip


if __name__ == "__main__":
    main()
