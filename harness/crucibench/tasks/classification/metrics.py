"""Metrics of classification, one entry each: where it applies, its form, and its reference.

References are computed with scikit-learn or by the definition, sample by sample; they are what the
conformance kit holds the forms to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from crucibench.contracts.metric import Metric
from crucibench.contracts.statistic import BoundedMean, Form, Ranking, RowMetric, Share, TableMetric
from crucibench.metrics._bins import bin_sums
from crucibench.metrics.calibration import (
    calibration_error_id,
    calibration_error_statistic,
    classwise_calibration_error_statistic,
)
from crucibench.metrics.catalogue import metric_info
from crucibench.metrics.classification import (
    balanced_accuracy,
    f1_macro,
    f1_weighted,
    hits_at_k,
    mcc,
)
from crucibench.metrics.probabilistic import (
    brier_statistic,
    brier_sum_by_label,
    brier_sum_statistic,
    log_loss_by_label,
)
from crucibench.metrics.ranking import (
    auroc_ovr_macro_statistic,
    average_precision_ovr_macro_statistic,
    average_precision_statistic,
    recall_at_precision_statistic,
)
from crucibench.metrics.selective import (
    Risks,
    accuracy_at_coverage_interval,
    accuracy_at_coverage_statistic,
    aurc_statistic,
    e_aurc_statistic,
)
from crucibench.metrics.statistic import mean_statistic
from crucibench.tasks.classification import references
from crucibench.tasks.classification.view import Bools, ClassView, Floats

MOST_TABLE_CLASSES = 2000
"""With more classes the confusion table (classes squared) is not made."""

MOST_CLASS_ROWS = 10_000
"""With more classes there is no row for each."""

MOST_CLASS_CELLS = 10**9
"""The same of more samples x classes: each class's row goes through all samples."""

MOST_CELLS = 10**8
"""With more samples x classes, numbers that sort each class's scores are not made."""

COVERAGES = (80, 90, 95)
"""Percentages of samples that selective prediction keeps."""

_KIND = ("classification",)


def _table(view: ClassView) -> str | None:
    classes = len(view.classes)
    if classes <= MOST_TABLE_CLASSES:
        return ""
    return f"{classes} classes; the confusion table is made up to {MOST_TABLE_CLASSES}"


def _each_class(view: ClassView) -> str | None:
    classes, cells = len(view.classes), len(view) * len(view.classes)
    if classes > MOST_CLASS_ROWS:
        return f"{classes} classes; each has a row up to {MOST_CLASS_ROWS}"
    if cells > MOST_CLASS_CELLS:
        return (
            f"{len(view)} samples x {classes} classes; each class has a row up to "
            f"{MOST_CLASS_CELLS:.0e} of both"
        )
    return ""


def _five(view: ClassView) -> str | None:
    if len(view.classes) <= 5:
        return None
    return "" if view.scores is not None else view.why_none


def _binary(view: ClassView) -> str | None:
    return None if view.positive is None else ""


def _probable(view: ClassView) -> str | None:
    return view.why_none if view.probabilities is None else ""


def _probable_binary(view: ClassView) -> str | None:
    return None if view.positive is None else _probable(view)


def _probable_multiclass(view: ClassView) -> str | None:
    return _probable(view) if view.positive is None else None


def _sorted_classes(view: ClassView) -> str | None:
    if view.probabilities is not None and view.probabilities.size > MOST_CELLS:
        return (
            f"{len(view)} samples x {len(view.classes)} classes are more than the "
            f"{MOST_CELLS:.0e} scores up to which each class is sorted"
        )
    return _probable(view)


def _sorted_multiclass(view: ClassView) -> str | None:
    return _sorted_classes(view) if view.positive is None else None


def _over_table(statistic: Any) -> Callable[[ClassView], Form]:
    def form(view: ClassView) -> Form:
        return TableMetric(view.predictions, view.targets, len(view.classes), statistic)

    return form


def _class_index(view: ClassView, group: str) -> int:
    """Returns the class that a number is of: the group's, or a binary task's positive one."""
    if group:
        return view.classes.index(group)
    if view.positive is None:
        raise ValueError("a number of one class needs a class or a positive class")
    return view.positive


