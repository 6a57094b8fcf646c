"""Is a model better on corrupted images than on clean ones?"""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.stats import mcnemar_exact
from crucibench_suites.shift.answers import clean_answers, shifted_answers

_ALPHA = 1e-3
_GAIN = 0.02


def better_when_shifted(evidence: Evidence) -> Findings:
    """Flags a severity at which surely more samples are right than clean.

    A gain counts from 2 points of accuracy, with an exact McNemar p-value below 0.001 after
    Bonferroni's correction. Then the clean input is likely not what the model was made for.
    """
    cell = evidence.own
    clean = clean_answers(evidence.needs["clean"], cell.samples.ids, evidence.task).correct
    found = shifted_answers(cell, evidence.task)
    gains = {}
    for point, answers in found.items():
        won = int((answers.correct & ~clean).sum())
        lost = int((~answers.correct & clean).sum())
        gain = (won - lost) / len(clean)
        if gain >= _GAIN and mcnemar_exact(won, lost) * len(found) < _ALPHA:
            gains[point] = gain
    if not gains:
        return []
    best = max(gains, key=lambda point: gains[point])
    message = (
        f"accuracy is {100 * gains[best]:.3g} points higher at {best} than on the clean samples: "
        "check the range, the normalisation and the size that the model was made for"
    )
    return [
        Finding(
            code="better-when-shifted", severity=Severity.SUSPECT, message=message,
            evidence={"gains": gains},
        )
    ]  # fmt: skip
