"""What attacks with a query budget report beside what all do."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo

MEDIAN_QUERIES = MetricInfo(
    id="median-queries",
    name="median queries to an example",
    direction="higher",
    definition="The median over the samples that are right as they are of the questions until the "
    "attack had an example within eps; null where the budget was not enough for half of them.",
    lower=0.0,
)

SUCCESS_AT_BUDGET = MetricInfo(
    id="success-within-budget",
    name="success within the query budget",
    direction="lower",
    definition="The share of the samples that are right as they are for which the attack had an "
    "example within eps before its query budget was spent.",
    lower=0.0,
    upper=1.0,
)

SUCCESS_AT_TENTH = MetricInfo(
    id="success-within-a-tenth",
    name="success within a tenth of the query budget",
    direction="lower",
    definition="The same with a tenth of the questions: how early success comes.",
    lower=0.0,
    upper=1.0,
)

QUERY_METRICS = (MEDIAN_QUERIES, SUCCESS_AT_BUDGET, SUCCESS_AT_TENTH)