def _recall(view: ClassView, group: str = "") -> Form:
    return Share(view.correct, view.targets == _class_index(view, group))


def _precision(view: ClassView, group: str = "") -> Form:
    of_class = view.predictions == _class_index(view, group)
    return Share(view.correct, of_class, same_samples=False)


def _f1(view: ClassView, group: str = "") -> Form:
    """F1 = 2 J / (1 + J), and given the samples of the class or predicted as it J is a share."""
    index = _class_index(view, group)
    either = (view.targets == index) | (view.predictions == index)
    return Share(view.correct, either, False, _f1_of_jaccard, "jaccard")


def _f1_of_jaccard(jaccard: Floats) -> Floats:
    return np.asarray(2 * jaccard / (1 + jaccard))


def _fpr(view: ClassView) -> Form:
    return Share(view.predictions == view.positive, ~view.positives)


def _of_class(id_: str, form: Any, reference: Any) -> Metric:
    """Returns a rate of each class."""
    return Metric(
        info=metric_info(id_), kinds=_KIND, form=form, reference=reference, by_class=True,
        applies=_each_class, undefined=_NONE_OF[id_],
    )  # fmt: skip


_NONE_OF = {
    "precision": "no sample predicted as class {}",
    "recall": "no sample of class {}",
    "f1": "no sample of class {} and none predicted as it",
}


def _ranked(view: ClassView) -> tuple[Floats, Bools]:
    if view.ranking is None or view.positive is None:
        raise ValueError("a ranking needs scores and a positive class")
    return view.ranking[:, view.positive], view.positives


def _recall_at_precision(percent: int) -> Metric:
    return Metric(
        info=metric_info(f"recall-at-precision-{percent}"), kinds=_KIND, applies=_probable_binary,
        form=lambda view: RowMetric(
            recall_at_precision_statistic(*_ranked(view), precision=percent / 100), bias="up",
            rare=_positives(view),
        ),
        reference=lambda view: references.recall_at_precision(view, percent / 100),
    )  # fmt: skip


CalibrationView = Literal["top-label", "positive-class"]


def _judged(view: ClassView, which: CalibrationView) -> tuple[Floats, Bools]:
    if which == "positive-class":
        return view.score, view.positives
    if view.confidence is None:
        raise ValueError("a calibration error needs probabilities")
    return view.confidence, view.correct


def _confident(view: ClassView) -> str | None:
    return view.why_none if view.confidence is None else ""


def _calibration(
    which: CalibrationView,
    binning: Literal["equal-width", "equal-mass"],
    norm: Literal["l1", "l2", "max"],
    debias: bool = False,
) -> Metric:
    def form(view: ClassView) -> Form:
        judged, key = _judged(view, which), ("bins", which, binning)
        if key not in view.shared:
            view.shared[key] = bin_sums(*judged, bins=15, binning=binning)
        statistic = calibration_error_statistic(
            *judged, binning=binning, norm=norm, debias=debias, sums=view.shared[key]
        )
        rare = _errors(view) if which == "top-label" else _positives(view)
        return RowMetric(statistic, bias="corrected" if debias else "up", rare=rare)

    return Metric(
        info=metric_info(calibration_error_id(which, binning=binning, norm=norm, debias=debias)),
        kinds=_KIND,
        applies=_confident if which == "top-label" else _probable_binary,
        form=form,
        reference=lambda view: references.calibration_error(
            *_judged(view, which), binning=binning, norm=norm, debias=debias
        ),
    )


def _selective(id_: str, statistic: Any, reference: Any) -> Metric:
    def form(view: ClassView) -> Form:
        if view.assurance is None:
            raise ValueError("selective prediction needs scores")
        if "risk" not in view.shared:
            view.shared["risk"] = Risks(view.assurance, view.correct)
        risks = view.shared["risk"]
        return RowMetric(statistic(view.assurance, view.correct, risks=risks), rare=_errors(view))

    return Metric(
        info=metric_info(id_), kinds=_KIND, applies=_probable, form=form,
        reference=lambda view: reference(view.assurance, view.correct),
    )  # fmt: skip


