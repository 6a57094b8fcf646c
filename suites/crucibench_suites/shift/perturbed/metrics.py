"""The identity of the numbers on perturbed texts and tables that images have no use for."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo
from crucibench.metrics.catalogue import CATALOGUE
from crucibench_suites.shift import metrics

MAE = CATALOGUE["mae"]

INVARIANCE = MetricInfo(
    id="invariance-pass-rate",
    name="Invariance, pass rate",
    direction="higher",
    definition="The share of samples whose predicted class is that of the clean sample under "
    "every variant that was run.",
    source="Ribeiro et al., Beyond accuracy: behavioral testing of NLP models with CheckList, ACL "
    "2020 (the share of tests of type INV that pass)",
    lower=0.0,
    upper=1.0,
)
PERTURBED = MetricInfo(
    id="perturbed-share",
    name="Share of samples changed",
    direction="none",
    definition="The share of samples that differ from the clean ones at all: a perturbation leaves "
    "alone what it can't be done to.",
    lower=0.0,
    upper=1.0,
)
MEAN_MAE = MetricInfo(
    id="mean-mae",
    name="Mean absolute error, mean over severities",
    direction="lower",
    definition="The plain mean of mae over the severities that were run.",
    unit=MAE.unit,
    lower=0.0,
)
MAE_RISE = MetricInfo(
    id="mae-rise",
    name="Mean absolute error, rise",
    direction="lower",
    definition="mae on the samples shifted less mae on the same samples clean.",
    unit=MAE.unit,
)
CHANGE = MetricInfo(
    id="mean-absolute-change",
    name="Mean absolute change of the prediction",
    direction="lower",
    definition="The mean absolute difference between the prediction shifted and clean.",
    unit=MAE.unit,
    lower=0.0,
)
WORST_CASE_MAE = MetricInfo(
    id="worst-case-mae",
    name="Mean absolute error, worst case of each sample",
    direction="lower",
    definition="The mean over samples of the largest absolute error under any variant that was "
    "run.",
    unit=MAE.unit,
    lower=0.0,
)
CORRUPTED_MAE = MetricInfo(
    id="corrupted-mae",
    name="Corrupted mean absolute error",
    direction="lower",
    definition="The plain mean of mae over the perturbations and severities that were run.",
    unit=MAE.unit,
    lower=0.0,
)
WORST_CORRUPTION_MAE = MetricInfo(
    id="worst-corruption-mae",
    name="Mean absolute error, worst perturbation",
    direction="lower",
    definition="The highest mean-mae of the perturbations that were run.",
    unit=MAE.unit,
    lower=0.0,
)

OF_PERTURBATION = (
    *metrics.OF_CORRUPTION, metrics.WORST_CASE, INVARIANCE, PERTURBED, MAE, MAE_RISE, CHANGE,
    MEAN_MAE, WORST_CASE_MAE,
)  # fmt: skip
OF_PERTURBED_SUMMARY = (
    metrics.CORRUPTED_TOP_1, metrics.DROP, metrics.CORRUPTED_FLIP_RATE, metrics.CORRUPTED_ECE,
    metrics.WORST_CORRUPTION, metrics.WORST_CASE, INVARIANCE, CORRUPTED_MAE, MAE_RISE,
    WORST_CORRUPTION_MAE, WORST_CASE_MAE,
)  # fmt: skip

OF_PERTURBED: tuple[MetricInfo, ...] = tuple(
    {info.id: info for info in (*OF_PERTURBATION, *OF_PERTURBED_SUMMARY)}.values()
)
"""All that this part of the suite may report."""
