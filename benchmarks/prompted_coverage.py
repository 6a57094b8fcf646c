"""Whether intervals of prompted numbers cover, where items come in clusters: drawn anew each time.

    python benchmarks/prompted_coverage.py [--sets 400]

Clusters of four items share a passage, which makes their answers alike; three prompts, of which one
is better and one worse. What holds of endless clusters is taken from 200,000. Marked rows bear no
claim and are counted apart.
"""

from __future__ import annotations

import argparse
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from _report import publish, table
from scipy.stats import binom

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.statistic import Form, Number
from crucibench.metrics.forms import evaluate
from crucibench.metrics.scoring import rows_of
from crucibench_suites.prompted import metrics
from crucibench_suites.prompted.bbq import bias_score
from crucibench_suites.prompted.config import PromptedTask
from crucibench_suites.prompted.judging import pass_at
from crucibench_suites.prompted.scoring import Judged, mean_of, spread_of, variances

ENDLESS = 200_000
CLUSTERS = (10, 30, 100)
ITEMS = 4
PASS = metrics.pass_at_metric(3)


def drawn(seed: int, clusters: int) -> dict[str, Form]:
    """Returns the forms of the numbers on so many clusters, by metric and group."""
    rng = np.random.default_rng(seed)
    passage = np.repeat(rng.normal(size=clusters), ITEMS)
    n = len(passage)
    skill = np.array([[0.3], [0.0], [-0.5]]) + passage + 0.5 * rng.normal(size=n)
    right = (rng.random(skill.shape) < 1 / (1 + np.exp(-skill))).astype(np.float64)
    named = (rng.random(n) < 0.7).astype(np.float64)
    biased = (rng.random(n) < 1 / (1 + np.exp(-0.4 - 0.7 * passage))).astype(np.float64)
    solved = rng.binomial(5, 1 / (1 + np.exp(1.5 - passage)))
    return {
        metrics.ACCURACY.id: mean_of(right.mean(axis=0)),
        metrics.SPREAD.id: spread_of(right),
        metrics.BBQ_BIAS_AMBIGUOUS.id: bias_score(biased, named, 1 - named, np.ones(n)),
        metrics.BBQ_BIAS_DISAMBIGUATED.id: bias_score(biased, named, None, np.ones(n)),
        PASS.id: mean_of(pass_at(3, np.full(n, 5), solved)),
        **{f"{number.metric}@{number.group}": number.make() for number in variances(right, 1, "")},
    }


def main() -> None:
    """Simulates and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=400, help="of each number of clusters")
    sets = parser.parse_args().sets
    truth = {name: evaluate(form, ENDLESS * ITEMS) for name, form in drawn(1, ENDLESS).items()}
    task = PromptedTask(kind="choice", template="{q}", choices="options")
    scenario = Judged(suite="prompted", name="t", task=task, metrics=(*metrics.METRICS, PASS))
    lines: list[list[object]] = []
    counts: list[tuple[int, int]] = []
    for clusters in CLUSTERS:
        n = clusters * ITEMS
        names = np.repeat([f"c{at}" for at in range(clusters)], ITEMS).astype(object)
        ids = np.array([f"{row:032x}" for row in range(n)], dtype=object)
        samples = Samples(ids, np.zeros(n), pd.DataFrame(index=range(n)), names)
        holds: dict[str, list[bool]] = {name: [] for name in truth}
        marked = dict.fromkeys(truth, 0)
        for number in range(sets):
            evidence: Any = SimpleNamespace(
                own=SimpleNamespace(samples=samples), needs={}, task=None, data=None,
                options=ScoringOptions(seed=number, replicates=500),
            )  # fmt: skip
            forms = drawn(1000 + number, clusters)
            numbers = [
                Number(
                    metric=name.partition("@")[0],
                    group=name.partition("@")[2],
                    make=partial(lambda form: form, form),
                )
                for name, form in forms.items()
            ]
            for row in rows_of(numbers, scenario, evidence):
                name = f"{row.metric}@{row.group}" if row.group else row.metric
                marked[name] += bool(row.mark)
                if row.lower is not None and row.upper is not None and not row.mark:
                    holds[name].append(row.lower <= truth[name] <= row.upper)
        for name, found in holds.items():
            share = f"{100 * np.mean(found):.1f}" if found else ""
            counts.append((sum(found), len(found)))
            lines.append(
                [clusters, name, f"{truth[name]:.4f}", f"{marked[name]} of {sets}", share, ""]
            )
    # All cells together fail an honest method once in twenty times.
    level = 0.05 / sum(of > 0 for _, of in counts)
    for line, (count, of) in zip(lines, counts, strict=True):
        if of:
            least = int(binom.ppf(level, of, 0.95))
            line[-1] = f"{100 * least / of:.1f}{'' if count >= least else ' (fails)'}"
    publish(
        "prompted-coverage",
        "Prompted numbers: coverage",
        [
            f"{sets} sets of 10, 30 and 100 clusters of four items. The share of 95 % intervals of "
            "rows that are not marked which hold the value of endless clusters, and the least that "
            "all cells together allow (binomial, one error in twenty over all of them).",
            "",
            *table(("clusters", "metric", "endless", "marked", "holds, %", "at least, %"), lines),
        ],
        "numpy",
    )


if __name__ == "__main__":
    main()
