"""Independent computations of classification metrics, for the conformance kit.

By scikit-learn, or by the definition in plain loops; none of the code that they are held against is
used. They take a `ClassView`, or arrays of one, and return nan where a metric is undefined.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from crucibench.tasks.classification.view import Bools, ClassView, Floats


def top_1(view: ClassView) -> float:
    """Share of right predictions."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(view.targets, view.predictions))


def top_5(view: ClassView) -> float:
    """Share of targets among the five highest scores, ties by index."""
    hits = 0
    for scores, target in zip(np.asarray(view.scores), view.targets, strict=True):
        order = sorted(range(len(scores)), key=lambda k: (-scores[k], k))
        hits += int(target) in order[:5]
    return hits / len(view)


def balanced_accuracy(view: ClassView) -> float:
    """Mean recall over the classes that have samples."""
    from sklearn.metrics import recall_score

    present = np.unique(view.targets)
    return float(recall_score(view.targets, view.predictions, labels=present, average="macro"))


def f1_macro(view: ClassView) -> float:
    """Mean F1 over the classes that occur among targets or predictions."""
    from sklearn.metrics import f1_score

    return float(f1_score(view.targets, view.predictions, average="macro"))


def f1_weighted(view: ClassView) -> float:
    """F1 of the classes, weighted by their targets."""
    from sklearn.metrics import f1_score

    return float(f1_score(view.targets, view.predictions, average="weighted"))


def mcc(view: ClassView) -> float:
    """Matthews correlation coefficient."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(view.targets, view.predictions))


def _counts(view: ClassView, group: str) -> tuple[int, int, int, int]:
    """Returns true positives, false positives, false negatives and true negatives of a class."""
    index = view.classes.index(group) if group else view.positive
    found = {(True, True): 0, (False, True): 0, (True, False): 0, (False, False): 0}
    for target, predicted in zip(view.targets, view.predictions, strict=True):
        found[bool(target == index), bool(predicted == index)] += 1
    return found[True, True], found[False, True], found[True, False], found[False, False]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def precision(view: ClassView, group: str = "") -> float:
    """TP / (TP + FP)."""
    hits, wrong, _, _ = _counts(view, group)
    return _ratio(hits, hits + wrong)


def recall(view: ClassView, group: str = "") -> float:
    """TP / (TP + FN)."""
    hits, _, missed, _ = _counts(view, group)
    return _ratio(hits, hits + missed)


def f1(view: ClassView, group: str = "") -> float:
    """2 TP / (2 TP + FP + FN)."""
    hits, wrong, missed, _ = _counts(view, group)
    return _ratio(2 * hits, 2 * hits + wrong + missed)


def fpr(view: ClassView) -> float:
    """FP / (FP + TN)."""
    _, wrong, _, right = _counts(view, "")
    return _ratio(wrong, wrong + right)


def _ranking(view: ClassView) -> Floats:
    if view.ranking is None:
        raise ValueError("expected scores")
    return view.ranking


def auroc(view: ClassView) -> float:
    """Area under the ROC curve of the positive class."""
    return _area(_ranking(view)[:, view.positive], view.positives)


def _area(scores: Floats, positives: Bools) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positives, scores)) if len(set(positives)) > 1 else math.nan


def auroc_ovr(view: ClassView) -> float:
    """Mean over classes of the area of each against the rest."""
    columns = _ranking(view).T
    return float(np.mean([_area(one, view.targets == k) for k, one in enumerate(columns)]))


def average_precision(view: ClassView) -> float:
    """Average precision of the positive class."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(view.positives, _ranking(view)[:, view.positive]))


def average_precision_ovr(view: ClassView) -> float:
    """Mean over classes of the average precision of each."""
    from sklearn.metrics import average_precision_score

    columns = _ranking(view).T
    return float(
        np.mean([average_precision_score(view.targets == k, one) for k, one in enumerate(columns)])
    )


def recall_at_precision(view: ClassView, least: float) -> float:
    """The highest recall of a threshold whose precision is at least `least`; 0 where none has."""
    scores, positives = _ranking(view)[:, view.positive], view.positives
    best = 0.0
    for threshold in np.unique(scores):
        above = scores >= threshold
        if positives[above].mean() >= least - 1e-12:
            best = max(best, float(positives[above].sum() / positives.sum()))
    return best


