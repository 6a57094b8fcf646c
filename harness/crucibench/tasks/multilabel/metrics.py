"""Metrics of multi-label answers, one entry each; references are scikit-learn's.

A label without a sample that has it, or without one that lacks it, has no area: it has a row with
the reason, and no part in a mean over labels, which says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from crucibench.contracts.metric import Metric
from crucibench.contracts.statistic import (
    BoundedMean,
    Form,
    Ranking,
    RowMetric,
    Share,
    Statistic,
)
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.metrics.catalogue import metric_info
from crucibench.metrics.ranking import auroc_statistic, average_precision_statistic
from crucibench.metrics.statistic import mean_statistic
from crucibench.stats import weighted_ratio
from crucibench.tasks.classification.references import calibration_error
from crucibench.tasks.multilabel.kind import Bools, Floats, LabelsView


def _metric(
    id_: str, form: Callable[..., Form], reference: Callable[..., float], **more: Any
) -> Metric:
    return Metric(
        info=metric_info(id_), kinds=("multilabel",), form=form, reference=reference, **more
    )


def _index(view: LabelsView, group: str) -> int:
    return view.classes.index(group)


def _sklearn(name: str, **how: Any) -> Callable[[LabelsView], float]:
    def compute(view: LabelsView) -> float:
        import sklearn.metrics

        return float(getattr(sklearn.metrics, name)(view.targets, view.predictions, **how))

    return compute


def _mean(values: Callable[[LabelsView], Floats]) -> Callable[[LabelsView], Form]:
    def form(view: LabelsView) -> Form:
        found = values(view)
        return RowMetric(mean_statistic(found), bounded=BoundedMean(found, 0.0, 1.0))

    return form


def _f1_of_samples(view: LabelsView) -> Floats:
    both = (view.predictions & view.targets).sum(axis=1)
    either = view.predictions.sum(axis=1) + view.targets.sum(axis=1)
    return np.where(either > 0, 2 * both / np.maximum(either, 1), 1.0)


def _ranking_precision(view: LabelsView) -> Floats:
    """Returns each sample's label-ranking average precision: 1 where it has none or all labels."""
    scores, truth = view.ranking, view.targets
    found = np.empty(len(scores))
    for row, (own, has) in enumerate(zip(scores, truth, strict=True)):
        if has.all() or not has.any():
            found[row] = 1.0
            continue
        # Ranks from 1 of the highest; equal scores share the last place, among all and among hits.
        above = (own[None, :] >= own[has][:, None]).sum(axis=1)
        hits = (own[has][None, :] >= own[has][:, None]).sum(axis=1)
        found[row] = (hits / above).mean()
    return found


def _f1_micro(view: LabelsView) -> Form:
    both = (view.predictions & view.targets).sum(axis=1)
    either = view.predictions.sum(axis=1) + view.targets.sum(axis=1)
    return RowMetric(weighted_ratio(2.0 * both, either.astype(np.float64)))


def _f1_macro(view: LabelsView) -> Form:
    """The mean of F1 over labels that some sample has or is predicted to have."""
    both = (view.predictions & view.targets).astype(np.float64)
    either = view.predictions.astype(np.float64) + view.targets

    def compute(weights: Floats) -> Floats:
        below = weights @ either
        each = np.where(below > 0, 2 * (weights @ both) / below, np.nan)
        return _mean_over_labels(each)

    return RowMetric(
        Statistic(n=len(view), compute=compute, undefined="no label is there or predicted"),
        cost=len(view.classes), rare=int((either > 0).sum(axis=0).min()),
    )  # fmt: skip


def _mean_over_labels(each: Floats) -> Floats:
    """Returns the mean of what is defined, of values (b, K) to (b,); nan where nothing is."""
    count = np.isfinite(each).sum(axis=1)
    return np.where(count > 0, np.nansum(each, axis=1) / np.maximum(count, 1), np.nan)


