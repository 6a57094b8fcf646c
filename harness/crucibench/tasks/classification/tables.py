"""Tables of classification: the data behind the report's plots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crucibench.contracts.rows import Row
from crucibench.metrics.calibration import reliability_diagram
from crucibench.metrics.selective import risk_coverage_curve
from crucibench.metrics.table import confusion_table
from crucibench.stats import share_interval
from crucibench.stats.ranks import stable_order
from crucibench.tasks.classification.view import Bools, ClassView, Floats, Ints

MOST_CONFUSION_CLASSES = 200
"""With more classes the confusion table is left out: nobody reads 40,000 cells."""

POINTS = 200
"""Most points of a curve."""


def class_tables(answers: ClassView, per_class: Sequence[Row]) -> dict[str, pd.DataFrame]:
    """Returns ``per-class``, where each class has rows, and up to 200 classes ``confusion``.

    Args:
        answers: what was answered.
        per_class: rows of precision, recall and F1, their group naming the class.
    """
    tables = {}
    if any(row.group for row in per_class):
        tables["per-class"] = _per_class(answers, per_class)
    if len(answers.classes) <= MOST_CONFUSION_CLASSES:
        tables["confusion"] = _confusion(answers)
    return tables


def score_tables(answers: ClassView, level: float) -> dict[str, pd.DataFrame]:
    """Returns ``reliability``, ``risk-coverage`` and for a binary task ``roc`` and more."""
    if answers.probabilities is None or answers.confidence is None or answers.assurance is None:
        return {}
    tables = {
        "reliability": _reliability(answers.confidence, answers.correct, level),
        "risk-coverage": _risk_coverage(answers.assurance, answers.correct),
    }
    if answers.positive is not None:
        column = answers.probabilities[:, answers.positive]
        tables["reliability-positive"] = _reliability(column, answers.positives, level)
        if answers.positives.any() and not answers.positives.all():
            tables["roc"] = _roc(column, answers.positives)
    return tables


def _per_class(answers: ClassView, rows: Sequence[Row]) -> pd.DataFrame:
    found = {(row.metric, row.group): row for row in rows}
    support = np.bincount(answers.targets, minlength=len(answers.classes))
    columns: dict[str, list[float | None]] = {}
    for metric in ("precision", "recall", "f1"):
        picked = [found[metric, name] for name in answers.classes]
        columns[metric] = [row.value for row in picked]
        columns[f"{metric}_lower"] = [row.lower for row in picked]
        columns[f"{metric}_upper"] = [row.upper for row in picked]
    frame = pd.DataFrame({"class": list(answers.classes), "support": support})
    for name, values in columns.items():
        frame[name] = np.array([np.nan if value is None else value for value in values])
    return frame


def _confusion(answers: ClassView) -> pd.DataFrame:
    counts = confusion_table(answers.targets, answers.predictions, len(answers.classes))
    frame = pd.DataFrame(counts, columns=list(answers.classes))
    label = "true class"
    while label in answers.classes:
        label += "_"
    frame.insert(0, label, list(answers.classes))
    return frame


def _reliability(confidence: Floats, came_true: Bools, level: float) -> pd.DataFrame:
    diagram = reliability_diagram(confidence, came_true)
    bounds = [
        share_interval(int(hits), int(count), level)[:2] if count else (np.nan, np.nan)
        for hits, count in zip(diagram.hits, diagram.count, strict=True)
    ]
    return pd.DataFrame(
        {
            "bin_lower": diagram.lower,
            "bin_upper": diagram.upper,
            "count": diagram.count,
            "mean_confidence": diagram.confidence,
            "accuracy": diagram.accuracy,
            "lower": [lower for lower, _ in bounds],
            "upper": [upper for _, upper in bounds],
        }
    )


def _risk_coverage(assurance: Floats, correct: Bools) -> pd.DataFrame:
    curve = risk_coverage_curve(assurance, correct)
    kept = _thinned(len(curve.coverage))
    return pd.DataFrame({"coverage": curve.coverage[kept], "risk": curve.risk[kept]})


def _roc(probabilities: Floats, positives: Bools) -> pd.DataFrame:
    """The rates at each distinct probability as threshold, from "nothing is positive" on."""
    order = stable_order(probabilities)[::-1]
    ordered, truth = probabilities[order], positives[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    hits, flagged = truth.cumsum()[last], last + 1
    frame = pd.DataFrame(
        {
            "threshold": np.append(np.inf, ordered[last]),
            "false_positive_rate": np.append(0, flagged - hits) / (~positives).sum(),
            "true_positive_rate": np.append(0, hits) / positives.sum(),
        }
    )
    return frame.iloc[_thinned(len(frame))].reset_index(drop=True)


def _thinned(count: int) -> Ints:
    """Returns at most `POINTS` positions, the first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(np.int64))
