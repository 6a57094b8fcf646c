"""The metrics that the suite lists: no other may stand in its rows."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo
from crucibench.metrics.catalogue import metric_info

_BINNED = (
    "ece-15-equal-width",
    "ece-15-equal-mass",
    "ece-l2-15-equal-mass-debiased",
    "mce-15-equal-width",
)

METRICS: tuple[MetricInfo, ...] = tuple(
    metric_info(metric)
    for metric in (
        *("top-1", "top-5", "balanced-accuracy", "f1-macro", "f1-weighted", "mcc"),
        *("precision", "recall", "f1", "fpr"),
        *("auroc", "auroc-ovr-macro", "average-precision", "average-precision-ovr-macro"),
        *("recall-at-precision-90", "recall-at-precision-99"),
        *("log-loss", "brier", "brier-sum"),
        *(f"{stem}-{view}" for view in ("top-label", "positive-class") for stem in _BINNED),
        "ece-15-equal-width-classwise",
        "temperature",
        "ece-15-equal-width-top-label-before-temperature",
        "ece-15-equal-width-top-label-after-temperature",
        *("aurc", "e-aurc"),
        *(f"accuracy-at-coverage-{percent}" for percent in (80, 90, 95)),
        *("mae", "rmse", "median-absolute-error", "r2", "spearman"),
        *("top-1-train-minus-test", "mae-train-minus-test"),
    )
)
"""All that the suite may report; classification and regression share the scenario."""

LISTED = frozenset(metric.id for metric in METRICS)
"""Their ids."""