def _coverage(percent: int) -> Metric:
    def form(view: ClassView) -> Form:
        if view.assurance is None:
            raise ValueError("selective prediction needs scores")
        return RowMetric(
            accuracy_at_coverage_statistic(view.assurance, view.correct, percent=percent),
            closed=partial(
                accuracy_at_coverage_interval, view.assurance, view.correct, percent=percent
            ),
        )

    return Metric(
        info=metric_info(f"accuracy-at-coverage-{percent}"), kinds=_KIND, applies=_probable,
        form=form,
        reference=lambda view: references.accuracy_at_coverage(
            view.assurance, view.correct, percent
        ),
    )  # fmt: skip


ENOUGH_FOR_AP = 16
"""Times the number of classes: with fewer positives a class, the mean over classes of average
precisions lies above that of endless data by half its standard error or more: each is lifted by
about one over its positives, and their mean's error falls with the number of classes."""


def _one_vs_rest(id_: str, statistic: Any, reference: Any, enough: int = 0) -> Metric:
    def form(view: ClassView) -> Form:
        classes, rare = len(view.classes), _rarest_class(view)
        return RowMetric(
            statistic(view.ranking, view.targets), cost=2 * classes, parts=classes, rare=rare,
            bias="up" if rare < enough * classes else "none",
        )  # fmt: skip

    return Metric(
        info=metric_info(id_), kinds=_KIND, applies=_sorted_multiclass, form=form,
        reference=reference,
    )  # fmt: skip


def _log_loss(view: ClassView) -> Form:
    if view.loss is None:
        raise ValueError("a log loss needs probabilities")
    statistic = mean_statistic(view.loss)
    by_label: Callable[[], Floats] | None = None
    if view.probabilities is not None:
        by_label = partial(log_loss_by_label, view.probabilities)
    elif view.positive is not None and view.kept_score is not None:
        by_label = partial(log_loss_by_label, _two_columns(view.kept_score))
    if by_label is None:
        # Of perturbed samples of many classes only the losses are kept, not what they might be.
        return RowMetric(statistic, rare=_errors(view))
    # Losses that records keep are rounded, and may lie above by that.
    upper = max(float(by_label().max()), float(view.loss.max()))
    return RowMetric(statistic, bounded=BoundedMean(view.loss, 0.0, upper, by_label))


def _brier(view: ClassView) -> Form:
    losses = (view.score - view.positives) ** 2
    by_label = partial(_squared, _two_columns(view.score))
    return RowMetric(
        brier_statistic(view.score, view.positives),
        bounded=BoundedMean(losses, 0.0, 1.0, by_label),
    )


def _brier_sum(view: ClassView) -> Form:
    if view.probabilities is None:
        raise ValueError("a Brier score needs probabilities")
    by_label = partial(brier_sum_by_label, view.probabilities)
    losses = np.take_along_axis(by_label(), view.targets[:, None], axis=1)[:, 0]
    return RowMetric(
        brier_sum_statistic(view.probabilities, view.targets),
        bounded=BoundedMean(np.clip(losses, 0.0, 2.0), 0.0, 2.0, by_label),
    )


def _two_columns(positive: Floats) -> Floats:
    return np.stack([1.0 - positive, positive], axis=1)


def _squared(probabilities: Floats) -> Floats:
    return np.asarray((1.0 - probabilities) ** 2)


def _errors(view: ClassView) -> int:
    """Returns how many answers are wrong, or right if these are fewer."""
    right = int(view.correct.sum())
    return min(right, len(view) - right)


def _positives(view: ClassView) -> int:
    """Returns how many samples have the rarer of two labels."""
    positive = int(view.positives.sum())
    return min(positive, len(view) - positive)


def _rarest_class(view: ClassView) -> int:
    return int(np.bincount(view.targets, minlength=len(view.classes)).min())


