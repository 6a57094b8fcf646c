"""The identity of every number that the suite reports."""

from __future__ import annotations

from dataclasses import replace

from crucibench.contracts.metric import MetricInfo, metrics_named
from crucibench.contracts.task import TaskKind, task_kinds
from crucibench.metrics.catalogue import CATALOGUE

_HENDRYCKS = (
    "Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and "
    "perturbations, ICLR 2019"
)

_WILDS = "Koh et al., WILDS: a benchmark of in-the-wild distribution shifts, ICML 2021"

TOP_1 = CATALOGUE["top-1"]
LOG_LOSS = CATALOGUE["log-loss"]
ECE = CATALOGUE["ece-15-equal-width-top-label"]
MAE = CATALOGUE["mae"]
RMSE = CATALOGUE["rmse"]

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


def _share(name: str, title: str, definition: str, **more: str) -> MetricInfo:
    more = {"direction": "higher"} | more
    return MetricInfo(id=name, name=title, definition=definition, lower=0.0, upper=1.0, **more)  # type: ignore[arg-type]


CHANGED = _share(
    "changed-answers",
    "Answers changed",
    "The share of samples that are answered otherwise than clean: of several labels, any of them.",
    direction="lower",
)


def of_headline(kind: TaskKind) -> dict[str, MetricInfo]:
    """Returns what is made of the headline metric of a kind, by ``mean``, ``lost``, ...

    For kinds whose targets are neither classes nor numbers.
    """
    (head,) = metrics_named([kind.headline])
    info, name = head.info, head.info.name
    worst = "highest" if info.direction == "lower" else "lowest"

    def made(prefix: str, suffix: str, title: str, definition: str) -> MetricInfo:
        id_ = f"{prefix}{info.id}{suffix}"
        return replace(info, id=id_, name=title, definition=definition, source="")

    loss = made(
        "", "-lost", f"{name} lost",
        f"How much worse {info.id} is on the samples shifted than on the same samples clean.",
    )  # fmt: skip
    return {
        "mean": made(
            "mean-", "", f"{name}, mean over severities",
            f"The plain mean of {info.id} over the severities that were run.",
        ),
        "lost": replace(loss, direction="lower", lower=-info.upper),
        "corrupted": made(
            "corrupted-", "", f"{name}, corrupted",
            f"The plain mean of {info.id} over the corruptions and severities that were run.",
        ),
        "worst": made(
            "worst-corruption-", "", f"{name}, worst corruption",
            f"The {worst} mean-{info.id} of the corruptions that were run.",
        ),
    }  # fmt: skip


def of_kind(kind: TaskKind) -> tuple[MetricInfo, ...]:
    """Returns all that is reported of a kind whose targets are neither classes nor numbers."""
    own = tuple(metric.info for metric in metrics_named(kind.perturbed_metrics or (kind.headline,)))
    return (*own, *of_headline(kind).values(), CHANGED, PERTURBED)


HOME_DROP = MetricInfo(
    id="top-1-home-minus-here",
    name="Accuracy lost from the home test set",
    direction="lower",
    definition="top-1 on the home test set less top-1 here: of different samples.",
    lower=-1.0,
    upper=1.0,
)
HOME_MAE_RISE = MetricInfo(
    id="mae-here-minus-home",
    name="Mean absolute error, rise from the home test set",
    direction="lower",
    definition="mae here less mae on the home test set: of different samples.",
    unit=MAE.unit,
)
HOME_RMSE_RISE = MetricInfo(
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

WEIGHTED_TOP_1 = MetricInfo(
    id="weighted-top-1",
    name="Accuracy in another population",
    direction="higher",
    definition="The mean of being right, weighted by the samples' importance weights.",
    lower=0.0,
    upper=1.0,
)
WEIGHTED_DROP = MetricInfo(
    id="top-1-less-weighted",
    name="Accuracy lost in another population",
    direction="lower",
    definition="top-1 of all samples that have the column less weighted-top-1.",
    lower=-1.0,
    upper=1.0,
)
WEIGHTED_MAE = MetricInfo(
    id="weighted-mae",
    name="Mean absolute error in another population",
    direction="lower",
    definition="The mean absolute error, weighted by the samples' importance weights.",
    unit=MAE.unit,
    lower=0.0,
)
WEIGHTED_RISE = MetricInfo(
    id="weighted-less-mae",
    name="Mean absolute error, rise in another population",
    direction="lower",
    definition="weighted-mae less mae of all samples that have the column.",
    unit=MAE.unit,
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

OF_IMAGE_CORRUPTION = (TOP_1, DROP, FLIP_RATE, LOG_LOSS, ECE, CONFIDENCE, MEAN_TOP_1)
OF_CORRUPTION = (
    *OF_IMAGE_CORRUPTION, WORST_CASE, INVARIANCE, PERTURBED, MAE, MAE_RISE, CHANGE, MEAN_MAE,
    WORST_CASE_MAE,
)  # fmt: skip
OF_GRID = (TOP_1, DROP, FLIP_RATE, WORST_CASE)
OF_JOINED = (
    CORRUPTED_TOP_1, DROP, CORRUPTED_FLIP_RATE, CORRUPTED_ECE, WORST_CORRUPTION, WORST_CASE, MCE,
    RELATIVE_MCE,
)  # fmt: skip
OF_IMAGE_SUMMARY = (*OF_JOINED, MEAN_TOP_1)
OF_SUMMARY = (
    CORRUPTED_TOP_1, DROP, CORRUPTED_FLIP_RATE, CORRUPTED_ECE, WORST_CORRUPTION, WORST_CASE,
    INVARIANCE, CORRUPTED_MAE, MAE_RISE, WORST_CORRUPTION_MAE, WORST_CASE_MAE,
    MEAN_TOP_1, MEAN_MAE,
)  # fmt: skip
OF_GROUPS = (
    TOP_1, WORST_GROUP, GROUP_AVERAGE, GROUP_TENTH, MAE, WORST_GROUP_MAE, GROUP_AVERAGE_MAE,
    GROUP_TENTH_MAE,
)  # fmt: skip
OF_OWN_DATA = (
    TOP_1, HOME_DROP, LOG_LOSS, ECE, CONFIDENCE, *ESTIMATES, MAE, RMSE, HOME_MAE_RISE,
    HOME_RMSE_RISE,
)  # fmt: skip
OF_PUBLISHED = (TOP_1, DROP, FLIP_RATE, LOG_LOSS, ECE, CONFIDENCE, HOME_DROP)
OF_DRIFT = (DRIFTED, SMALLEST_P, LARGEST_PSI)
OF_POPULATION = (WEIGHTED_TOP_1, WEIGHTED_DROP, WEIGHTED_MAE, WEIGHTED_RISE, EFFECTIVE)

METRICS: tuple[MetricInfo, ...] = tuple(
    {
        info.id: info
        for info in (
            *OF_IMAGE_CORRUPTION, *OF_GRID, *OF_IMAGE_SUMMARY, *OF_CORRUPTION, *OF_SUMMARY,
            *OF_POPULATION, *OF_GROUPS, *OF_OWN_DATA, *OF_DRIFT,
            *(info for name in ("multilabel", "detection")
              for info in of_kind(task_kinds().get(name))),
        )
    }.values()
)  # fmt: skip
"""All that the suite may report."""
