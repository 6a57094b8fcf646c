"""The identity of the numbers on other populations."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo
from crucibench.metrics.catalogue import CATALOGUE

TOP_1 = MetricInfo(
    id="weighted-top-1",
    name="Accuracy in another population",
    direction="higher",
    definition="The mean of being right, weighted by the samples' importance weights.",
    lower=0.0,
    upper=1.0,
)
DROP = MetricInfo(
    id="top-1-less-weighted",
    name="Accuracy lost in another population",
    direction="lower",
    definition="top-1 of all samples that have the column less weighted-top-1.",
    lower=-1.0,
    upper=1.0,
)
MAE = MetricInfo(
    id="weighted-mae",
    name="Mean absolute error in another population",
    direction="lower",
    definition="The mean absolute error, weighted by the samples' importance weights.",
    unit=CATALOGUE["mae"].unit,
    lower=0.0,
)
RISE = MetricInfo(
    id="weighted-less-mae",
    name="Mean absolute error, rise in another population",
    direction="lower",
    definition="weighted-mae less mae of all samples that have the column.",
    unit=CATALOGUE["mae"].unit,
)
EFFECTIVE = MetricInfo(
    id="effective-sample-size",
    name="Effective sample size",
    direction="none",
    definition="The square of the sum of the weights over the sum of their squares: as many "
    "samples of equal weight would say as much.",
    source="Kish, Survey Sampling, 1965",
    lower=0.0,
)

OF_POPULATION = (TOP_1, DROP, MAE, RISE, EFFECTIVE)