def _f1_macro_reference(view: LabelsView) -> float:
    from sklearn.metrics import f1_score

    there = (view.targets | view.predictions).any(axis=0)
    if not there.any():
        return math.nan
    each = f1_score(view.targets, view.predictions, average=None, zero_division=0.0)
    return float(np.asarray(each)[there].mean())


def _both_outcomes(truth: Bools) -> Any:
    """Returns whether some samples have a label, and some lack it; of (n, K), of each label."""
    return truth.any(axis=0) & ~truth.all(axis=0)


def _macro(statistic: Callable[..., Statistic]) -> Callable[[LabelsView], Form]:
    """Returns the mean over labels of a ranking's statistic."""

    def form(view: LabelsView) -> Form:
        labels = np.flatnonzero(_both_outcomes(view.targets))
        parts = [statistic(view.ranking[:, k], view.targets[:, k]) for k in labels]

        def compute(weights: Floats) -> Floats:
            each = np.full((len(weights), len(parts)), np.nan)
            for at, part in enumerate(parts):
                each[:, at] = part.compute(weights)
            return _mean_over_labels(each)

        def influence() -> Floats:
            return np.asarray(np.mean([_influence(part) for part in parts], axis=0))

        without = [name for k, name in enumerate(view.classes) if k not in set(labels.tolist())]
        note = f"without labels that all or no samples have: {_listed(without)}" if without else ""
        return RowMetric(
            Statistic(
                n=len(view), compute=compute, note=note, influence=influence if parts else None,
                undefined="no label has samples with and without it",
            ),
            cost=2 * len(view.classes), rare=_rarest(view.targets[:, labels]),
        )  # fmt: skip

    return form


def _influence(part: Statistic) -> Floats:
    if part.influence is None:
        raise TypeError("a mean over labels: expected a statistic with an influence function")
    return part.influence()


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _macro_reference(name: str) -> Callable[[LabelsView], float]:
    def compute(view: LabelsView) -> float:
        import sklearn.metrics

        labels = np.flatnonzero(_both_outcomes(view.targets))
        if not len(labels):
            return math.nan
        score = getattr(sklearn.metrics, name)
        return float(np.mean([score(view.targets[:, k], view.ranking[:, k]) for k in labels]))

    return compute


def _rarest(truth: Bools) -> int:
    """Returns how many samples have the rarest of all outcomes of some labels."""
    if not truth.shape[1]:
        return 0
    counts = truth.sum(axis=0)
    return int(np.minimum(counts, len(truth) - counts).min())


def _of_label(name: str) -> Callable[[LabelsView, str], float]:
    def compute(view: LabelsView, group: str) -> float:
        import sklearn.metrics

        k = _index(view, group)
        if not _both_outcomes(view.targets[:, k]):
            return math.nan
        score = getattr(sklearn.metrics, name)
        return float(score(view.targets[:, k], view.ranking[:, k]))

    return compute


def _average_precision(view: LabelsView, group: str) -> Form:
    k = _index(view, group)
    truth = view.targets[:, k]
    if not _both_outcomes(truth):
        return RowMetric(Statistic(n=len(view), compute=_nothing))
    return RowMetric(
        average_precision_statistic(view.ranking[:, k], truth), rare=_rarest(truth[:, None])
    )


def _nothing(weights: Floats) -> Floats:
    return np.full(len(weights), np.nan)


def _auroc(view: LabelsView, group: str) -> Form:
    k = _index(view, group)
    return Ranking(view.ranking[:, k], view.targets[:, k])


def _rate(id_: str, form: Callable[..., Form], undefined: str) -> Metric:
    def reference(view: LabelsView, group: str) -> float:
        import sklearn.metrics

        k = _index(view, group)
        score = getattr(sklearn.metrics, f"{id_.removesuffix('-label')}_score")
        return float(score(view.targets[:, k], view.predictions[:, k], zero_division=math.nan))

    return _metric(id_, form, reference, by_class=True, undefined=undefined)


