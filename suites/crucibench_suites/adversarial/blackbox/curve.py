"""Success against queries, with intervals, from what records say of each sample."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Number, Share
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


def success_numbers(series: Series, budget: int, evidence: Evidence) -> list[Number]:
    """Returns the shares of the samples asked about that have an example within some questions."""
    spent = read_spent(series, evidence)
    if not len(spent.queries):
        return []
    ids = evidence.own.samples.ids
    rows = pd.Index(ids).get_indexer(pd.Index(evidence.own.records.ids))
    asked = np.zeros(len(ids), dtype=np.bool_)
    asked[rows] = True
    numbers = []
    for at, eps in enumerate(series.threat.eps):
        if eps == 0:
            continue
        needed = np.full(len(ids), np.inf)
        needed[rows] = spent.queries_to[:, at]
        for info, most in ((SUCCESS_AT_BUDGET, budget), (SUCCESS_AT_TENTH, budget / 10)):
            # Which samples are asked about depends on the model: those that it gets right.
            make = partial(Share, needed <= most, asked, same_samples=False)
            numbers.append(Number(metric=info.id, point=point_of(eps), make=make))
    return numbers


def query_rows(series: Series, evidence: Evidence) -> list[Row]:
    """Returns the median of the questions needed, by eps."""
    spent, level = read_spent(series, evidence), evidence.options.level
    return [
        median_row(MEDIAN_QUERIES.id, spent.queries_to[:, at], level, point=point_of(eps))
        for at, eps in enumerate(series.threat.eps)
        if eps > 0 and len(spent.queries)
    ]


def query_tables(series: Series, budget: int, evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Returns success by the number of questions, for each eps and for the largest."""
    spent, level = read_spent(series, evidence), evidence.options.level
    n = len(spent.queries)
    if not n:
        return {}
    curve = []
    for at, eps in enumerate(series.threat.eps):
        for queries in query_points(budget) if eps > 0 else ():
            hits = spent.queries_to[:, at] <= queries
            found = wilson(int(hits.sum()), n, level)
            curve.append(
                {
                    "point": point_of(eps), "queries": queries, "n": n,
                    "success": float(hits.mean()), "lower": found.lower, "upper": found.upper,
                }
            )  # fmt: skip
    tables = {"queries": pd.DataFrame(curve)}
    if curve:
        largest = tables["queries"]["point"] == point_of(series.threat.eps[-1])
        tables["success"] = tables["queries"][largest].reset_index(drop=True)
    return tables


def query_points(budget: int) -> list[int]:
    """Returns 1, 2, 5, 10, ... and the budget."""
    found, power = [], 1
    while power <= budget:
        found += [step * power for step in _POINTS if step * power < budget]
        power *= 10
    return [*found, budget]
