"""Which interval fits which kind of number: candidates of each family, their coverage and width.

The candidates are those of the literature; the ones that runs use are `crucibench.stats`' own. Of
each family and setting, the narrowest candidate that covers is what the used one is held against.
Five minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from _report import publish, table
from coverage import FLOOR, bound
from numpy.typing import NDArray
from scipy.special import betaincinv, expit, ndtri, stdtrit

from crucibench.metrics.classification import balanced_accuracy, f1_macro
from crucibench.stats import (
    Interval,
    auc_interval,
    bootstrap_many,
    clopper_pearson,
    delong,
    share_interval,
    table_interval,
    weighted_mean,
    wilson,
)
from crucibench.stats import bounded_mean as gaffke

Floats = NDArray[np.float64]
Ends = tuple[float, float]
Candidate = Callable[[Floats, Floats], Ends]
"""From true labels and probabilities, (n,) each, to an interval."""

Z = -float(ndtri(0.025))
SIZES = (30, 100, 300, 1000)


def draw(spread: float, shift: float, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Returns labels and calibrated probabilities of a binary model."""
    odds = shift + spread * rng.standard_normal(n)
    return (rng.random(n) < expit(odds)).astype(np.float64), np.asarray(expit(odds))


MODELS = {
    "85 % right": (3.4, 0.0), "99 % right": (55.0, 0.0), "99.9 % right": (555.0, 0.0),
    "prevalence 10 %": (2.0, -3.2), "prevalence 1 %": (1.5, -5.55),
}  # fmt: skip


def right(labels: Floats, scores: Floats) -> Floats:
    return ((scores >= 0.5) == (labels > 0.5)).astype(np.float64)


def brier(labels: Floats, scores: Floats) -> Floats:
    return np.asarray((scores - labels) ** 2)


def counts(labels: Floats, scores: Floats) -> NDArray[np.int64]:
    cells = 2 * labels.astype(np.int64) + (scores >= 0.5)
    return np.asarray(np.bincount(cells, minlength=4).reshape(2, 2))


def area(labels: Floats, scores: Floats) -> float:
    return float(delong(scores, labels > 0.5).auc)


# -- candidates -----------------------------------------------------------------------------------


def of_share(make: Callable[[int, int], Ends]) -> Candidate:
    return lambda labels, scores: make(int(right(labels, scores).sum()), len(labels))


def jeffreys(hits: int, n: int) -> Ends:
    low = 0.0 if hits == 0 else float(betaincinv(hits + 0.5, n - hits + 0.5, 0.025))
    high = 1.0 if hits == n else float(betaincinv(hits + 0.5, n - hits + 0.5, 0.975))
    return low, high


def ends(found: Interval) -> Ends:
    return found.lower, found.upper


def student(labels: Floats, scores: Floats) -> Ends:
    values = brier(labels, scores)
    half = -float(stdtrit(len(values) - 1, 0.025)) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def empirical_bernstein(labels: Floats, scores: Floats) -> Ends:
    """Maurer and Pontil 2009, theorem 4, both sides."""
    values, n = brier(labels, scores), len(labels)
    tail = np.log(4 / 0.05)
    half = np.sqrt(2 * values.var(ddof=1) * tail / n) + 7 * tail / (3 * (n - 1))
    return values.mean() - half, values.mean() + half


def resampled(labels: Floats, scores: Floats) -> Ends:
    found = bootstrap_many(
        {"m": weighted_mean(brier(labels, scores))}, len(labels), seed=1, stream="c"
    )["m"]
    return (np.nan, np.nan) if found.interval is None else ends(found.interval)


def resampled_table(
    statistic: Callable[[Any], Floats], labels: Floats, scores: Floats, *,
    pseudo: float = 0.0,
) -> Ends:  # fmt: skip
    """Percentiles of 2,000 multinomial tables, of counts with pseudo-counts."""
    seen = counts(labels, scores).ravel() + pseudo
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(len(labels), seen / seen.sum(), 2000).reshape(-1, 2, 2)
    low, high = np.nanquantile(statistic(drawn), [0.025, 0.975])
    return float(low), float(high)


def moved(statistic: Callable[[Any], Floats], labels: Floats, scores: Floats) -> Ends:
    return ends(table_interval(counts(labels, scores), statistic))


def of_area(logit: bool, labels: Floats, scores: Floats) -> Ends:
    """DeLong's interval, on the logit scale or not."""
    found = delong(scores, labels > 0.5)
    error = np.sqrt(found.variance)
    if not logit:
        return found.auc - Z * error, found.auc + Z * error
    if not 0 < found.auc < 1:
        return np.nan, np.nan
    at, half = np.log(found.auc / (1 - found.auc)), Z * error / (found.auc * (1 - found.auc))
    return float(expit(at - half)), float(expit(at + half))


