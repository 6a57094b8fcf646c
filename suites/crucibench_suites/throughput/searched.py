"""From trials to the highest rate that keeps a latency bound."""

from __future__ import annotations

import pandas as pd

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.rows import Row
from crucibench_suites.throughput.readings import Readings
from crucibench_suites.throughput.searching import Bracket, Trial, trials_of


def score_search(evidence: Evidence, bound: float, share: float) -> Scored:
    """Scores a search."""
    readings = Readings(evidence.own.records)
    trials = trials_of(readings, bound, share)
    table = pd.DataFrame(
        {
            "rate": [one.rate for one in trials],
            "queries": [one.queries for one in trials],
            "over_bound": [one.over for one in trials],
            "allowed": [one.allowed for one in trials],
            "passed": [one.passed for one in trials],
        }
    )
    rows = [
        _highest(trials, readings),
        Row(metric="trials", value=float(len(trials)), n=len(trials), reason="it is a count"),
    ]
    return Scored(rows, {"trials": table})


def _highest(trials: list[Trial], readings: Readings) -> Row:
    bracket, queries = Bracket.of(trials), sum(one.queries for one in trials)
    if not trials:
        slow = readings.fact("too-slow")
        reason = f"at {slow[0]:.3g} queries/s a trial of enough queries for the percentile lasts "
        reason += "more than ten times as long as was asked for"
    elif bracket.passed == 0:
        reason = f"no rate kept the bound, down to {bracket.failed:.3g} queries/s"
    elif bracket.failed == float("inf"):
        reason = f"no rate failed, up to {bracket.passed:.3g} queries/s"
    else:
        return Row(
            metric="highest-rate", value=bracket.passed, lower=bracket.passed,
            upper=bracket.failed, level=0.99, n=queries, method="bisection, early stopping",
        )  # fmt: skip
    return Row(metric="highest-rate", value=None, n=queries, reason=reason)
