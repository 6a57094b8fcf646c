"""The identity of every number that the suite reports."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo
from crucibench.metrics.catalogue import CATALOGUE

_HENDRYCKS = (
    "Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and "
    "perturbations, ICLR 2019"
)

TOP_1 = CATALOGUE["top-1"]
LOG_LOSS = CATALOGUE["log-loss"]
ECE = CATALOGUE["ece-15-equal-width-top-label"]

DROP = MetricInfo(
    id="top-1-drop",
    name="Accuracy lost",
    direction="lower",
    definition="top-1 on the clean samples less top-1 on the same samples shifted.",
    lower=-1.0,
    upper=1.0,
)
FLIP_RATE = MetricInfo(
    id="flip-rate",
    name="Flip rate",
    direction="lower",
    definition="The share of samples whose predicted class is another than on the clean sample.",
    lower=0.0,
    upper=1.0,
)
CONFIDENCE = MetricInfo(
    id="mean-confidence",
    name="Mean confidence",
    direction="none",
    definition="The mean probability of the predicted class.",
    lower=0.0,
    upper=1.0,
)
MEAN_TOP_1 = MetricInfo(
    id="mean-top-1",
    name="Accuracy, mean over severities",
    direction="higher",
    definition="The plain mean of top-1 over the severities that were run.",
    lower=0.0,
    upper=1.0,
)
CORRUPTED_TOP_1 = MetricInfo(
    id="corrupted-top-1",
    name="Corrupted accuracy",
    direction="higher",
    definition="The plain mean of top-1 over the corruptions and severities that were run; a "
    "sample counts by the share of them in which it is right.",
    lower=0.0,
    upper=1.0,
)
CORRUPTED_FLIP_RATE = MetricInfo(
    id="corrupted-flip-rate",
    name="Corrupted flip rate",
    direction="lower",
    definition="The plain mean of flip-rate over the corruptions and severities that were run.",
    lower=0.0,
    upper=1.0,
)
CORRUPTED_ECE = MetricInfo(
    id="corrupted-ece-15-equal-width-top-label",
    name="Corrupted ECE",
    direction="lower",
    definition="The plain mean of ece-15-equal-width-top-label over the corruptions and "
    "severities that were run.",
    lower=0.0,
    upper=1.0,
)
WORST_CORRUPTION = MetricInfo(
    id="worst-corruption-top-1",
    name="Accuracy, worst corruption",
    direction="higher",
    definition="The lowest mean-top-1 of the corruptions that were run.",
    lower=0.0,
    upper=1.0,
)
WORST_CASE = MetricInfo(
    id="worst-case-top-1",
    name="Accuracy, worst case of each sample",
    direction="higher",
    definition="The share of samples that are right under every variant that was run.",
    lower=0.0,
    upper=1.0,
)
MCE = MetricInfo(
    id="mce",
    name="Mean corruption error",
    direction="lower",
    definition="The mean over the 15 common corruptions of 100 times the error summed over "
    "severities, divided by the same of the reference.",
    source=_HENDRYCKS,
    unit="%",
    lower=0.0,
)
RELATIVE_MCE = MetricInfo(
    id="relative-mce",
    name="Relative mean corruption error",
    direction="lower",
    definition="As mce, of errors less the error on clean samples, of model and reference alike.",
    source=_HENDRYCKS,
    unit="%",
)

OF_CORRUPTION = (TOP_1, DROP, FLIP_RATE, LOG_LOSS, ECE, CONFIDENCE, MEAN_TOP_1)
OF_GRID = (TOP_1, DROP, FLIP_RATE, WORST_CASE)
OF_SUMMARY = (
    CORRUPTED_TOP_1, DROP, CORRUPTED_FLIP_RATE, CORRUPTED_ECE, WORST_CORRUPTION, WORST_CASE, MCE,
    RELATIVE_MCE,
)  # fmt: skip

METRICS: tuple[MetricInfo, ...] = tuple(
    {info.id: info for info in (*OF_CORRUPTION, *OF_GRID, *OF_SUMMARY)}.values()
)
"""All that the suite may report."""
