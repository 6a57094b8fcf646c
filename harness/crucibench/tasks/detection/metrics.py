"""Metrics of detection, one entry each."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from crucibench.contracts.metric import Metric, MetricInfo
from crucibench.contracts.statistic import Bias, RowMetric, Statistic
from crucibench.tasks.detection.matching import AREAS, KINDS, THRESHOLDS
from crucibench.tasks.detection.precision import (
    BINS,
    DetectionView,
    average_precision,
    average_recall,
    calibration_bins,
    errors_by_object,
)

_COCO = "Lin et al., Microsoft COCO, ECCV 2014; pycocotools"
_TIDE = "Bolya et al., TIDE, ECCV 2020"
_COST = 20
"""About how many times a plain mean's time a weighting takes."""


def _metric(
    id_: str,
    name: str,
    definition: str,
    statistic: Callable[..., Statistic],
    reference: Callable[..., float],
    *,
    applies: Callable[[DetectionView], str] = lambda view: view.undefined("all"),
    by_class: bool = False,
    bias: Bias = "corrected",
) -> Metric:
    def form(view: DetectionView, *group: str) -> RowMetric:
        better = None if by_class else view.shares
        return resampled(statistic(view, *group), bias, better)

    return Metric(
        info=MetricInfo(
            id=id_, name=name, direction="higher", definition=definition, source=_COCO,
            lower=0.0, upper=1.0,
        ),
        kinds=("detection",), form=form, reference=reference, by_class=by_class,
        applies=(lambda view: "") if by_class else applies,
        undefined="no object of {} is there" if by_class else "",
    )  # fmt: skip


def resampled(statistic: Statistic, bias: Bias, better: Any = None) -> RowMetric:
    """Returns a number that is resampled image by image.

    Args:
        statistic: of weighted images.
        bias: what becomes of its bias under resampling.
        better: what tells of each image which of two models is better, (n,).
    """
    return RowMetric(statistic, bias=bias, cost=_COST, by_sample=better)


def _plain(view: DetectionView, area: str, thresholds: tuple[int, ...], name: str = "") -> float:
    """AP by its definition: a loop over classes, thresholds and recalls."""
    at, found = list(AREAS).index(area), []
    values = view.matches.values
    for index in range(len(view.classes)) if not name else [view.classes.index(name)]:
        total = view.counts[at, index].sum()
        if not total:
            continue
        mine = values[values[:, 0] == index]
        mine = mine[np.argsort(-mine[:, 1], kind="stable")]
        for threshold in thresholds:
            left = mine[:, 3 + len(AREAS) + at].astype(int) >> threshold & 1
            right = (mine[:, 3 + at].astype(int) >> threshold & 1)[left == 0]
            true = np.cumsum(right)
            precision, recall = true / np.arange(1, len(true) + 1), true / total
            found += [
                precision[recall >= one].max(initial=0.0) for one in np.linspace(0.0, 1.0, 101)
            ]
    return float(np.mean(found)) if found else math.nan


def _plain_recall(view: DetectionView, most: int) -> float:
    """AR by its definition."""
    shares = []
    for index in range(len(view.classes)):
        if not (total := view.counts[0, index].sum()):
            continue
        kept = []
        for row in range(len(view)):
            here = view.matches.values[view.matches.rows == row]
            kept.append(here[here[:, 0] == index][:most])
        bits = np.concatenate(kept)[:, 3].astype(int)
        shares += [(bits >> at & 1).sum() / total for at in range(len(THRESHOLDS))]
    return float(np.mean(shares)) if shares else math.nan


_ALL = tuple(range(len(THRESHOLDS)))
_MEAN = (
    "Precision interpolated at 101 recalls, its mean over IoU thresholds .50:.05:.95 and classes"
)


def _of_area(area: str, thresholds: tuple[int, ...] = _ALL) -> dict[str, Any]:
    return {
        "statistic": partial(average_precision, area=area, thresholds=thresholds),
        "reference": partial(_plain, area=area, thresholds=thresholds),
        "applies": lambda view: view.undefined(area),
    }


AP = _metric("detection-ap", "AP", f"{_MEAN} that have objects.", **_of_area("all"))
AP50 = _metric("detection-ap50", "AP50", "AP at an IoU of 0.5 alone.", **_of_area("all", (0,)))
AP75 = _metric("detection-ap75", "AP75", "AP at an IoU of 0.75 alone.", **_of_area("all", (5,)))
AP_SMALL = _metric(
    "detection-ap-small", "AP, small", "AP of objects of up to 32² pixels.", **_of_area("small")
)
AP_MEDIUM = _metric(
    "detection-ap-medium", "AP, medium", "AP of objects of 32² to 96² pixels.",
    **_of_area("medium"),
)  # fmt: skip
AP_LARGE = _metric(
    "detection-ap-large", "AP, large", "AP of objects of 96² pixels and more.",
    **_of_area("large"),
)  # fmt: skip
AP_CLASS = _metric(
    "detection-ap-class", "AP by class", "AP of the class that the group names.",
    lambda view, name: average_precision(view, name=name),
    lambda view, name: _plain(view, "all", _ALL, name), by_class=True,
)  # fmt: skip


