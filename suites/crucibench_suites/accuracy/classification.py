"""Rows of predicted labels and of what their scores rank and promise."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from crucibench.contracts.statistic import Share, Value
from crucibench.metrics.classification import (
    balanced_accuracy,
    f1_macro,
    f1_weighted,
    hits_at_k,
    mcc,
)
from crucibench.metrics.probabilistic import (
    brier_statistic,
    brier_sum_statistic,
    log_loss_statistic,
)
from crucibench.metrics.ranking import (
    auroc_ovr_macro_statistic,
    average_precision_ovr_macro_statistic,
    average_precision_statistic,
    recall_at_precision_statistic,
)
from crucibench.metrics.table import confusion_table
from crucibench.stats import Interval, WeightedStatistic, wilson
from crucibench_suites.accuracy.answers import Answers, Bools, Floats, Ints
from crucibench_suites.accuracy.ledger import Ledger
from crucibench_suites.accuracy.rows import Number
from crucibench_suites.accuracy.sheet import share_among

MOST_TABLE_CLASSES = 2000
"""With more classes the confusion table (classes squared) is not made."""

MOST_CELLS = 10**8
"""With more samples x classes, numbers that sort each class's scores are not made."""

_OVER_TABLE = {
    "balanced-accuracy": balanced_accuracy,
    "f1-macro": f1_macro,
    "f1-weighted": f1_weighted,
    "mcc": mcc,
}


def label_rows(sheet: Ledger, answers: Answers) -> None:
    """Puts down what predicted labels alone say, over all classes."""
    classes = len(answers.classes)
    sheet.share("top-1", answers.correct, None, missing="no samples")
    if classes > 5 and answers.scores is not None:
        hits = hits_at_k(answers.scores, answers.targets, 5)
        sheet.share("top-5", hits, None, missing="no samples")
    elif classes > 5:
        sheet.without("top-5", answers.why_none)
    if classes <= MOST_TABLE_CLASSES:
        counts = confusion_table(answers.targets, answers.predictions, classes)
        for metric, statistic in _OVER_TABLE.items():
            sheet.table(metric, statistic, counts, answers.targets, answers.predictions)
    else:
        for metric in _OVER_TABLE:
            reason = f"{classes} classes; the confusion table is made up to {MOST_TABLE_CLASSES}"
            sheet.without(metric, reason)
    if answers.positive is not None:
        name = answers.classes[answers.positive]
        said = answers.predictions == answers.positive
        one = _Class(np.flatnonzero(answers.positives), np.flatnonzero(said), name)
        _class_rates(sheet, answers.correct, one)
        sheet.share(
            "fpr",
            said,
            np.flatnonzero(~answers.positives),
            missing=f"no sample of a class other than {name}",
        )


def class_rows(sheet: Ledger, answers: Answers) -> None:
    """Puts down precision, recall and F1 of every class."""
    of_class = _members(answers.targets, len(answers.classes))
    said_class = _members(answers.predictions, len(answers.classes))
    for index, name in enumerate(answers.classes):
        one = _Class(of_class[index], said_class[index], name)
        _class_rates(sheet, answers.correct, one, group=name)


def score_rows(sheet: Ledger, answers: Answers) -> None:
    """Puts down what scores rank, and proper scores of probabilities."""
    binary = answers.positive is not None
    if answers.probabilities is None or answers.ranking is None:
        for metric in _SCORES[binary]:
            sheet.without(metric, answers.why_none)
        return
    if binary:
        _binary_scores(sheet, answers, answers.probabilities, answers.ranking)
    else:
        _multiclass_scores(sheet, answers, answers.probabilities, answers.ranking)


_SCORES = {
    True: (
        "auroc",
        "average-precision",
        "recall-at-precision-90",
        "recall-at-precision-99",
        "log-loss",
        "brier",
    ),
    False: ("auroc-ovr-macro", "average-precision-ovr-macro", "log-loss", "brier-sum"),
}


