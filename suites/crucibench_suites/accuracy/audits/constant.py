"""Does the model give all samples the same answer, though their targets differ?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.stats import auc, auc_interval
from crucibench.tasks.classification.view import ClassView, Floats

_SHARE_NEEDED = 0.1
"""Flagged only if other classes are predicted less than a tenth as often as they occur, ..."""

_CHANCE = 1e-4
"""... and less often than a model that predicts at the targets' rates would by this chance."""

_RARE = 0.9
"""Where one class has this share, hardly predicting the others can be the best decision."""

_TRUE = 1e-3
"""The few other predictions count if chance makes as many of them right less often than this."""

_SPREAD = 0.01
"""Near constant: values spread less than this share of the targets' spread, or probabilities of
the rare classes less than this share of their mean."""

_USELESS = 0.6
"""Scores whose AUROC is surely below this do not excuse a constant label."""

_FEWEST = 10
"""With fewer samples anything may be constant by chance."""


def constant_classes(answers: ClassView) -> Findings:
    """Flags predictions that are, nearly, all of one class.

    Where the others are rare, a useful model may predict few or none of them: it is not flagged if
    its rare predictions come true more often than chance, or its scores differ and are not surely
    useless.
    """
    n, classes = len(answers), answers.classes
    predicted = np.bincount(answers.predictions, minlength=len(classes))
    modal = int(predicted.argmax())
    others = int(n - predicted[modal])
    if n < _FEWEST or bool((answers.targets == answers.targets[0]).all()):
        return []
    needed = float((answers.targets != modal).mean())
    if others > _SHARE_NEEDED * needed * n or bdtr(others, n, needed) >= _CHANCE:
        return []
    area = _area(answers, modal)
    evidence = {
        "class": classes[modal],
        "n": n,
        "predicted_share": float(predicted[modal] / n),
        "target_share": 1.0 - needed,
        "auroc": area,
    }
    if 1.0 - needed >= _RARE:
        if others and (area is not None or _comes_true(answers, modal)):
            return []
        if area is not None:
            message = (
                f"all {n} samples are predicted as {classes[modal]!r}, though their scores differ "
                f"(AUROC {area:.3f}): the decision threshold finds none of the others, "
                f"{100 * needed:.3g} % of the samples"
            )
            return [_finding("nothing-above-threshold", Severity.INFO, message, evidence)]
    all_but = "all" if not others else f"all but {others}"
    code = "near-constant-prediction" if others else "constant-prediction"
    message = (
        f"{all_but} of {n} samples are predicted as {classes[modal]!r}, "
        f"which {100 * (1 - needed):.3g} % of them are"
    )
    return [_finding(code, Severity.SUSPECT, message, evidence)]


def constant_values(predictions: Floats, targets: NDArray[np.floating]) -> Findings:
    """Flags predicted values that hardly differ where the targets do."""
    n = len(targets)
    spread, needed = float(np.std(predictions)), float(np.std(targets))
    if n < _FEWEST or needed == 0.0 or spread >= _SPREAD * needed:
        return []
    same = bool((predictions == predictions[0]).all())
    message = (
        f"{'all' if same else 'nearly all'} of {n} samples are predicted as "
        f"{float(np.median(predictions)):.4g}: predictions spread by {spread:.3g}, "
        f"targets by {needed:.3g}"
    )
    evidence = {"n": n, "prediction_spread": spread, "target_spread": needed}
    code = "constant-prediction" if same else "near-constant-prediction"
    return [_finding(code, Severity.SUSPECT, message, evidence)]


def _area(answers: ClassView, modal: int) -> float | None:
    """Returns the AUROC of the modal class against the rest, None where scores are of no use.

    They are if they hardly spread, or if the interval shows that they rank no better than badly.
    """
    truth = answers.targets == modal
    if answers.ranking is None or answers.probabilities is None or truth.all() or not truth.any():
        return None
    of_others = 1.0 - answers.probabilities[:, modal]
    if np.std(of_others) <= _SPREAD * np.mean(of_others):
        return None
    column = answers.ranking[:, modal]
    if auc_interval(column, truth).upper < _USELESS:
        return None
    return auc(column[truth], column[~truth])


def _comes_true(answers: ClassView, modal: int) -> bool:
    """Whether the few other predictions are right more often than their classes' shares explain."""
    other = answers.predictions != modal
    shares = np.bincount(answers.targets, minlength=len(answers.classes)) / len(answers)
    expected = float(shares[answers.predictions[other]].mean())
    hits = int(answers.correct[other].sum())
    return hits > 0 and bool(bdtrc(hits - 1, int(other.sum()), expected) < _TRUE)


def _finding(
    code: str, severity: Severity, message: str, evidence: Mapping[str, object]
) -> Finding:
    return Finding(code=code, severity=severity, message=message, evidence=evidence)
