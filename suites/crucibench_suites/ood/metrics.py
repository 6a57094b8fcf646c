"""The suite's metrics: what each is called and means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from crucibench.contracts.metric import MetricInfo, share_info

_SCORE = "a detector's score, higher meaning less familiar"
_MEAN = "at the points near, far and overall the mean over those sets, each counting alike"


AUROC = share_info(
    "ood-auroc",
    "OOD AUROC",
    "higher",
    "The probability that an out-of-distribution sample scores above an in-distribution one, ties "
    f"counting half, under {_SCORE}; {_MEAN}.",
    "Hendrycks and Gimpel, ICLR 2017",
)
AUPR_OUT = share_info(
    "aupr-out-average-precision",
    "AUPR-out",
    "higher",
    "The average precision (not interpolated) of out-of-distribution samples as positives, ranked "
    f"by {_SCORE}, at the set's own numbers of samples; {_MEAN}.",
    "Hendrycks and Gimpel, ICLR 2017",
)
AUPR_IN = share_info(
    "aupr-in-average-precision",
    "AUPR-in",
    "higher",
    "The average precision (not interpolated) of in-distribution samples as positives, ranked by "
    f"minus {_SCORE}, at the set's own numbers of samples; {_MEAN}.",
    "Hendrycks and Gimpel, ICLR 2017",
)
FPR_OOD = share_info(
    "fpr-95-ood-positive",
    "FPR@95 (OOD positive)",
    "lower",
    "The share of in-distribution samples that are flagged at the highest threshold which flags at "
    f"least 95 % of the out-of-distribution ones; {_MEAN}. OpenOOD reports this one.",
    "Zhang et al., OpenOOD v1.5, 2023",
)
FPR_ID = share_info(
    "fpr-95-id-positive",
    "FPR@95 (ID positive)",
    "lower",
    "The share of out-of-distribution samples that are taken for familiar at the lowest threshold "
    f"which takes at least 95 % of the in-distribution ones for familiar; {_MEAN}.",
    "Liang, Li and Srikant, ICLR 2018",
)
MIXED = share_info(
    "accuracy-at-95-id-coverage",
    "Accuracy, half of the inputs OOD",
    "higher",
    "The share of right predictions among the inputs taken for familiar at the lowest threshold "
    "which takes at least 95 % of the in-distribution ones so, where half of all inputs are "
    "out-of-distribution: any prediction for these is wrong. At near, far and overall the sets are "
    "mixed in alike.",
)
ID_ACCURACY = share_info(
    "id-accuracy",
    "ID accuracy",
    "higher",
    "The share of in-distribution samples, of those that are scored, whose predicted class is "
    "right.",
)
OF_DETECTOR = (AUROC, AUPR_OUT, AUPR_IN, FPR_OOD, FPR_ID)

APART: Mapping[str, MetricInfo] = MappingProxyType(
    {
        metric.id: MetricInfo(
            id=f"{metric.id}-minus-headline",
            name=f"{metric.name} minus the headline detector's",
            direction="none",
            definition=f"The {metric.name} of the detector that the group names minus that of the "
            "headline detector, on the same samples.",
            lower=-1.0,
            upper=1.0,
        )
        for metric in OF_DETECTOR
    }
)
"""The difference between two detectors in each number of one."""

OF_HEADLINE = (AUROC, FPR_OOD, MIXED)
OF_DETECTORS = tuple(APART.values())
OF_SETS = (ID_ACCURACY,)
METRICS = (AUROC, AUPR_OUT, AUPR_IN, FPR_OOD, FPR_ID, MIXED, ID_ACCURACY, *OF_DETECTORS)