Family = tuple[Callable[[Floats, Floats], float], Mapping[str, Candidate]]


def of_table(statistic: Callable[[Any], Floats]) -> Family:
    return (
        lambda labels, scores: float(statistic(counts(labels, scores)[None])[0]),
        {
            "MOVER": partial(moved, statistic),
            "bootstrap": partial(resampled_table, statistic),
            "bootstrap, half a count more": partial(resampled_table, statistic, pseudo=0.5),
        },
    )


FAMILIES: Mapping[str, Family] = {
    "a share: accuracy": (
        lambda labels, scores: float(right(labels, scores).mean()),
        {
            "Wilson, exact below 10": of_share(lambda hits, n: ends(share_interval(hits, n))),
            "Wilson": of_share(lambda hits, n: ends(wilson(hits, n))),
            "Clopper-Pearson": of_share(lambda hits, n: ends(clopper_pearson(hits, n))),
            "Jeffreys": of_share(jeffreys),
        },
    ),
    "a mean within bounds: Brier score": (
        lambda labels, scores: float(brier(labels, scores).mean()),
        {
            "Gaffke": lambda labels, scores: ends(gaffke(brier(labels, scores), 0.0, 1.0)),
            "Student": student,
            "BCa or percentile bootstrap": resampled,
            "empirical Bernstein": empirical_bernstein,
        },
    ),
    "of a table: macro F1": of_table(f1_macro.compute),
    "of a table: balanced accuracy": of_table(balanced_accuracy.compute),
    "an area: AUROC": (
        area,
        {
            "placements": lambda labels, scores: ends(auc_interval(scores, labels > 0.5)),
            "DeLong": partial(of_area, False),
            "DeLong, logit": partial(of_area, True),
        },
    ),
}  # fmt: skip
"""Family to its number and its candidates, the one that runs use first."""


def cell(family: str, model: str, n: int, runs: int) -> dict[str, tuple[int, int, float]]:
    """Returns of each candidate how often it covered, of how many samples, and its median width."""
    number, candidates = FAMILIES[family]
    truth = number(*draw(*MODELS[model], 2_000_000, np.random.default_rng(3)))
    covered, there = dict.fromkeys(candidates, 0), 0
    widths: dict[str, list[float]] = {name: [] for name in candidates}
    for run in range(runs):
        sample = draw(*MODELS[model], n, np.random.default_rng((n, run)))
        if len(set(sample[0])) < 2:
            continue  # a class is missing: no number of two classes, whatever the candidate
        there += 1
        for name, make in candidates.items():
            low, high = make(*sample)
            covered[name] += bool(low - 1e-9 <= truth <= high + 1e-9)
            widths[name].append(min(high, 1.0) - max(low, 0.0))
    return {
        name: (covered[name], there, float(np.nanmedian(widths[name])) if there else np.nan)
        for name in candidates
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    text = []
    for family, (_, candidates) in FAMILIES.items():
        used, rows, ratios = next(iter(candidates)), [], []
        lowest = dict.fromkeys(candidates, 1.0)
        for model in MODELS:
            for n in SIZES:
                found = cell(family, model, n, runs)
                if next(iter(found.values()))[1] < runs / 4:
                    continue
                good = [
                    width for covered, there, width in found.values()
                    if bound(covered, there, 0.025) >= FLOOR
                ]  # fmt: skip
                for name, (covered, there, _) in found.items():
                    lowest[name] = min(lowest[name], covered / there)
                best = min(good, default=np.nan)
                ratios.append(found[used][2] / best)
                rows.append(
                    [model, f"{n:,}",
                     *(f"{100 * covered / there:.0f} ({width:.3g})"
                       for covered, there, width in found.values()),
                     f"{ratios[-1]:.2f}"]
                )  # fmt: skip
        least = ", ".join(f"{name} {100 * share:.0f} %" for name, share in lowest.items())
        text += [
            f"## {family}", "",
            f"Lowest coverage: {least}. {used}, which runs use, is in the median "
            f"{np.nanmedian(ratios):.2f} times as wide as the narrowest that covers.", "",
            *table(["model", "n", *candidates, "width over the narrowest's"], rows), "",
        ]  # fmt: skip
    publish(
        "candidates",
        "Candidates for intervals",
        [
            f"Coverage of 95 % intervals, in per cent, with the median width in brackets; {runs} "
            "samples a line, without those that lack a class. A candidate counts as covering if "
            f"the upper bound of its coverage is not under {100 * FLOOR:g} %.", "",
            *text,
        ],
        "numpy", "scipy",
    )  # fmt: skip


if __name__ == "__main__":
    main()