def _precision(view: LabelsView, group: str) -> Form:
    k = _index(view, group)
    return Share(view.targets[:, k], view.predictions[:, k], same_samples=False)


def _recall(view: LabelsView, group: str) -> Form:
    k = _index(view, group)
    return Share(view.predictions[:, k], view.targets[:, k])


def _f1(view: LabelsView, group: str) -> Form:
    """F1 = 2 J / (1 + J), and given the samples with the label or its prediction J is a share."""
    k = _index(view, group)
    has, predicted = view.targets[:, k], view.predictions[:, k]
    return Share(
        has & predicted, has | predicted, False, lambda share: np.asarray(2 * share / (1 + share)),
        "jaccard",
    )  # fmt: skip


def _probable(view: LabelsView) -> str | None:
    return "" if view.probabilities is not None else "some scores lie outside of [0, 1]"


def _judged(view: LabelsView, group: str) -> tuple[Floats, Bools]:
    if view.probabilities is None:
        raise ValueError("a calibration error needs probabilities")
    k = _index(view, group)
    return view.probabilities[:, k], view.targets[:, k]


_DEBIASED: dict[str, Any] = {"binning": "equal-mass", "norm": "l2", "debias": True}


def _calibration(view: LabelsView, group: str) -> Form:
    judged = _judged(view, group)
    return RowMetric(
        calibration_error_statistic(*judged, **_DEBIASED), bias="corrected",
        rare=_rarest(judged[1][:, None]),
    )  # fmt: skip


def _ranked_by_sklearn(view: LabelsView) -> float:
    from sklearn.metrics import label_ranking_average_precision_score

    return float(label_ranking_average_precision_score(view.targets, view.ranking))


SUBSET_ACCURACY = _metric(
    "subset-accuracy",
    lambda view: Share(~view.wrong.any(axis=1)),
    _sklearn("accuracy_score"),
    undefined="no samples",
)
HAMMING_LOSS = _metric(
    "hamming-loss",
    _mean(lambda view: view.wrong.mean(axis=1)),
    _sklearn("hamming_loss"),
)
F1_MICRO = _metric(
    "f1-micro-labels",
    _f1_micro,
    _sklearn("f1_score", average="micro", zero_division=math.nan),
    undefined="no label is there or predicted",
)
F1_MACRO = _metric(
    "f1-macro-labels",
    _f1_macro,
    _f1_macro_reference,
)
F1_SAMPLES = _metric(
    "f1-samples",
    _mean(_f1_of_samples),
    _sklearn("f1_score", average="samples", zero_division=1.0),
)
AVERAGE_PRECISION_MACRO = _metric(
    "average-precision-macro-labels",
    _macro(average_precision_statistic),
    _macro_reference("average_precision_score"),
)
AUROC_MACRO = _metric(
    "auroc-macro-labels",
    _macro(auroc_statistic),
    _macro_reference("roc_auc_score"),
)
RANKING_PRECISION = _metric(
    "ranking-average-precision",
    _mean(_ranking_precision),
    _ranked_by_sklearn,
)
AVERAGE_PRECISION_LABEL = _metric(
    "average-precision-label",
    _average_precision,
    _of_label("average_precision_score"),
    by_class=True,
    undefined="all samples have label {}, or none has",
)
AUROC_LABEL = _metric(
    "auroc-label",
    _auroc,
    _of_label("roc_auc_score"),
    by_class=True,
    undefined="all samples have label {}, or none has",
)
PRECISION_LABEL = _rate("precision-label", _precision, "label {} is never predicted")
RECALL_LABEL = _rate("recall-label", _recall, "no sample has label {}")
F1_LABEL = _rate("f1-label", _f1, "no sample has label {} and it is never predicted")
ECE_LABEL = _metric(
    "ece-l2-15-equal-mass-debiased-label",
    _calibration,
    lambda view, group: calibration_error(*_judged(view, group), **_DEBIASED),
    applies=_probable,
    by_class=True,
)
