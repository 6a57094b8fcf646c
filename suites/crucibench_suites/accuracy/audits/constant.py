"""Does the model give all samples the same answer, though their targets differ?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.stats import auc, delong_interval
from crucibench_suites.accuracy.answers import Answers, Floats

_SHARE_NEEDED = 0.1
"""Flagged only if other classes are predicted less than a tenth as often as they occur, ..."""

_CHANCE = 1e-4
"""... and less often than a model that predicts at the targets' rates would by this chance."""

_RARE = 0.9
"""Where one class has this share, hardly predicting the others can be the best decision."""

_TRUE = 1e-3
"""The few other predictions count if chance makes as many of them right less often than this."""

_SPREAD = 0.01
"""Predicted values that spread less than this share of the targets' spread are near constant."""

_FEWEST = 10


def constant_classes(answers: Answers) -> Findings:
    """Flags predictions that are, nearly, all of one class.

    Where the others are rare, a useful model may predict few or none of them: it is not flagged if
    its rare predictions come true more often than chance, or its scores rank.
    """
    n, classes = len(answers), answers.classes
    said = np.bincount(answers.predictions, minlength=len(classes))
    modal = int(said.argmax())
    others = int(n - said[modal])
    needed = float((answers.targets != modal).mean())
    if others > _SHARE_NEEDED * needed * n or bdtr(others, n, needed) >= _CHANCE:
        return []
    area = _rank_interval(answers, modal)
    evidence = {
        "class": classes[modal],
        "n": n,
        "predicted_share": float(said[modal] / n),
        "target_share": 1.0 - needed,
        "auroc": None if area is None else area[0],
    }
    ranks = area is not None and area[1] > 0.5
    if 1.0 - needed >= _RARE:
        if others and (ranks or _comes_true(answers, modal)):
            return []
        if ranks and area is not None:
            message = (
                f"all {n} samples are predicted as {classes[modal]!r}, though the scores tell the "
                f"classes apart (AUROC {area[0]:.3f}): the decision threshold finds none of the "
                f"others, {100 * needed:.3g} % of the samples"
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


def _rank_interval(answers: Answers, modal: int) -> tuple[float, float] | None:
    """Returns how well scores tell the modal class from the rest: AUROC and its lower end."""
    truth = answers.targets == modal
    if answers.ranking is None or truth.all() or not truth.any():
        return None
    column = answers.ranking[:, modal]
    return auc(column[truth], column[~truth]), delong_interval(column, truth, 0.99).lower


def _comes_true(answers: Answers, modal: int) -> bool:
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
