"""Bootstrap intervals of three metrics by group: the count table against fairlearn's ``n_boot``.

Both start from the same arrays and end with percentile intervals of each group's accuracy,
selection rate and true positive rate, and of the three largest differences. fairlearn resamples
rows, so that its time grows with replicates: it is measured at a few of them, less its time for
none, and scaled. Then ten million rows are counted in parts, to show that memory does not grow.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
from _report import publish, table

from crucibench.metrics.gaps import gap_of
from crucibench.metrics.group_counts import GroupCounts, group_counts, rates
from crucibench.stats import count_table_many

METRICS = ("top-1", "selection-rate", "tpr")
GROUPS = np.array(list("abcde"), dtype=object)


def drawn(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = GROUPS[rng.integers(0, 5, rows)]
    truth = rng.random(rows) < 0.3
    said = np.where(truth, rng.random(rows) < 0.7, rng.random(rows) < 0.2)
    return groups, truth.astype(np.int64), said.astype(np.int64)


def ours(counts: GroupCounts, replicates: int) -> dict[str, tuple[float, float]]:
    k = len(counts)

    def by_group(metric: str, group: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda tables: rates(tables.reshape(-1, k, 4)[:, group], metric)

    def over(metric: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda tables: gap_of(rates(tables.reshape(-1, k, 4), metric), "difference")

    statistics = {f"{m}@{counts.names[g]}": by_group(m, g) for m in METRICS for g in range(k)}
    statistics |= {f"{m}-difference": over(m) for m in METRICS}
    results = count_table_many(
        counts.table.ravel(), statistics, replicates=replicates, seed=0, stream="benchmark",
        kind="percentile",
    )  # fmt: skip
    return {
        name: result.interval[:2] for name, result in results.items() if result.interval is not None
    }


def fairlearn_s(groups: np.ndarray, truth: np.ndarray, said: np.ndarray, n_boot: int) -> float:
    from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate
    from sklearn.metrics import accuracy_score

    chosen = dict(zip(METRICS, (accuracy_score, selection_rate, true_positive_rate), strict=True))
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = MetricFrame(
            metrics=chosen, y_true=truth, y_pred=said, sensitive_features=groups,
            n_boot=n_boot, ci_quantiles=[0.025, 0.975], random_state=0,
        )  # fmt: skip
        _ = frame.by_group_ci, frame.difference_ci()
    return time.perf_counter() - begun


def in_parts(rows: int, part: int) -> tuple[float, float]:
    """Returns seconds and the most MiB of Python's own that counting in parts holds."""
    tracemalloc.start()
    begun, total = time.perf_counter(), None
    for seed in range(rows // part):
        found = group_counts(*drawn(part, seed))
        total = found if total is None else total + found
    assert total is not None and total.n.sum() == rows // part * part
    seconds, peak = time.perf_counter() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--fairlearn-replicates", type=int, default=20)
    parser.add_argument("--many", type=int, default=10_000_000)
    asked = parser.parse_args()
    groups, truth, said = drawn(asked.rows, 0)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        ours(group_counts(groups, truth, said), asked.replicates)
        times.append(time.perf_counter() - begun)
    own = float(np.median(times))
    few, more = 2, asked.fairlearn_replicates
    least = fairlearn_s(groups, truth, said, few)
    each = (fairlearn_s(groups, truth, said, more) - least) / (more - few)
    theirs = each * asked.replicates
    part = min(1_000_000, asked.many)
    seconds, mib = in_parts(asked.many, part)
    publish(
        "group-metrics",
        "Group metrics with bootstrap intervals",
        [
            f"{asked.rows:,} rows, 5 groups, 3 metrics by group and their differences, "
            f"{asked.replicates:,} replicates. fairlearn was timed at {few} and {more} replicates "
            "and scaled. Budget: 1,000 times faster.",
            "",
            *table(
                ["", "seconds", "times"],
                [
                    ("fairlearn `MetricFrame(n_boot=...)`", f"{theirs:,.0f}", "1"),
                    ("crucibench, counting included", f"{own:.3f}", f"{theirs / own:,.0f}"),
                ],
            ),
            "",
            f"{asked.many:,} rows counted in parts of {part:,}: {seconds:.1f} s, data made "
            f"included; at most {mib:,.0f} MiB of arrays at a time.",
        ],
        "fairlearn", "numpy", "pandas",
    )  # fmt: skip


if __name__ == "__main__":
    main()
