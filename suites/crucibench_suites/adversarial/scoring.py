"""What became of each sample, and the rows, tables and outcomes made of it."""

from __future__ import annotations

from dataclasses import dataclass
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
from crucibench_suites.adversarial.metrics import (
    AFTER,
    AREA,
    CLEAN,
    COSTS,
    DISTANCES,
    LARGEST,
    MEDIAN_CHANGED,
)
from crucibench_suites.adversarial.threat import ThreatModel, point_of

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


@dataclass(frozen=True)
class Series:
    """What was run: the threat model, the stages in order, and the name of the random stream."""

    threat: ThreatModel
    stages: tuple[str, ...]
    stream: str


@dataclass(frozen=True)
class Outcomes:
    """What became of n samples, in the order of the evidence's sample table.

    Attributes:
        right: whether each is right as it is.
        clean: its class as the model says, without an attack.
        level: the index of the smallest eps that breaks it, the grid's length if none does; 0 for
            samples that are wrong as they are.
        after: the same after each stage, by stage.
        prediction: the class that its nearest example is taken for, -1 without one.
        distance: of that example in the threat's norm; 0 for samples that are wrong as they are,
            infinite where none was found.
        asked: by stage, the samples that it asked about, bool.
        spent: forwards, backwards and queries of each sample, by name.
        examples: examples that the plain model saw, and those that it got right after all.
    """

    right: NDArray[np.bool_]
    clean: NDArray[np.int64]
    level: NDArray[np.int64]
    after: dict[str, NDArray[np.int64]]
    prediction: NDArray[np.int64]
    distance: NDArray[np.float64]
    asked: dict[str, NDArray[np.bool_]]
    spent: dict[str, NDArray[np.int64]]
    examples: tuple[int, int]

    def robust(self, at: int, stage: str | None = None) -> NDArray[np.bool_]:
        """Whether each sample withstands the radius at index `at` (up to a stage)."""
        level = self.level if stage is None else self.after[stage]
        return np.asarray(self.right & (level > at))


def read_outcomes(series: Series, evidence: Evidence) -> Outcomes:
    """Reads the records of all stages."""
    samples = evidence.own.samples
    clean = evidence.needs["clean"].records.aligned(samples.ids).array("prediction")
    right = np.asarray(clean == samples.targets, dtype=np.bool_)
    n, top = len(samples), len(series.threat.eps)
    level = np.where(right, top, 0).astype(np.int64)
    prediction = np.full(n, -1, dtype=np.int64)
    distance = np.where(right, np.inf, 0.0)
    spent = {name: np.zeros(n, dtype=np.int64) for name in ("forwards", "backwards", "queries")}
    after: dict[str, NDArray[np.int64]] = {}
    asked: dict[str, NDArray[np.bool_]] = {}
    seen = failed = 0
    records = evidence.own.records
    if len(records):
        frame = records.frame()
        frame["row"] = pd.Index(samples.ids).get_indexer(pd.Index(frame["id"]))
    for stage in series.stages:
        entered = np.zeros(n, dtype=np.bool_)
        part = frame[frame["attack"] == stage] if len(records) else None
        if part is not None and len(part):
            rows = part["row"].to_numpy()
            entered[rows] = True
            level[rows] = np.minimum(level[rows], part["level"].to_numpy())
            own = part[f"distance_{series.threat.norm}"].to_numpy()
            nearer = np.asarray(own < distance[rows])
            distance[rows[nearer]] = own[nearer]
            prediction[rows[nearer]] = part["prediction"].to_numpy()[nearer]
            for name, total in spent.items():
                total[rows] += part[name].to_numpy()
            seen += int(part["confirmations"].sum())
            failed += int(part["unconfirmed"].sum())
        after[stage], asked[stage] = level.copy(), entered
    return Outcomes(
        right, clean.astype(np.int64), level, after, prediction, distance, asked, spent,
        (seen, failed),
    )  # fmt: skip


def with_changes(evidence: Evidence, scored: Scored) -> Scored:
    """Returns what is reported, and the changed columns beside."""
    if not len(evidence.own.records):
        return scored
    changed = evidence.own.records.array("changed").astype(np.float64)
    changed = changed[changed >= 0]
    if not len(changed):
        return scored
    row = median_row(MEDIAN_CHANGED.id, changed, evidence.options.level)
    return Scored([*scored.rows, row], scored.tables)
