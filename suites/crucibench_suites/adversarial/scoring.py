"""Rows, tables, comparables and the outcome view of an attack."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, OutcomeView, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import RowMetric, Share
from crucibench.stats import intervals_for, weighted_mean, wilson
from crucibench_suites.adversarial.metrics import AFTER, AREA, CLEAN, COSTS, DISTANCES, LARGEST
from crucibench_suites.adversarial.outcomes import Outcomes, Series, read_outcomes
from crucibench_suites.adversarial.threat import point_of

Floats = NDArray[np.float64]


def score_attacks(series: Series, evidence: Evidence) -> Scored:
    """Computes all metric rows and tables."""
    n = len(evidence.own.samples)
    if not n:
        return Scored([])
    outcomes = read_outcomes(series, evidence)
    level = evidence.options.level
    share = partial(_share, n=n, level=level)
    grid = series.threat.eps
    rows = [share(CLEAN.id, outcomes.right)]
    curve, steps = [_curve_point(0.0, share(CLEAN.id, outcomes.right))], []
    for at, eps in enumerate(grid):
        point = point_of(eps)
        robust = share("robust-accuracy", outcomes.robust(at), point=point)
        rows.append(robust)
        if eps > 0:
            curve.append(_curve_point(eps, robust))
        before = outcomes.right
        for stage in series.stages:
            left = outcomes.robust(at, stage)
            steps.append(_step(point, stage, outcomes, before, left))
            before = left
            if stage in AFTER:
                rows.append(share(AFTER[stage].id, left, point=point))
    rows.append(share(LARGEST.id, outcomes.robust(len(grid) - 1)))
    rows.append(_area(series, outcomes, evidence))
    rows.append(_median(series, outcomes, level))
    rows += [
        Row(
            metric=info.id,
            value=float(outcomes.spent[kind].mean()),
            n=n,
            reason="a cost, counted exactly",
        )
        for kind, info in COSTS.items()
    ]
    return Scored(rows, {"curve": pd.DataFrame(curve), "attacks": pd.DataFrame(steps)})


def outcome_view(series: Series, evidence: Evidence) -> OutcomeView:
    """Returns one outcome per sample and eps: what the model says in the worst case found."""
    outcomes = read_outcomes(series, evidence)
    ids = evidence.own.samples.ids
    grid = series.threat.eps
    robust = [outcomes.robust(at) for at in range(len(grid))]
    said = [
        np.where(holds | ~outcomes.right, outcomes.clean, outcomes.prediction) for holds in robust
    ]
    rows = len(ids) * len(grid)
    return OutcomeView(
        ids=np.tile(ids, len(grid)),
        point=np.repeat(np.array([point_of(eps) for eps in grid], dtype=object), len(ids)),
        prediction=np.concatenate(said),
        score=np.full(rows, np.nan),
        correct=np.concatenate(robust).astype(np.float64),
    )


def comparables_of(series: Series, evidence: Evidence) -> list[Comparable]:
    """Returns the numbers that can be computed again for any weighting of samples."""
    if not len(evidence.own.samples):
        return []
    outcomes = read_outcomes(series, evidence)
    found = [Comparable(metric=CLEAN.id, form=Share(outcomes.right))]
    for at, eps in enumerate(series.threat.eps):
        form = Share(outcomes.robust(at))
        found.append(Comparable(metric="robust-accuracy", point=point_of(eps), form=form))
    largest = Share(outcomes.robust(len(series.threat.eps) - 1))
    found.append(Comparable(metric=LARGEST.id, form=largest))
    if series.threat.eps[-1] > 0:
        area = weighted_mean(areas(series.threat.eps, outcomes))
        found.append(Comparable(metric=AREA.id, form=RowMetric(area)))
    return found


def areas(grid: tuple[float, ...], outcomes: Outcomes) -> Floats:
    """Returns each sample's share of the area under robust accuracy, shape (n,).

    A sample's own curve is 1 up to the last eps that it withstands, and falls to 0 linearly until
    the next: their mean is the trapezoidal rule of the mean.
    """
    edges = np.array([0.0, *(eps for eps in grid if eps > 0)])
    zeros = len(grid) + 1 - len(edges)
    widths = np.diff(edges)
    halves = np.concatenate([[0.0], np.cumsum(widths)]) + np.append(widths / 2, 0.0)
    last = np.clip(outcomes.level - zeros, 0, len(edges) - 1)
    shares: Floats = np.where(outcomes.right, halves[last], 0.0) / edges[-1]
    return shares


def _share(metric: str, hits: NDArray[np.bool_], *, n: int, level: float, point: str = "") -> Row:
    found = wilson(int(hits.sum()), n, level)
    return Row(
        metric=metric, value=float(hits.mean()), lower=found.lower, upper=found.upper,
        level=found.level, method=found.method, n=n, point=point,
    )  # fmt: skip


def _curve_point(eps: float, row: Row) -> dict[str, object]:
    return {"eps": eps, "robust_accuracy": row.value, "lower": row.lower, "upper": row.upper}


def _step(
    point: str, stage: str, outcomes: Outcomes, before: NDArray[np.bool_], left: NDArray[np.bool_]
) -> dict[str, object]:
    return {
        "point": point,
        "attack": stage,
        "asked": int(outcomes.asked[stage].sum()),
        "broken": int((before & ~left).sum()),
        "robust_accuracy_after": float(left.mean()),
    }


def _area(series: Series, outcomes: Outcomes, evidence: Evidence) -> Row:
    n = len(outcomes.right)
    grid, options = series.threat.eps, evidence.options
    if grid[-1] == 0:
        return Row(metric=AREA.id, value=None, n=n, reason="the grid has no eps above 0")
    values = areas(grid, outcomes)
    found = intervals_for(
        {AREA.id: weighted_mean(values)}, n, level=options.level, replicates=options.replicates,
        seed=options.seed, stream=series.stream, bounds={AREA.id: (0.0, 1.0)},
    )[AREA.id]  # fmt: skip
    value, interval = float(values.mean()), found.interval
    if interval is None:
        reason = found.reason or "resampling gave no interval"
        return Row(metric=AREA.id, value=value, n=n, method=found.method, reason=reason)
    return Row(
        metric=AREA.id, value=value, lower=min(interval.lower, value),
        upper=max(interval.upper, value), level=interval.level, method=interval.method, n=n,
    )  # fmt: skip


def _median(series: Series, outcomes: Outcomes, level: float) -> Row:
    return median_row(DISTANCES[series.threat.norm].id, outcomes.distance, level)


def median_row(metric: str, values: Floats, level: float, *, point: str = "") -> Row:
    """Returns a median with the interval of order statistics, which needs no distribution.

    Args:
        metric: its id.
        values: of n samples, infinite where no example was found.
        level: of the interval.
        point: where it is read.
    """
    ordered = np.sort(values)
    n = len(ordered)
    value = float((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)
    if not np.isfinite(value):
        missing = int(np.isinf(ordered).sum())
        reason = f"no example was found for {missing} of {n} samples"
        return Row(metric=metric, value=None, n=n, reason=reason, point=point)
    skip = int(binom.ppf((1 - level) / 2, n, 0.5))
    # X_(r) to X_(n + 1 - r) covers the median with probability 1 - 2 P(B < r), B ~ Bin(n, 1/2).
    if skip < 1 or not np.isfinite(ordered[n - skip]):
        reason = "too few samples with an example for an interval of order statistics"
        return Row(metric=metric, value=value, n=n, reason=reason, point=point)
    return Row(
        metric=metric, value=value, lower=float(ordered[skip - 1]), upper=float(ordered[n - skip]),
        level=level, method="order statistics (binomial); samples", n=n, point=point,
    )  # fmt: skip