def _binary_scores(sheet: Ledger, answers: Answers, probabilities: Floats, ranking: Floats) -> None:
    scores, truth = ranking[:, answers.positive], answers.positives
    sheet.ranking("auroc", scores, truth)
    sheet.resampled("average-precision", partial(average_precision_statistic, scores, truth))
    for percent in (90, 99):
        sheet.resampled(
            f"recall-at-precision-{percent}",
            partial(recall_at_precision_statistic, scores, truth, precision=percent / 100),
        )
    sheet.resampled("log-loss", partial(log_loss_statistic, probabilities, answers.targets))
    column = probabilities[:, answers.positive]
    sheet.resampled("brier", partial(brier_statistic, column, truth))


def _multiclass_scores(
    sheet: Ledger, answers: Answers, probabilities: Floats, ranking: Floats
) -> None:
    classes = len(answers.classes)
    for metric, build in (
        ("auroc-ovr-macro", auroc_ovr_macro_statistic),
        ("average-precision-ovr-macro", average_precision_ovr_macro_statistic),
    ):
        if ranking.size <= MOST_CELLS:
            sheet.resampled(metric, partial(build, ranking, answers.targets), cost=2 * classes)
        else:
            sheet.without(metric, too_many_cells(answers))
    sheet.resampled("log-loss", partial(log_loss_statistic, probabilities, answers.targets))
    sheet.resampled("brier-sum", partial(brier_sum_statistic, probabilities, answers.targets))


def too_many_cells(answers: Answers) -> str:
    """Says why numbers that need every class's scores in order are left out."""
    return (
        f"{len(answers)} samples x {len(answers.classes)} classes are more than the "
        f"{MOST_CELLS:.0e} scores up to which each class is sorted"
    )


def _members(classes: Ints, count: int) -> list[Ints]:
    """Returns the positions of each class's samples."""
    # Integers of 16 bits are sorted by radix, several times faster.
    order = np.argsort(classes.astype(np.min_scalar_type(count)), kind="stable")
    ends = np.cumsum(np.bincount(classes, minlength=count))[:-1]
    return np.split(order, ends)


class _Class(NamedTuple):
    """One class: its samples' positions, those of the samples predicted as it, and its name."""

    samples: Ints
    said: Ints
    name: str


def _class_rates(sheet: Ledger, correct: Bools, one: _Class, group: str = "") -> None:
    """Puts down the rates of one class; among its samples, those found are the right ones."""
    missing, unsaid = f"no sample of class {one.name}", f"no sample predicted as class {one.name}"
    sheet.share("precision", correct, one.said, missing=unsaid, group=group, same_samples=False)
    sheet.share("recall", correct, one.samples, missing=missing, group=group)
    found = int(correct[one.said].sum())
    n = len(one.samples) + len(one.said) - found
    value = (
        Value(value=2 * found / (n + found), n=n)
        if n
        else Value(value=None, n=0, reason=f"{missing} and none predicted as it")
    )
    sheet.closed(
        Number(metric="f1", value=value, group=group),
        lambda level: _f1_interval(found, n, level),
        lambda: _f1_among(correct, one),
        form=lambda: Share(correct, _either(one, len(correct)), False, _f1_of_jaccard),
    )


def _f1_interval(found: int, n: int, level: float) -> Interval:
    """Returns the interval of F1 = 2 J / (1 + J) from that of J = TP / (TP + FP + FN).

    Given the n samples that are of the class or predicted as it, the true positives are binomial
    with share J, and F1 grows with J: Wilson's bounds of J are mapped.
    """
    lower, upper = _f1_of_jaccard(np.array(wilson(found, n, level)[:2]))
    return Interval(float(lower), float(upper), level, "wilson-jaccard")


def _f1_of_jaccard(jaccard: Floats) -> Floats:
    return np.asarray(2 * jaccard / (1 + jaccard))


def _either(one: _Class, n: int) -> Bools:
    """Says which samples are of the class or predicted as it, shape (n,)."""
    mask = np.zeros(n, dtype=np.bool_)
    mask[one.samples] = True
    mask[one.said] = True
    return mask


def _f1_among(correct: Bools, one: _Class) -> WeightedStatistic:
    among = np.flatnonzero(_either(one, len(correct)))
    share = share_among(correct[among], among)

    def compute(weights: Floats) -> Floats:
        return _f1_of_jaccard(share(weights))

    return compute