def _recall(most: int) -> Metric:
    return _metric(
        f"detection-ar-{most}", f"AR at {most}",
        f"The share of objects found with at most {most} detections an image and class, its mean "
        "over IoU thresholds .50:.05:.95 and classes that have objects.",
        partial(average_recall, most=most), partial(_plain_recall, most=most), bias="none",
    )  # fmt: skip


AR_1, AR_10, AR_100 = (_recall(most) for most in (1, 10, 100))


def _found(view: DetectionView) -> RowMetric:
    there = view.counts[0].any(axis=0).astype(np.float64)
    shares = view.shares * there
    return RowMetric(
        Statistic(
            n=len(view), compute=lambda weights: weights @ shares / (weights @ there),
            undefined="no object is there",
        )
    )  # fmt: skip


def _plain_found(view: DetectionView) -> float:
    """The mean share by a loop over images."""
    shares = []
    for row in range(len(view)):
        values, count = view.matches.values[view.matches.rows == row], view.counts[0, :, row].sum()
        if count:
            hits = [bin(int(bits)).count("1") for bits in values[:, 3]]
            shares.append(sum(hits) / len(THRESHOLDS) / count)
    return float(np.mean(shares)) if shares else math.nan


FOUND = Metric(
    info=MetricInfo(
        id="detection-found", name="Objects found, by image", direction="higher", lower=0.0,
        upper=1.0,
        definition="The share of an image's objects that a detection takes, its mean over IoU "
        "thresholds .50:.05:.95 and then over images that have objects.",
    ),
    kinds=("detection",), form=_found, reference=_plain_found,
    applies=lambda view: view.undefined("all"),
)  # fmt: skip


def _probable(view: DetectionView) -> str:
    scores = view.matches.values[:, 1]
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        return "some scores lie outside of [0, 1]"
    return "" if len(scores) else "nothing is detected"


def _calibration(view: DetectionView) -> RowMetric:
    counts, scores, right = calibration_bins(view)
    gaps, each = scores - right, counts.sum(axis=1)
    return RowMetric(
        Statistic(
            n=len(view), undefined="nothing is detected",
            compute=lambda weights: np.abs(weights @ gaps).sum(axis=1) / (weights @ each),
        ),
        bias="up",
    )  # fmt: skip


def _plain_calibration(view: DetectionView) -> float:
    """The same by a loop over bins."""
    values = view.matches.values[view.matches.values[:, 2] != KINDS.index("left-out")]
    total = 0.0
    for at in range(BINS):
        low, high = at / BINS, (at + 1) / BINS
        here = values[((values[:, 1] > low) | (at == 0)) & (values[:, 1] <= high)]
        if len(here):
            right = (here[:, 2] == KINDS.index("right")).mean()
            total += abs(here[:, 1].mean() - right) * len(here) / len(values)
    return total if len(values) else math.nan


CALIBRATION = Metric(
    info=MetricInfo(
        id="detection-ece", name="Calibration error of scores", direction="lower", lower=0.0,
        upper=1.0, source="Kueppers et al., CVPR Workshops 2020, without places and sizes",
        definition="The mean difference of a detection's score and the share of right ones, in 15 "
        "bins of one width, at an IoU of 0.5; a second detection of an object is not right.",
    ),
    kinds=("detection",), form=_calibration, reference=_plain_calibration, applies=_probable,
)  # fmt: skip


def _errors(kind: str, name: str, what: str) -> Metric:
    def form(view: DetectionView) -> RowMetric:
        errors, objects = errors_by_object(view, kind)
        return RowMetric(
            Statistic(
                n=len(view), compute=lambda weights: weights @ errors / (weights @ objects),
                undefined="no object is there",
            ),
            rare=int(np.count_nonzero(errors)),
        )  # fmt: skip

    def reference(view: DetectionView) -> float:
        errors, objects = errors_by_object(view, kind)
        return float(np.sum(errors) / np.sum(objects)) if objects.any() else math.nan

    return Metric(
        info=MetricInfo(
            id=f"detection-{kind}", name=name, direction="lower", source=_TIDE, lower=0.0,
            definition=f"{what}, for each object, among detections with a score of at least 0.5, "
            "matched at an IoU of 0.5.",
        ),
        kinds=("detection",), form=form, reference=reference,
        applies=lambda view: view.undefined("all"),
    )  # fmt: skip


MISSED = _errors("missed", "Missed", "Objects that no detection takes")
BADLY_LOCALISED = _errors(
    "badly-localised", "Badly localised",
    "Detections that overlap an object of their class by 0.1 to 0.5, and no other by 0.5",
)  # fmt: skip
WRONG_CLASS = _errors(
    "wrong-class", "Wrong class", "Detections that overlap an object of another class by 0.5"
)
DUPLICATE = _errors(
    "duplicate", "Duplicate", "Detections of an object of their class that another has taken"
)
BACKGROUND = _errors("background", "Background", "Detections at none of these")
