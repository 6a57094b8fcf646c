"""The identity of the numbers on subpopulations, on data of the user's own, and on drift."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo
from crucibench.metrics.catalogue import CATALOGUE
from crucibench_suites.shift import metrics

TOP_1, LOG_LOSS, ECE = metrics.TOP_1, metrics.LOG_LOSS, metrics.ECE
CONFIDENCE = metrics.CONFIDENCE
MAE = CATALOGUE["mae"]
RMSE = CATALOGUE["rmse"]

_WILDS = "Koh et al., WILDS: a benchmark of in-the-wild distribution shifts, ICML 2021"


def _share(name: str, title: str, definition: str, **more: str) -> MetricInfo:
    more = {"direction": "higher"} | more
    return MetricInfo(id=name, name=title, definition=definition, lower=0.0, upper=1.0, **more)  # type: ignore[arg-type]


HOME_DROP = MetricInfo(
    id="top-1-home-minus-here",
    name="Accuracy lost from the home test set",
    direction="lower",
    definition="top-1 on the home test set less top-1 here: of different samples.",
    lower=-1.0,
    upper=1.0,
)
MAE_RISE = MetricInfo(
    id="mae-here-minus-home",
    name="Mean absolute error, rise from the home test set",
    direction="lower",
    definition="mae here less mae on the home test set: of different samples.",
    unit=MAE.unit,
)
RMSE_RISE = MetricInfo(
    id="rmse-here-minus-home",
    name="Root mean squared error, rise from the home test set",
    direction="lower",
    definition="rmse here less rmse on the home test set: of different samples.",
    unit=RMSE.unit,
)

BY_CONFIDENCE = _share(
    "estimated-top-1-average-confidence",
    "Accuracy estimated by average confidence",
    "The mean probability of the predicted class here, without labels. It is the accuracy if the "
    "model is calibrated here.",
)
BY_DIFFERENCE = _share(
    "estimated-top-1-difference-of-confidences",
    "Accuracy estimated by difference of confidences",
    "top-1 at home less the fall of the mean confidence from home to here, without labels here. It "
    "is the accuracy if errors rise by as much as confidence falls.",
    source="Guillory et al., Predicting with confidence on unseen distributions, ICCV 2021",
)
BY_THRESHOLD = _share(
    "estimated-top-1-thresholded-confidence",
    "Accuracy estimated by thresholded confidence",
    "The share of confidences here above the threshold that as many of them exceed at home as are "
    "right there, without labels here. It is the accuracy if that threshold still tells so.",
    source="Garg et al., Leveraging unlabeled data to predict out-of-distribution performance, "
    "ICLR 2022",
)
ESTIMATES = (BY_CONFIDENCE, BY_DIFFERENCE, BY_THRESHOLD)

WORST_GROUP = _share(
    "worst-group-top-1",
    "Accuracy, worst group",
    "The lowest top-1 of the groups that have min_group_size samples; without a group, over all "
    "columns and crossings.",
    source=_WILDS,
)
GROUP_AVERAGE = _share(
    "group-average-top-1",
    "Accuracy, average of groups",
    "The plain mean of top-1 over the groups that have min_group_size samples.",
    source=_WILDS,
)
GROUP_TENTH = _share(
    "group-percentile-10-top-1",
    "Accuracy, 10th percentile of groups",
    "The 10th percentile of top-1 over the groups that have min_group_size samples, interpolated "
    "linearly.",
    source=_WILDS,
)
WORST_GROUP_MAE = MetricInfo(
    id="worst-group-mae",
    name="Mean absolute error, worst group",
    direction="lower",
    definition="The highest mae of the groups that have min_group_size samples; without a group, "
    "over all columns and crossings.",
    unit=MAE.unit,
    lower=0.0,
)
GROUP_AVERAGE_MAE = MetricInfo(
    id="group-average-mae",
    name="Mean absolute error, average of groups",
    direction="lower",
    definition="The plain mean of mae over the groups that have min_group_size samples.",
    unit=MAE.unit,
    lower=0.0,
)
GROUP_TENTH_MAE = MetricInfo(
    id="group-percentile-90-mae",
    name="Mean absolute error, 90th percentile of groups",
    direction="lower",
    definition="The 90th percentile of mae over the groups that have min_group_size samples, "
    "interpolated linearly.",
    unit=MAE.unit,
    lower=0.0,
)

DRIFTED = MetricInfo(
    id="drifted",
    name="Tests that find drift",
    direction="none",
    definition="How many of the two-sample tests between home and here (one of each input column "
    "or statistic, its missing values, predictions, confidence and features) have a p-value below "
    "1 - level after Holm's correction over all of them; n is how many there are.",
    source="Holm, A simple sequentially rejective multiple test procedure, 1979",
    lower=0.0,
)
SMALLEST_P = MetricInfo(
    id="drift-p-value",
    name="Drift, smallest p-value",
    direction="none",
    definition="The smallest p-value of the two-sample tests between home and here, after Holm's "
    "correction over all of them; n is how many there are.",
    lower=0.0,
    upper=1.0,
    unit="p",
)
LARGEST_PSI = MetricInfo(
    id="largest-psi",
    name="Drift, largest population stability index",
    direction="none",
    definition="The largest population stability index of an input column or statistic between "
    "home and here, in ten bins of home's quantiles, or in categories.",
    source="Siddiqi, Credit Risk Scorecards, 2006",
    lower=0.0,
)

OF_GROUPS = (
    TOP_1, WORST_GROUP, GROUP_AVERAGE, GROUP_TENTH, MAE, WORST_GROUP_MAE, GROUP_AVERAGE_MAE,
    GROUP_TENTH_MAE,
)  # fmt: skip
OF_PLACE = (
    TOP_1, HOME_DROP, LOG_LOSS, ECE, CONFIDENCE, *ESTIMATES, MAE, RMSE, MAE_RISE, RMSE_RISE,
)  # fmt: skip
OF_PUBLISHED = (
    TOP_1, metrics.DROP, metrics.FLIP_RATE, LOG_LOSS, ECE, CONFIDENCE, HOME_DROP,
)  # fmt: skip
OF_DRIFT = (DRIFTED, SMALLEST_P, LARGEST_PSI)

PLACES: tuple[MetricInfo, ...] = tuple(
    {info.id: info for info in (*OF_GROUPS, *OF_PLACE, *OF_DRIFT)}.values()
)
"""All that this half of the suite may report."""
