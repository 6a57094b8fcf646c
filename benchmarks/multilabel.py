"""Whether intervals of multi-label numbers cover: sets drawn anew from one made-up model.

    python benchmarks/multilabel.py [--sets 200]

Six labels, from rare (9 %) to common, that share a cause; scores rank samples well and are a little
overconfident. What holds of endless samples is taken from 400,000. Marked rows bear no claim and
are counted apart.
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from _report import publish, table

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.metric import metrics
from crucibench.metrics.forms import evaluate
from crucibench.metrics.numbers import numbers_of
from crucibench.metrics.scoring import rows_of
from crucibench.tasks.multilabel.kind import LabelsView, MultiLabel
from crucibench_suites.accuracy.scenario import Clean

BASE = np.array([-2.5, -1.5, -1.0, -0.5, 0.0, 0.7])
ENDLESS = 400_000
SIZES = (100, 500)


def drawn(seed: int, n: int) -> LabelsView:
    """Returns a model's answers to n samples."""
    rng = np.random.default_rng(seed)
    z = BASE + 0.7 * rng.normal(size=(n, 1)) + rng.normal(size=(n, len(BASE)))
    targets = rng.random(z.shape) < 1 / (1 + np.exp(-1.5 * z))
    ranking = 1.8 * z + 0.6 * rng.normal(size=z.shape)
    ids = np.array([f"{row:032x}" for row in range(n)], dtype=object)
    return LabelsView(
        ids=ids, targets=targets, classes=tuple("abcdef"), ranking=ranking,
        probabilities=1 / (1 + np.exp(-ranking)),
    )  # fmt: skip


def main() -> None:
    """Simulates and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=200, help="of each size")
    sets = parser.parse_args().sets
    kind = MultiLabel()
    asked = [metrics().get(name) for name in kind.metrics]
    truth = {
        (number.metric, number.group): evaluate(number.form, ENDLESS)
        for number in numbers_of(asked, drawn(1, ENDLESS))
    }
    scenario = Clean.of("accuracy", train=False, kind=kind)
    lines: list[list[object]] = []
    for n in SIZES:
        found: dict[tuple[str, str], list[tuple[bool, bool]]] = {key: [] for key in truth}
        for number in range(sets):
            view = drawn(100 + number, n)
            samples = Samples(view.ids, np.zeros(n), pd.DataFrame(index=range(n)))
            evidence: Any = SimpleNamespace(
                own=SimpleNamespace(samples=samples), needs={}, task=None, data=None,
                options=ScoringOptions(seed=number, replicates=500),
            )  # fmt: skip
            for row in rows_of(numbers_of(asked, view), scenario, evidence):
                if row.lower is not None and row.upper is not None:
                    key = row.metric, row.group
                    holds = row.lower <= truth[key] <= row.upper
                    found[key].append((bool(row.mark), bool(holds)))
        for (metric, group), rows in found.items():
            plain = [holds for marked, holds in rows if not marked]
            share = f"{100 * np.mean(plain):.1f}" if 2 * len(plain) >= sets else ""
            lines.append([n, metric, group, f"{truth[metric, group]:.3f}",
                          f"{len(plain)} of {sets}", share])  # fmt: skip
    shown = [float(str(line[-1])) for line in lines if line[-1]]
    publish(
        "multilabel",
        "Multi-label: coverage",
        [
            f"{sets} sets of 100 and of 500 samples, six labels. Rows of which most sets are not "
            f"marked: {len(shown)} of {len(lines)}; they hold the value of endless samples in "
            f"{min(shown):.1f} % at the least, {np.median(shown):.1f} % in the median (95 asked). "
            "Values equal scikit-learn's: the conformance kit holds each number to it.",
            "",
            *table(("n", "metric", "label", "endless", "not marked", "holds, %"), lines),
        ],
        "numpy",
    )


if __name__ == "__main__":
    main()