def log_loss(view: ClassView) -> float:
    """Mean of -ln of the target's probability, raised to at least 2.2e-16."""
    if view.probabilities is None:
        return float(np.mean(view.kept_loss)) if view.kept_loss is not None else math.nan
    total = 0.0
    for row, target in zip(view.probabilities, view.targets, strict=True):
        total -= math.log(max(row[target], np.finfo(np.float64).eps))
    return total / len(view)


def brier(view: ClassView) -> float:
    """Mean squared error of the positive class's probability."""
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(view.positives, view.score))


def brier_sum(view: ClassView) -> float:
    """Mean over samples of the squared errors of all classes' probabilities, summed."""
    probabilities: Any = view.probabilities
    total = 0.0
    for row, target in zip(probabilities, view.targets, strict=True):
        total += sum((p - (k == target)) ** 2 for k, p in enumerate(row))
    return total / len(view)


def calibration_error(
    confidence: Floats, correct: Bools, *, binning: str, norm: str, debias: bool = False
) -> float:
    """Binned calibration error with 15 bins, sample by sample."""
    n, bins = len(confidence), 15
    members: dict[int, list[int]] = {}
    for i, p in enumerate(confidence):
        if binning == "equal-width":
            edges = [k / bins for k in range(bins + 1)]
            bin_ = next(k for k in range(bins) if p <= edges[k + 1] or k == bins - 1)
        else:
            below = int((confidence < p).sum())
            ties = int((confidence == p).sum())
            bin_ = min(bins - 1, math.floor(bins * (below + ties / 2) / n))
        members.setdefault(bin_, []).append(i)
    gaps, squares = [], 0.0
    for rows in members.values():
        accuracy, mean = float(correct[rows].mean()), float(confidence[rows].mean())
        gap = abs(mean - accuracy)
        gaps.append((len(rows), gap))
        noise = accuracy * (1 - accuracy) / (len(rows) - 1) if debias and len(rows) > 1 else 0.0
        if not (debias and len(rows) == 1):
            squares += len(rows) / n * (gap**2 - noise)
    if norm == "max":
        return max(gap for _, gap in gaps)
    if norm == "l1":
        return sum(count / n * gap for count, gap in gaps)
    return math.sqrt(max(squares, 0.0))


def classwise_calibration_error(view: ClassView) -> float:
    """Mean over classes of the equal-width calibration error of each class's probability."""
    probabilities: Any = view.probabilities
    errors = [
        calibration_error(probabilities[:, k], view.targets == k, binning="equal-width", norm="l1")
        for k in range(len(view.classes))
    ]
    return float(np.mean(errors))


def _risks(assurance: Floats, correct: Bools) -> list[float]:
    """Returns the expected share of errors among the k most confident, k = 1 to n."""
    order = np.argsort(-assurance, kind="stable")
    wrong = (~correct[order]).astype(np.float64)
    ordered = assurance[order]
    # Tied samples come in any order: each counts as wrong as often as those it ties with.
    for value in np.unique(ordered):
        tied = ordered == value
        wrong[tied] = wrong[tied].mean()
    return [float(wrong[: k + 1].sum() / (k + 1)) for k in range(len(wrong))]


def aurc(assurance: Floats, correct: Bools) -> float:
    """Mean risk over all numbers of samples that are kept."""
    return float(np.mean(_risks(assurance, correct)))


def e_aurc(assurance: Floats, correct: Bools) -> float:
    """AURC less that of the same errors, all ranked last."""
    best = _risks(correct.astype(np.float64), correct)
    # Ties among right ones and among wrong ones change nothing.
    return aurc(assurance, correct) - float(np.mean(best))


def accuracy_at_coverage(assurance: Floats, correct: Bools, percent: int) -> float:
    """Accuracy among the most confident samples."""
    kept = math.ceil(len(correct) * percent / 100 - 1e-9)
    return 1.0 - _risks(assurance, correct)[kept - 1]
