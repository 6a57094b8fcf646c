"""Are intervals and tests of the bias suite what they say? Simulated groups, and clusters.

Everything goes through the suite's own functions (`find_gap`, `contrast_row`), from counts of
decisions drawn at random. Coverage of the signed contrasts of selection rates is summed over every
possible outcome instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from _report import publish, table
from numpy.typing import NDArray
from scipy.stats import binom

from crucibench.contracts.evidence import ScoringOptions
from crucibench.metrics.catalogue_groups import Gap
from crucibench.metrics.gap_chance import detectable_gap, p_chance_of_rates
from crucibench.metrics.gap_clusters import (
    ClusterTotals,
    p_chance_of_whole_clusters,
    p_chance_within_clusters,
)
from crucibench.metrics.gaps import contrast, of_rates
from crucibench.metrics.group_counts import RATES
from crucibench.stats import holm
from crucibench_suites.bias.gaps import GroupGap, find_gap
from crucibench_suites.bias.groupings import Grouping
from crucibench_suites.bias.measures import Measured, Tally

Ints = NDArray[np.int64]

SIZES = (50, 100, 300, 1000, 5000)
BASE_RATES = (0.05, 0.2, 0.5)
TPR, FPR = 0.7, 0.2
CONTRASTS = ("top-1", "selection-rate", "tpr", "fpr", "ppv")
TESTED = ("top-1", "selection-rate", "tpr", "fpr", "ppv")
TEN = tuple(
    [Gap(f"{rate}-difference", (rate,), "difference") for rate in RATES]
    + [Gap("equalized-odds-difference", ("tpr", "fpr"), "difference")]
)
"""Nine rates and the larger of two: a family of ten."""


def drawn(rng: np.random.Generator, sizes: Sequence[int], base: float) -> Ints:
    """Returns decisions of alike groups, shape (G, 4), in the order of `CELLS`."""
    cells = [(1 - base) * (1 - FPR), (1 - base) * FPR, base * (1 - TPR), base * TPR]
    return np.array([rng.multinomial(size, cells) for size in sizes])


def tallied(counts: Ints) -> dict[str, Measured]:
    """Returns every rate of counts, shape (G, 4)."""
    found = {}
    for rate in RATES.values():
        hits, trials = counts @ np.array(rate.hits), counts @ np.array(rate.among)
        by_group = Tally(hits=hits, trials=trials, size=trials.astype(np.float64))
        found[rate.id] = Measured(id=rate.id, by_group=by_group, undefined=rate.undefined)
    return found


def gap(which: Gap, counts: Ints, seed: int) -> GroupGap:
    """Returns a gap between groups of `counts`, shape (G, 4)."""
    sizes = counts.sum(axis=1)
    grouping = Grouping(
        columns=("g",), names=tuple(f"g={place}" for place in range(len(counts))),
        codes=np.repeat(np.arange(len(counts)), sizes), least=1,
    )  # fmt: skip
    options = ScoringOptions(seed=seed)
    return find_gap(
        which, grouping, tallied(counts), spans=False, options=options, stream="simulation"
    )


def exact_coverage(n: int, rate: float, level: float = 0.95) -> float:
    """Sums the probability of all pairs of counts whose interval holds 0."""
    size = n // 2
    law = binom(size, rate)
    low, high = int(law.ppf(1e-6)), int(law.ppf(1 - 1e-6))
    each = np.arange(low, high + 1)
    first, second = (part.ravel() for part in np.meshgrid(each, each))
    trials = np.full(len(first), size)
    ends = contrast(of_rates(first, trials), of_rates(second, trials), "difference", level)
    held = np.array([interval.lower <= 0 <= interval.upper for _, interval in ends])
    return float((law.pmf(first) * law.pmf(second) * held).sum())


def coverage(n: int, base: float, runs: int, rng: np.random.Generator) -> dict[str, float]:
    """Returns how often the signed contrast of two alike groups holds 0, by rate."""
    counts = np.array([drawn(rng, (n // 2, n // 2), base) for _ in range(runs)])
    found = {}
    for name in CONTRASTS:
        rate = RATES[name]
        hits, trials = counts @ np.array(rate.hits), counts @ np.array(rate.among)
        there = (trials > 0).all(axis=1)
        first, second = (of_rates(hits[there, g], trials[there, g]) for g in (0, 1))
        ends = contrast(first, second, "difference", 0.95)
        found[name] = float(np.mean([one.lower <= 0 <= one.upper for _, one in ends]))
    return found


def rejections(n: int, base: float, runs: int, rng: np.random.Generator) -> dict[str, float]:
    """Returns how often the permutation test calls two alike groups different, by rate."""
    found = dict.fromkeys(TESTED, 0)
    for run in range(runs):
        counts = drawn(rng, (n // 2, n - n // 2), base)
        for name in TESTED:
            one = gap(Gap("x", (name,), "difference"), counts, run)
            found[name] += one.value is not None and one.p_chance <= 0.05
    return {name: count / runs for name, count in found.items()}


def family(n: int, base: float, runs: int, rng: np.random.Generator) -> float:
    """Returns how often any of ten gaps between five alike groups is found after Holm."""
    wrong = 0
    for run in range(runs):
        counts = drawn(rng, [n // 5] * 5, base)
        found = [gap(one, counts, run) for one in TEN]
        p_values = np.array([one.p_chance for one in found if one.value is not None])
        wrong += bool((holm(p_values) <= 0.05).any())
    return wrong / runs


def planted(n: int, share: float, runs: int, rng: np.random.Generator) -> tuple[float, float]:
    """Returns how often twice the stated minimum detectable gap is found, and what was planted."""
    size = n // 2
    width = 2 * detectable_gap(size, size, share)
    if share + width > 1:
        return np.nan, width
    which, found = Gap("top-1-difference", ("top-1",), "difference"), 0
    for run in range(runs):
        right = rng.binomial(size, [share, share + width])
        zero = np.zeros(2, dtype=np.int64)
        counts = np.stack([zero, size - right, zero, right], axis=1)
        found += gap(which, counts, run).p_chance <= 0.05
    return found / runs, width


def one_of_twelve(off: float, runs: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """Returns what is found of 12 groups of 85, one of them `off` the rate .85 of the others.

    Selection rates, and true positive rates (half of the samples are positives) beside false
    positive rates of .2 in all.
    """
    share = np.full(12, 0.85)
    share[3] -= off
    found: dict[str, list[float]] = {}
    for run in range(runs):
        selected = rng.binomial(85, share)
        positive = rng.binomial(85, 0.5, 12)
        hit, false = rng.binomial(positive, share), rng.binomial(85 - positive, 0.2)
        none = np.zeros(12, dtype=np.int64)
        parity = [85 - selected, selected, none, none]
        odds = [85 - positive - false, false, positive - hit, hit]
        counts = {
            "demographic-parity-difference": ("selection-rate", parity),
            "equalized-odds-difference": ("tpr", odds),
        }
        for name, (rate, cells) in counts.items():
            rates = (rate, "fpr") if rate == "tpr" else (rate,)
            one = gap(Gap(name, rates, "difference"), np.stack(cells, axis=1), run)
            seen = found.setdefault(name, [0.0] * 4)
            seen[0] += (one.lower > 0) / runs
            seen[1] += (one.p_chance <= 0.05) / runs
            seen[2] += (one.lower <= off <= one.upper) / runs
            seen[3] += (one.value or 0.0) / runs
    return found


def clustered(kind: str, clusters: int, k: int, runs: int, seed: int) -> tuple[float, float]:
    """Returns how often alike groups of alike clusters are told apart: by ours, by shuffling rows.

    Clusters have 1 to about 20 members and shares of hits spread normally on the logistic scale
    with a standard deviation of 1.5.
    """
    wrong = np.zeros(2)
    for run in range(runs):
        rng = np.random.default_rng((seed, run))
        code = np.repeat(np.arange(clusters), 1 + rng.poisson(9, clusters))
        group = code % k
        if kind != "in one group":
            group = (rng.random(len(code)) < rng.uniform(0.1, 0.9, clusters)[code]).astype(int)
        share = 1 / (1 + np.exp(-(0.3 + 1.5 * rng.standard_normal(clusters))))
        hit = (rng.random(len(code)) < share[code]).astype(np.float64)
        totals, draws = [ClusterTotals.of(code, group, hit)], 1000
        ours = (
            p_chance_of_whole_clusters(totals, k, seed=run, stream="s", draws=draws)
            if kind == "in one group"
            else p_chance_within_clusters(totals, k, whole=True, seed=run, stream="s", draws=draws)
        )
        hits, sizes = np.bincount(group, hit, k).astype(np.int64), np.bincount(group, minlength=k)
        plain = p_chance_of_rates([(hits, sizes)], seed=run, stream="s", draws=draws)
        wrong += [ours.p <= 0.05, plain <= 0.05]
    return float(wrong[0] / runs), float(wrong[1] / runs)


def percent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.1f}"


def by_cell(found: Mapping[tuple[int, float], Mapping[str, float]]) -> Iterator[list[str]]:
    for (n, base), values in found.items():
        yield [f"{n:,}", f"{100 * base:g} %", *(percent(value) for value in values.values())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    rng = np.random.default_rng(0)
    cells = list(product(SIZES, BASE_RATES))
    covered = {
        (n, base): {"exact": exact_coverage(n, base)} | coverage(n, base, 100 * runs, rng)
        for n, base in cells
    }
    wrong = {(n, base): rejections(n, base, runs, rng) for n, base in cells}
    families = {(n, base): family(n, base, runs // 2, rng) for n in (300, 5000)
                for base in BASE_RATES}  # fmt: skip
    gaps = {(n, share): planted(n, share, 2 * runs, rng) for n, share in product(SIZES, BASE_RATES)}
    units = [("in one group", 20, 2), ("in one group", 60, 3), ("in one group", 400, 5),
             ("in one group", 1200, 4), ("in both", 12, 2), ("in both", 60, 2),
             ("in both", 1200, 2)]  # fmt: skip
    alike = [(one, clustered(*one, runs, 1)) for one in units]
    twelve = {off: one_of_twelve(off, 5 * runs, rng) for off in (0.2, 0.0)}
    large = [value for (n, _), row in covered.items() if n >= 300 for value in row.values()]

    def allowed(count: int) -> float:
        return 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / count)

    publish(
        "bias-simulations",
        "Do the bias suite's intervals and tests hold what they say?",
        [
            "Alike groups of equal size; predictions find "
            f"{100 * TPR:g} % of positives and {100 * FPR:g} % of negatives. n counts both groups.",
            "", "## Signed contrasts: how often the 95 % interval holds 0", "",
            "Newcombe's interval. The first column is exact, of a rate equal to the base rate; the "
            f"others are of {100 * runs:,} runs. Lowest from n = 300: {percent(min(large))} %.", "",
            *table(["n", "base rate", "exact", *CONTRASTS], list(by_cell(covered))),
            "", "## Permutation test: how often two alike groups are told apart at 5 %", "",
            f"{runs} runs a line: up to {percent(allowed(runs))} % is 5 % and 3.5 standard errors. "
            f"Highest: {percent(max(max(row.values()) for row in wrong.values()))} %.", "",
            *table(["n", "base rate", *TESTED], list(by_cell(wrong))),
            "", "## Five groups, ten gaps, corrected by Holm: how often any is found", "",
            f"{runs // 2} runs a line: up to {percent(allowed(runs // 2))} %.", "",
            *table(["n", "base rate", "any found"],
                   [[f"{n:,}", f"{100 * base:g} %", percent(value)]
                    for (n, base), value in families.items()]),
            "", "## A gap of twice the stated detectable one: how often it is found", "",
            f"{2 * runs} runs a line. Empty where the second rate would exceed 1.", "",
            *table(["n", "lower rate", "gap", "found"],
                   [[f"{n:,}", f"{100 * share:g} %", f"{width:.3f}", percent(value)]
                    for (n, share), (value, width) in gaps.items()]),
            "", "## One of 12 groups of 85 samples at .65, the others at .85; and none", "",
            f"{5 * runs:,} runs a line. Found by the interval: its lower end is above 0.", "",
            *table(["gap", "true gap", "by the interval", "by the test at 5 %", "interval covers",
                    "mean value"],
                   [[name, f"{off:g}", *(percent(value) for value in row[:3]), f"{row[3]:.3f}"]
                    for off, rows in twelve.items() for name, row in rows.items()]),
            "", "## Alike groups of clusters: how often they are told apart at 5 %", "",
            f"{runs} runs a line: up to {percent(allowed(runs))} %. Clusters of 10 samples on "
            "average whose shares of hits differ widely.", "",
            *table(["clusters lie", "clusters", "groups", "clusters shuffled", "rows shuffled"],
                   [[kind, f"{count:,}", k, percent(ours), percent(plain)]
                    for (kind, count, k), (ours, plain) in alike]),
        ],
        "numpy", "scipy",
    )  # fmt: skip


if __name__ == "__main__":
    main()
