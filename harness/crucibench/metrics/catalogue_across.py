"""The identities of what becomes of gaps between groups where the samples are changed."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo
from crucibench.metrics.catalogue_groups import GAPS, GROUP_METRICS

_THERE = "under what the scenario does to the samples less that on the same samples as they are"

RISES = tuple(
    gap.id
    for gap in GAPS.values()
    if gap.kind == "difference" and gap.combine == "worst" and gap.id != "base-rate-difference"
)
"""The gaps of decisions whose rise is measured; base rates are the data's."""

_REGRESSION = ("mae-difference", "mean-error-difference", "mean-prediction-difference")

_KNOWN = {info.id: info for info in GROUP_METRICS}

ACROSS_METRICS: tuple[MetricInfo, ...] = (
    *(
        MetricInfo(
            id=f"{gap}-rise",
            name=f"{_KNOWN[gap].name}, rise",
            direction="lower",
            definition=f"{gap} {_THERE}, of the groups that are compared in both: above 0 where "
            "the widest pair of groups is further apart there.",
            unit=_KNOWN[gap].unit,
            lower=-1.0 if gap in RISES else float("-inf"),
            upper=1.0 if gap in RISES else float("inf"),
        )
        for gap in (*RISES, *_REGRESSION)
    ),
    MetricInfo(
        id="worst-group-top-1-drop",
        name="Worst-group accuracy lost",
        direction="lower",
        definition="worst-group-top-1 on the samples as they are less that under what the scenario "
        "does to them; the groups may be two.",
        lower=-1.0,
        upper=1.0,
    ),
    MetricInfo(
        id="worst-group-mae-rise",
        name="Worst-group mean absolute error, rise",
        direction="lower",
        definition=f"worst-group-mae {_THERE}; the groups may be two.",
        unit=_KNOWN["worst-group-mae"].unit,
    ),
    MetricInfo(
        id="group-top-1-drop",
        name="Accuracy lost by the group",
        direction="lower",
        definition="top-1 of the group's samples as they are less top-1 of the same under what the "
        "scenario does to them.",
        lower=-1.0,
        upper=1.0,
    ),
)
