"""Restore beside the best of ART's HopSkipJump, Boundary and Sign-OPT on 12 families of models.

    python benchmarks/label_families.py --peer-python VENV/bin/python [--samples 12] [--queries 300]

VENV holds adversarial-robustness-toolbox; only its packages' folder is used. All models answer in
steps, labels alone, in L2, at equal questions: of ART each of the three attacks has as many as ours
has, and the nearest of their examples counts. What is asked is counted as in `blackbox.py`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _attacked import Bundled, images
from _report import load, publish, table
from lightgbm import LGBMClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

TRAIN = slice(900, None)

ESTIMATORS: dict[str, Any] = {
    "decision tree": DecisionTreeClassifier(random_state=0),
    "random forest": RandomForestClassifier(20, random_state=0),
    "extra trees": ExtraTreesClassifier(20, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=15, random_state=0),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=10, random_state=0),
    "XGBoost": XGBClassifier(n_estimators=10, n_jobs=1, random_state=0),
    "LightGBM": LGBMClassifier(n_estimators=10, n_jobs=1, random_state=0, verbose=-1),
    "bagging": BaggingClassifier(DecisionTreeClassifier(), 15, random_state=0),
    "AdaBoost": AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=4), n_estimators=15, random_state=0
    ),
    "nearest neighbour": KNeighborsClassifier(1),
}


def rounded(levels: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the bundled perceptron behind an input of so many levels."""
    network = Bundled("mlp").eval()

    def named(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            seen = torch.round(torch.from_numpy(x) * levels) / levels
            return network(seen).argmax(1).numpy()

    return named


def families() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Returns what each model names, of images (m, 1, 8, 8)."""
    x, y = images("digits", 1797)
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name, estimator in ESTIMATORS.items():
        estimator.fit(x[TRAIN].flatten(1).numpy(), y[TRAIN])
        found[name] = lambda asked, one=estimator: np.asarray(
            one.predict(asked.reshape(len(asked), -1))
        ).astype(np.int64)
    return {**found, "input of 2 levels": rounded(1), "input of 5 levels": rounded(4)}


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--queries", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    asked = [args.peer_python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    sys.path.append(
        subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    )
    from art.attacks.evasion import BoundaryAttack, HopSkipJump, SignOPTAttack
    from blackbox import Ledger, of_art, ours

    theirs = {
        "HopSkipJump": of_art(HopSkipJump),
        "Boundary": of_art(BoundaryAttack, targeted=False),
        "Sign-OPT": of_art(SignOPTAttack, targeted=False),
    }
    from crucibench_suites.adversarial.scoring import order_statistics_interval

    drawn, targets = images("digits", 4 * args.samples)
    rows = []
    for name, labels in families().items():
        right = np.flatnonzero(labels(drawn.numpy()) == targets)[: args.samples]
        x, y = drawn.numpy()[right], targets[right]
        near, seconds = {}, {}
        for title, attack in {"ours": ours("restore"), **theirs}.items():
            ledger = Ledger(labels, x, y, "l2", args.queries)
            torch.manual_seed(0)
            np.random.seed(0)
            start = time.process_time()
            attack(ledger, x, y, "l2", args.queries)
            seconds[title] = time.process_time() - start
            near[title] = ledger.nearest(args.queries)
        best = np.min([near[title] for title in theirs], axis=0)
        ratio = near["ours"] / best
        held = order_statistics_interval(ratio, 0.9)  # one-sided: each end at 95 %
        lower = "" if isinstance(held, str) else f"{held.lower:.2f}"
        rows.append([
            name, len(x), *(f"{np.median(one):.3f}" for one in near.values()),
            f"{np.median(best):.3f}", f"{np.median(ratio):.2f}", lower,
            *(f"{one:.1f}" for one in seconds.values()),
        ])  # fmt: skip
        print(*rows[-1], sep=" | ", flush=True)
        write(args, rows)


def write(args: argparse.Namespace, rows: list[list[Any]]) -> None:
    """Writes the table of what has been asked."""
    met = sum(float(row[8]) <= 1.05 for row in rows if row[8])
    less = sum(float(row[9]) < sum(float(one) for one in row[10:]) for row in rows)
    publish(
        "label-families",
        "Restore beside ART's attacks on labels, by family of models",
        [
            f"Digits, L2, {args.queries} questions about each sample for each attack, one thread; "
            "median distances of the nearest example. Ratio: the median over samples of ours to "
            "the nearest of ART's three, with its lower bound (95 %, one-sided, order "
            f"statistics). Lower bound at most 1.05: {met} of {len(rows)}; less CPU than the "
            f"three together, which the best of them takes: {less} of {len(rows)}. {load()}",
            "",
            *table(
                ("model", "n", "ours", "HopSkipJump", "Boundary", "Sign-OPT", "best of ART",
                 "ratio", "lower bound", "ours, s", "HopSkipJump, s", "Boundary, s",
                 "Sign-OPT, s"),
                rows,
            ),
        ],
        "scikit-learn",
    )  # fmt: skip


if __name__ == "__main__":
    main()
