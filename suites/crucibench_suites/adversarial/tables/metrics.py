"""What attacks on tables report beside what all attacks with a budget do."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo

MEDIAN_CHANGED = MetricInfo(
    id="median-changed-columns",
    name="median of changed columns",
    direction="higher",
    definition="The median over the samples with an example of how many columns the nearest one "
    "changes.",
    lower=1.0,
)

TABLE_METRICS = (MEDIAN_CHANGED,)
