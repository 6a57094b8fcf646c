"""Success against queries, with intervals, from what records say of each sample."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.rows import Row
from crucibench.stats import wilson
from crucibench_suites.adversarial.metrics import (
    MEDIAN_QUERIES,
    SUCCESS_AT_BUDGET,
    SUCCESS_AT_TENTH,
)
from crucibench_suites.adversarial.scoring import Series, median_row
from crucibench_suites.adversarial.threat import point_of

_POINTS = (1, 2, 5)


class Spent(NamedTuple):
    """What became of the m samples that an attack asked about.

    Attributes:
        queries_to: questions until there was an example within each radius, infinity where there
            was none, shape (m, radii).
        queries: questions in all, shape (m,).
        first: the distance of each one's first example, NaN where that is not told.
        distance: of the nearest, NaN without one.
    """

    queries_to: NDArray[np.float64]
    queries: NDArray[np.int64]
    first: NDArray[np.float64]
    distance: NDArray[np.float64]


def read_spent(series: Series, evidence: Evidence) -> Spent:
    """Reads the records of an attack with a budget."""
    records = evidence.own.records
    radii = len(series.threat.eps)
    if not len(records):
        none = np.zeros(0)
        return Spent(np.zeros((0, radii)), none.astype(np.int64), none, none)
    raw = records.array("queries_to").astype(np.float64)
    return Spent(
        np.where(np.isnan(raw), np.inf, raw),
        records.array("queries").astype(np.int64),
        records.array("first_distance").astype(np.float64),
        records.array(f"distance_{series.threat.norm}").astype(np.float64),
    )


def with_queries(series: Series, budget: int, evidence: Evidence, scored: Scored) -> Scored:
    """Returns what is reported of all attacks, and of queries beside."""
    spent = read_spent(series, evidence)
    n, level = len(spent.queries), evidence.options.level
    if not n:
        return scored
    rows, curve = [], []
    for at, eps in enumerate(series.threat.eps):
        if eps == 0:
            continue
        point, needed = point_of(eps), spent.queries_to[:, at]
        rows.append(median_row(MEDIAN_QUERIES.id, needed, level, point=point))
        for info, most in ((SUCCESS_AT_BUDGET, budget), (SUCCESS_AT_TENTH, budget / 10)):
            rows.append(_share(info.id, needed <= most, level, point))
        for queries in query_points(budget):
            found = wilson(int((needed <= queries).sum()), n, level)
            curve.append(
                {
                    "point": point, "queries": queries, "n": n,
                    "success": float((needed <= queries).mean()),
                    "lower": found.lower, "upper": found.upper,
                }
            )  # fmt: skip
    frame = pd.DataFrame(curve)
    tables = {"queries": frame}
    if len(frame):
        tables["success"] = frame[frame["point"] == point_of(series.threat.eps[-1])].reset_index(
            drop=True
        )
    return Scored([*scored.rows, *rows], {**scored.tables, **tables})


def query_points(budget: int) -> list[int]:
    """Returns 1, 2, 5, 10, ... and the budget."""
    found, power = [], 1
    while power <= budget:
        found += [step * power for step in _POINTS if step * power < budget]
        power *= 10
    return [*found, budget]


def _share(metric: str, hits: NDArray[np.bool_], level: float, point: str) -> Row:
    n = len(hits)
    found = wilson(int(hits.sum()), n, level)
    return Row(
        metric=metric, value=float(hits.mean()), lower=found.lower, upper=found.upper,
        level=found.level, method=found.method, n=n, point=point,
    )  # fmt: skip
