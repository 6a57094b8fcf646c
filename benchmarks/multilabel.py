"""Whether multi-label numbers are scikit-learn's, and whether their intervals cover.

    python benchmarks/multilabel.py [--cases 1000] [--sets 200]

Cases are small sets with ties, labels that all or no samples have, and thresholds by label. Sets of
the coverage are drawn anew from one made-up model.

Six labels, from rare (9 %) to common, that share a cause; scores rank samples well and are a little
overconfident. What holds of endless samples is taken from 400,000. Marked rows bear no claim and
are counted apart.
"""

from __future__ import annotations

import argparse
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from _report import publish, table

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.metric import metrics, metrics_named
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


def parity(cases: int) -> str:
    """Returns a sentence on how far this project and scikit-learn lie apart."""
    rng, apart, compared, alone = np.random.default_rng(0), 0.0, 0, 0
    # The calibration error has no counterpart there.
    asked = [one for one in metrics_named(MultiLabel().metrics) if "ece" not in one.name]
    for _ in range(cases):
        n, k = int(rng.integers(2, 40)), int(rng.integers(2, 7))
        targets = rng.random((n, k)) < rng.choice([0.0, 0.1, 0.4, 0.9, 1.0], k)
        scores = rng.random((n, k)) if rng.random() < 0.5 else rng.integers(0, 6, (n, k)) / 5
        each = tuple(rng.choice([0.2, 0.5, 0.8], k).tolist()) if rng.random() < 0.5 else ()
        view = LabelsView(
            ids=np.array([str(row) for row in range(n)], dtype=object), targets=targets,
            classes=tuple("abcdefg"[:k]), ranking=scores, probabilities=scores, thresholds=each,
        )  # fmt: skip
        for metric in asked:
            for group in [(name,) for name in view.classes] if metric.by_class else [()]:
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    mine = evaluate(metric.form(view, *group), n)
                    other = metric.reference(view, *group)
                alone += bool(np.isnan(mine) != np.isnan(other))
                if np.isfinite(mine) and np.isfinite(other):
                    compared += 1
                    apart = max(apart, abs(mine - other))
    return (
        f"{cases:,} random cases beside scikit-learn, {compared:,} numbers: at most {apart:.1e} "
        f"apart; {alone:,} have a value in one of both alone."
    )


def main() -> None:
    """Simulates and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, help="beside scikit-learn")
    parser.add_argument("--sets", type=int, default=200, help="of each size")
    options = parser.parse_args()
    sets, beside = options.sets, parity(options.cases)
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
        "Multi-label: parity and coverage",
        [
            f"{sets} sets of 100 and of 500 samples, six labels. Rows of which most sets are not "
            f"marked: {len(shown)} of {len(lines)}; they hold the value of endless samples in "
            f"{min(shown):.1f} % at the least, {np.median(shown):.1f} % in the median (95 asked). "
            "",
            "",
            beside,
            "",
            *table(("n", "metric", "label", "endless", "not marked", "holds, %"), lines),
        ],
        "scikit-learn",
        "numpy",
    )


if __name__ == "__main__":
    main()
