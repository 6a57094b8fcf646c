"""What became of each sample, and the rows, tables and outcomes made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from crucibench.contracts.evidence import Evidence, OutcomeView, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Interval, Number, OfRows, RowMetric, Share
from crucibench.stats import share_interval, weighted_mean
from crucibench_suites.adversarial.abstaining import Abstention
from crucibench_suites.adversarial.metrics import (
    AFTER,
    AREA,
    CLEAN,
    COSTS,
    DISTANCES,
    LARGEST,
    MEDIAN_CHANGED,
    MEDIAN_QUERIES,
    ROBUST,
    SUCCESS_AT_BUDGET,
    SUCCESS_AT_TENTH,
)
from crucibench_suites.adversarial.protocol import SECOND
from crucibench_suites.adversarial.threat import ThreatModel, point_of

Floats = NDArray[np.float64]

_TIE = 1e-12
"""Relative: a sum of weights that is half of all but for rounding is half of all."""


def attack_numbers(series: Series, evidence: Evidence) -> list[Number]:
    """Returns accuracy as it is and under attack, by eps and attack, and distances."""
    if not len(evidence.own.samples):
        return []
    outcomes = read_outcomes(series, evidence)
    grid = series.threat.eps
    numbers = [_share(CLEAN.id, outcomes.right)]
    for at, eps in enumerate(grid):
        point = point_of(eps)
        numbers.append(_effortful(ROBUST.id, outcomes, at, point))
        numbers += [
            _share(AFTER[stage].id, outcomes.robust(at, stage), point)
            for stage in series.stages
            if stage in AFTER
        ]
    numbers.append(_effortful(LARGEST.id, outcomes, len(grid) - 1))
    numbers.append(
        Number(
            metric=AREA.id,
            make=lambda: RowMetric(weighted_mean(areas(grid, outcomes))),
            effort=outcomes.effort,
            common=lambda: RowMetric(weighted_mean(areas(grid, outcomes.plain()))),
        )
        if grid[-1] > 0
        else Number(metric=AREA.id, undefined="the grid has no eps above 0")
    )
    everyone = np.ones(len(outcomes.right), dtype=np.bool_)
    metric = DISTANCES[series.threat.norm].id
    return [*numbers, median_number(metric, outcomes.distance, everyone)]


def attack_tables(
    series: Series, evidence: Evidence, rows: Sequence[Row]
) -> Mapping[str, pd.DataFrame]:
    """Returns robust accuracy by eps as `curve`, and what each attack broke as `attacks`."""
    outcomes = read_outcomes(series, evidence)
    held = {(row.metric, row.point): row for row in rows}
    curve = [_curve_point(0.0, held[CLEAN.id, ""])]
    steps = []
    for at, eps in enumerate(series.threat.eps):
        point = point_of(eps)
        if eps > 0:
            curve.append(_curve_point(eps, held[ROBUST.id, point]))
        before = outcomes.right
        for stage in series.stages:
            left = outcomes.robust(at, stage)
            steps.append(_step(point, stage, outcomes, before, left))
            before = left
    return {"curve": pd.DataFrame(curve), "attacks": pd.DataFrame(steps)}


def score_costs(series: Series, evidence: Evidence) -> Scored:
    """Computes what the attacks cost: sums over the samples, which no sampling moves."""
    n = len(evidence.own.samples)
    if not n:
        return Scored([])
    spent = read_outcomes(series, evidence).spent
    return Scored(
        [
            Row(
                metric=info.id,
                value=float(spent[kind].mean()),
                n=n,
                reason="a cost, counted exactly",
            )
            for kind, info in COSTS.items()
        ]
    )


def outcome_view(series: Series, evidence: Evidence) -> OutcomeView:
    """Returns one outcome per sample and eps: what the model says in the worst case found."""
    outcomes = read_outcomes(series, evidence)
    ids = evidence.own.samples.ids
    grid = series.threat.eps
    robust = [outcomes.robust(at) for at in range(len(grid))]
    predicted = [
        np.where(holds | ~outcomes.right, outcomes.clean, outcomes.prediction) for holds in robust
    ]
    rows = len(ids) * len(grid)
    return OutcomeView(
        ids=np.tile(ids, len(grid)),
        point=np.repeat(np.array([point_of(eps) for eps in grid], dtype=object), len(ids)),
        prediction=np.concatenate(predicted),
        score=np.full(rows, np.nan),
        correct=np.concatenate(robust).astype(np.float64),
    )


def areas(grid: tuple[float, ...], outcomes: AttackOutcomes) -> Floats:
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


def _share(metric: str, hits: NDArray[np.bool_], point: str = "") -> Number:
    return Number(metric=metric, point=point, make=partial(Share, hits))


def _effortful(metric: str, outcomes: AttackOutcomes, at: int, point: str = "") -> Number:
    """Returns a share of samples that withstand a radius, which a second opinion may lower."""
    plain = partial(Share, outcomes.plain().robust(at))
    one = _share(metric, outcomes.robust(at), point)
    note = f"after a {outcomes.effort}" if outcomes.effort else ""
    return replace(one, effort=outcomes.effort, common=plain, note=note)


def _curve_point(eps: float, row: Row) -> dict[str, object]:
    return {"eps": eps, "robust_accuracy": row.value, "lower": row.lower, "upper": row.upper}


def _step(
    point: str,
    stage: str,
    outcomes: AttackOutcomes,
    before: NDArray[np.bool_],
    left: NDArray[np.bool_],
) -> dict[str, object]:
    return {
        "point": point,
        "attack": stage,
        "asked": int(outcomes.asked[stage].sum()),
        "broken": int((before & ~left).sum()),
        "robust_accuracy_after": float(left.mean()),
    }


def median_number(
    metric: str, values: Floats, among: NDArray[np.bool_], *, point: str = ""
) -> Number:
    """Returns a median over some of the samples.

    Its interval is that of order statistics, which needs no distribution.

    Args:
        metric: its id.
        values: of all samples, shape (n,), infinite where no example was found.
        among: which of them it is the median of, shape (n,), bool.
        point: where it is read.
    """
    chosen = values[among]
    count = len(chosen)
    missing = int(np.isinf(chosen).sum())

    def make() -> RowMetric:
        return RowMetric(
            weighted_median(values, among), closed=partial(order_statistics_interval, chosen)
        )

    return Number(
        metric=metric, point=point, make=make, n=count,
        undefined=f"no example was found for {missing} of {count} samples",
    )  # fmt: skip


def weighted_median(values: Floats, among: NDArray[np.bool_]) -> OfRows:
    """Returns a median as a function of weights; nan where it is infinite or has no samples.

    Args:
        values: shape (n,).
        among: which of them it is the median of, shape (n,), bool.
    """
    rows = np.flatnonzero(among)
    rows = rows[np.argsort(values[rows], kind="stable")]
    ordered = values[rows]

    def of_rows(weights: NDArray[np.float64]) -> Floats:
        if not len(rows):
            return np.full(len(weights), np.nan)
        sums = np.cumsum(weights[:, rows], axis=1)
        half = sums[:, -1:] / 2
        last = len(rows) - 1
        # Where a sum is half of all, the median lies halfway to the next value.
        lower = np.minimum((sums < half * (1 - _TIE)).sum(axis=1), last)
        upper = np.minimum((sums <= half * (1 + _TIE)).sum(axis=1), last)
        medians = (ordered[lower] + ordered[upper]) / 2
        return np.where((half[:, 0] > 0) & np.isfinite(medians), medians, np.nan)

    return of_rows


def order_statistics_interval(values: Floats, level: float) -> Interval | str:
    """Returns the interval of a median between two order statistics, or why there is none.

    Args:
        values: of independent samples, shape (n,), infinite where no example was found.
        level: of the interval.
    """
    ordered, n = np.sort(values), len(values)
    skip = int(binom.ppf((1 - level) / 2, n, 0.5))
    # X_(r) to X_(n + 1 - r) covers the median with probability 1 - 2 P(B < r), B ~ Bin(n, 1/2).
    if skip < 1 or not np.isfinite(ordered[n - skip]):
        return "too few samples with an example for an interval of order statistics"
    return Interval(
        float(ordered[skip - 1]), float(ordered[n - skip]), level,
        "order statistics (binomial); samples",
    )  # fmt: skip


@dataclass(frozen=True)
class Series:
    """What was run: the threat model, and the attacks in order."""

    threat: ThreatModel
    stages: tuple[str, ...]
    abstention: Abstention | None = None


@dataclass(frozen=True)
class AttackOutcomes:
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
        common: the level without second opinions, which not every model has.
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
    common: NDArray[np.int64]

    @property
    def effort(self) -> str:
        """What was spent that not every model gets."""
        seconds = [one for stage, one in self.asked.items() if stage.endswith(SECOND)]
        return SECOND.replace("-", " ") if any(one.any() for one in seconds) else ""

    def plain(self) -> AttackOutcomes:
        """Returns the same without second opinions."""
        return replace(self, level=self.common)

    def robust(self, at: int, stage: str | None = None) -> NDArray[np.bool_]:
        """Whether each sample withstands the radius at index `at` (up to a stage)."""
        level = self.level if stage is None else self.after[stage]
        return np.asarray(self.right & (level > at))


def read_outcomes(series: Series, evidence: Evidence) -> AttackOutcomes:
    """Reads the records of all stages, once."""
    return evidence.once(("outcomes", series), lambda: _read_outcomes(series, evidence))


def _read_outcomes(series: Series, evidence: Evidence) -> AttackOutcomes:
    samples = evidence.own.samples
    clean = evidence.needs["clean"].records.aligned(samples.ids).array("prediction")
    right = np.asarray(clean == samples.targets, dtype=np.bool_)
    if series.abstention is not None:
        right, _ = series.abstention.clean(evidence.needs["clean"], samples.ids, samples.targets)
    n, top = len(samples), len(series.threat.eps)
    level = np.where(right, top, 0).astype(np.int64)
    common = level.copy()
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
            if not stage.endswith(SECOND):
                common[rows] = np.minimum(common[rows], part["level"].to_numpy())
            own = part[f"distance_{series.threat.norm}"].to_numpy()
            nearer = np.asarray(own < distance[rows])
            distance[rows[nearer]] = own[nearer]
            prediction[rows[nearer]] = part["prediction"].to_numpy()[nearer]
            for name, total in spent.items():
                total[rows] += part[name].to_numpy()
            seen += int(part["confirmations"].sum())
            failed += int(part["unconfirmed"].sum())
        after[stage], asked[stage] = level.copy(), entered
    return AttackOutcomes(
        right, clean.astype(np.int64), level, after, prediction, distance, asked, spent,
        (seen, failed), common,
    )  # fmt: skip


def changed_numbers(evidence: Evidence) -> list[Number]:
    """Returns the median of the columns that examples of rows change, if there are examples."""
    samples, records = evidence.own.samples, evidence.own.records
    changed = np.full(len(samples), -1.0)
    if len(records):
        rows = pd.Index(samples.ids).get_indexer(pd.Index(records.ids))
        changed[rows] = records.array("changed")
    found = changed >= 0
    return [median_number(MEDIAN_CHANGED.id, changed, found)] if found.any() else []


_POINTS = (1, 2, 5)


class Spent(NamedTuple):
    """What became of the m samples that an attack asked about.

    Attributes:
        rows: their places in the evidence's sample table, shape (m,).
        queries_to: questions until there was an example within each radius, infinity where there
            was none, shape (m, radii).
        queries: questions in all, shape (m,).
        first: the distance of each one's first example, NaN where that is not told.
        distance: of the nearest, NaN without one.
    """

    rows: NDArray[np.int64]
    queries_to: NDArray[np.float64]
    queries: NDArray[np.int64]
    first: NDArray[np.float64]
    distance: NDArray[np.float64]


def read_spent(series: Series, evidence: Evidence) -> Spent:
    """Reads the records of an attack with a budget, once."""
    return evidence.once(("spent", series), lambda: _read_spent(series, evidence))


def _read_spent(series: Series, evidence: Evidence) -> Spent:
    records = evidence.own.records
    radii = len(series.threat.eps)
    if not len(records):
        none = np.zeros(0)
        empty = none.astype(np.int64)
        return Spent(empty, np.zeros((0, radii)), empty, none, none)
    raw = records.array("queries_to").astype(np.float64)
    return Spent(
        pd.Index(evidence.own.samples.ids).get_indexer(pd.Index(records.ids)),
        np.where(np.isnan(raw), np.inf, raw),
        records.array("queries").astype(np.int64),
        records.array("first_distance").astype(np.float64),
        records.array(f"distance_{series.threat.norm}").astype(np.float64),
    )


def query_numbers(series: Series, budget: int, evidence: Evidence) -> list[Number]:
    """Returns the median of queries, and success within the budget and a tenth of it, by eps."""
    spent, n = read_spent(series, evidence), len(evidence.own.samples)
    if not len(spent.rows):
        return []
    asked = np.zeros(n, dtype=np.bool_)
    asked[spent.rows] = True
    found: list[Number] = []
    for at, eps in enumerate(series.threat.eps):
        if eps == 0:
            continue
        point, needed = point_of(eps), np.full(n, np.inf)
        needed[spent.rows] = spent.queries_to[:, at]
        found.append(median_number(MEDIAN_QUERIES.id, needed, asked, point=point))
        for info, most in ((SUCCESS_AT_BUDGET, budget), (SUCCESS_AT_TENTH, budget / 10)):
            # Which samples are right as they are, and so asked about, depends on the model.
            make = partial(Share, needed <= most, asked, same_samples=False)
            found.append(Number(metric=info.id, point=point, make=make))
    return found


def query_tables(series: Series, budget: int, evidence: Evidence) -> Mapping[str, pd.DataFrame]:
    """Returns success by queries: at each eps as `queries`, at the largest as `success`."""
    spent, level = read_spent(series, evidence), evidence.options.level
    n = len(spent.rows)
    if not n:
        return {}
    curve = []
    for at, eps in enumerate(series.threat.eps):
        for queries in query_points(budget) if eps > 0 else ():
            hits = int((spent.queries_to[:, at] <= queries).sum())
            found = share_interval(hits, n, level)
            curve.append(
                {
                    "point": point_of(eps), "queries": queries, "n": n, "success": hits / n,
                    "lower": found.lower, "upper": found.upper,
                }
            )  # fmt: skip
    frame = pd.DataFrame(curve)
    if not len(frame):
        return {"queries": frame}
    largest = frame["point"] == point_of(series.threat.eps[-1])
    return {"queries": frame, "success": frame[largest].reset_index(drop=True)}


def query_points(budget: int) -> list[int]:
    """Returns 1, 2, 5, 10, ... and the budget."""
    found, power = [], 1
    while power <= budget:
        found += [step * power for step in _POINTS if step * power < budget]
        power *= 10
    return [*found, budget]