TOP_1 = Metric(
    info=metric_info("top-1"), kinds=_KIND, form=lambda view: Share(view.correct),
    reference=references.top_1, undefined="no samples",
)  # fmt: skip
TOP_5 = Metric(
    info=metric_info("top-5"), kinds=_KIND, applies=_five,
    form=lambda view: Share(hits_at_k(view.scores, view.targets, 5)),
    reference=references.top_5, undefined="no samples",
)  # fmt: skip
BALANCED_ACCURACY = Metric(
    info=metric_info("balanced-accuracy"), kinds=_KIND, applies=_table,
    form=_over_table(balanced_accuracy), reference=references.balanced_accuracy,
)  # fmt: skip
F1_MACRO = Metric(
    info=metric_info("f1-macro"), kinds=_KIND, applies=_table, form=_over_table(f1_macro),
    reference=references.f1_macro,
)  # fmt: skip
F1_WEIGHTED = Metric(
    info=metric_info("f1-weighted"), kinds=_KIND, applies=_table, form=_over_table(f1_weighted),
    reference=references.f1_weighted,
)  # fmt: skip
MCC = Metric(
    info=metric_info("mcc"), kinds=_KIND, applies=_table, form=_over_table(mcc),
    reference=references.mcc,
)  # fmt: skip
PRECISION = _of_class("precision", _precision, references.precision)
RECALL = _of_class("recall", _recall, references.recall)
F1 = _of_class("f1", _f1, references.f1)
FPR = Metric(
    info=metric_info("fpr"), kinds=_KIND, applies=_binary, form=_fpr, reference=references.fpr,
    undefined="no sample of a class other than {}",
)  # fmt: skip
AUROC = Metric(
    info=metric_info("auroc"), kinds=_KIND, applies=_probable_binary,
    form=lambda view: Ranking(*_ranked(view)), reference=references.auroc,
)  # fmt: skip
AUROC_OVR = _one_vs_rest("auroc-ovr-macro", auroc_ovr_macro_statistic, references.auroc_ovr)
AVERAGE_PRECISION = Metric(
    info=metric_info("average-precision"), kinds=_KIND, applies=_probable_binary,
    form=lambda view: RowMetric(
        average_precision_statistic(*_ranked(view)), rare=_positives(view)
    ),
    reference=references.average_precision,
)  # fmt: skip
AVERAGE_PRECISION_OVR = _one_vs_rest(
    "average-precision-ovr-macro",
    average_precision_ovr_macro_statistic,
    references.average_precision_ovr,
    ENOUGH_FOR_AP,
)
RECALL_AT_PRECISION_90 = _recall_at_precision(90)
RECALL_AT_PRECISION_99 = _recall_at_precision(99)
LOG_LOSS = Metric(
    info=metric_info("log-loss"), kinds=_KIND, applies=lambda view: (
        view.why_none if view.loss is None else ""
    ),
    form=_log_loss, reference=references.log_loss,
)  # fmt: skip
BRIER = Metric(
    info=metric_info("brier"), kinds=_KIND, applies=_probable_binary,
    form=_brier, reference=references.brier,
)  # fmt: skip
BRIER_SUM = Metric(
    info=metric_info("brier-sum"), kinds=_KIND, applies=_probable_multiclass,
    form=_brier_sum, reference=references.brier_sum,
)  # fmt: skip
ECE_TOP_LABEL = _calibration("top-label", "equal-width", "l1")
ECE_MASS_TOP_LABEL = _calibration("top-label", "equal-mass", "l1")
ECE_DEBIASED_TOP_LABEL = _calibration("top-label", "equal-mass", "l2", debias=True)
MCE_TOP_LABEL = _calibration("top-label", "equal-width", "max")
ECE_POSITIVE_CLASS = _calibration("positive-class", "equal-width", "l1")
ECE_MASS_POSITIVE_CLASS = _calibration("positive-class", "equal-mass", "l1")
ECE_DEBIASED_POSITIVE_CLASS = _calibration("positive-class", "equal-mass", "l2", debias=True)
MCE_POSITIVE_CLASS = _calibration("positive-class", "equal-width", "max")
ECE_CLASSWISE = Metric(
    info=metric_info("ece-15-equal-width-classwise"), kinds=_KIND, applies=_sorted_classes,
    form=lambda view: RowMetric(
        classwise_calibration_error_statistic(view.probabilities, view.targets),
        bias="up", cost=1 + len(view.classes) // 10, rare=_errors(view),
    ),
    reference=references.classwise_calibration_error,
)  # fmt: skip
AURC = _selective("aurc", aurc_statistic, references.aurc)
E_AURC = _selective("e-aurc", e_aurc_statistic, references.e_aurc)
ACCURACY_AT_80, ACCURACY_AT_90, ACCURACY_AT_95 = (_coverage(percent) for percent in COVERAGES)
