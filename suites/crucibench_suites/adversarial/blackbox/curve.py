"""Success against queries, with intervals, from what records say of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.statistic import Number, Share
from crucibench.stats import wilson
from crucibench_suites.adversarial.metrics import (
    MEDIAN_QUERIES,
    SUCCESS_AT_BUDGET,
    SUCCESS_AT_TENTH,
)
from crucibench_suites.adversarial.scoring import Series, median_number
from crucibench_suites.adversarial.threat import point_of

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
    """Reads the records of an attack with a budget."""
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
            found = wilson(hits, n, level)
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
