"""The scenario ``clean``: everything that a plain pass over the test role says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
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

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Clean(Derived):
    """Scores the pass over the test role, and the train role's where there is one."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS

    @classmethod
    def of(cls, suite: str, *, train: bool) -> Clean:
        """Returns the scenario; with `train` it also asks for a pass over the train role."""
        needs = [Need(alias="test", cell="pass/test")]
        if train:
            needs.append(Need(alias="train", cell="pass/train", optional=True))
        return cls(suite=suite, name="clean", needs=tuple(needs))

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.accuracy.scoring import score_clean

        return score_clean(evidence, self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.accuracy.audits import audit_clean

        return audit_clean(evidence, self.stream)

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns every number that can be computed again for any weighting of the test samples."""
        from crucibench_suites.accuracy.recorder import comparables_of

        return comparables_of(evidence)

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns one outcome per test sample, under the model's decision rule."""
        from crucibench_suites.accuracy.outcomes import view

        return view(evidence.needs["test"], evidence.task)
