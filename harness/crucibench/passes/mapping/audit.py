"""The audit of mapping errors: one finding, the likeliest cause first, with what it would give."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.audit import Audit
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.task import Modality
from crucibench.contracts.verdict import Finding, Severity
from crucibench.passes.mapping.explanation import ALPHA, Explanation, r_squared, ranked

_GROSS_GAIN = 0.20
_OTHERS = 2


def mapping_errors(evidence: Evidence, scenario: Scenario) -> Findings:
    """Tries explanations of wrong answers, from records and from what the probe asked."""
    task, own = evidence.task, evidence.own
    if not len(own.samples) or not own.samples.labelled:
        return _in_train_mode(evidence, [])
    if task.one_class:
        return _of_classes(evidence, scenario)
    return _of_numbers(evidence) if task.one_number else _in_train_mode(evidence, [])


def _of_classes(evidence: Evidence, scenario: Scenario) -> Findings:
    # SciPy: not for a run that is finished already.
    from crucibench.passes.mapping.answers import (
        SURE,
        below_chance,
        below_half,
        class_explanations,
        unrelated_rows,
    )
    from crucibench.passes.mapping.undone import input_explanations
    from crucibench.stats import mcnemar_exact
    from crucibench.util.ids import Halves

    view = evidence.task.definition.view(evidence.own, evidence.task)
    halves = Halves(evidence.options.seed, f"{scenario.stream}/class-order")
    of_records, tried = class_explanations(view, halves)
    of_inputs, asked = input_explanations(evidence.own, evidence.task)
    found = ranked([*of_records, *of_inputs])
    counts = np.bincount(view.targets, minlength=len(view.classes))
    commonest = view.targets == counts.argmax()
    fewer = int((~view.correct & commonest).sum()), int((view.correct & ~commonest).sum())
    differs = mcnemar_exact(*fewer) < ALPHA
    doubtful = bool(found) and found[0] in of_inputs and _of_a_table(evidence)
    rows = None if found else unrelated_rows(view)
    if rows is not None:
        found = [rows]
    area = below_half(view)
    findings = _in_train_mode(evidence, found)
    if found and not findings:
        # Confidence alone tells of rows: a model that goes by a shortcut is as sure, and as wrong.
        # And a table's columns in other units may suit a poor model, too.
        guessed = rows is not None or doubtful
        findings.append(_finding("accuracy", found, guessed))
    findings += _by_position(evidence, area)
    if found:
        return findings
    if area is not None or below_chance(view) > SURE:
        if area is not None:
            what = f"AUROC is {area:.3f}, surely below 0.5"
        else:
            right = _percent(float(view.correct.mean()))
            what = f"accuracy is {right}, surely less than of the same answers in random order"
        return [*findings, _worse(what, tried + asked, Severity.SUSPECT)]
    if fewer[0] > fewer[1] and differs:
        what = (
            f"accuracy is {_percent(float(view.correct.mean()))}, always answering "
            f"{view.classes[int(counts.argmax())]!r} would have {_percent(float(commonest.mean()))}"
        )
        findings.append(_worse(what, tried + asked, Severity.INFO))
    return findings


def _of_numbers(evidence: Evidence) -> Findings:
    from crucibench.passes.mapping.answers import SURE, number_explanations
    from crucibench.passes.mapping.undone import input_explanations

    view = evidence.task.definition.view(evidence.own, evidence.task)
    predictions, targets = view.predictions, view.targets
    of_records, tried = number_explanations(predictions, targets)
    of_inputs, asked = input_explanations(evidence.own, evidence.task)
    found = ranked([*of_records, *of_inputs])
    findings = _in_train_mode(evidence, found)
    if found:
        return findings or [_finding("R²", found, guessed=True)]
    more = (predictions - targets) ** 2 - (targets - targets.mean()) ** 2
    spread = float(more.std()) / np.sqrt(len(more))
    if spread and more.mean() > SURE * spread:
        what = f"R² is {r_squared(predictions, targets):.3f}, below that of the targets' mean"
        opposed = float(np.corrcoef(predictions, targets)[0, 1]) if predictions.std() else 0.0
        surely = opposed * np.sqrt(len(more)) < -SURE
        level = Severity.SUSPECT if surely else Severity.INFO
        findings.append(_worse(what, tried + asked, level))
    return findings


def _of_a_table(evidence: Evidence) -> bool:
    return evidence.task.modality is Modality.TABLE


def _finding(metric: str, found: list[Explanation], guessed: bool) -> Finding:
    """Returns the finding of a mapping error.

    Args:
        metric: what the explanations raise.
        found: the likeliest first.
        guessed: whether a poor model may do better so, too: then it is suspect at most, whatever
            is explained.
    """
    best, *others = found
    where = f"on {best.n:,} samples {metric} is"
    message = (
        f"{where} {_shown(metric, best.as_mapped)} as mapped, {_shown(metric, best.undone)} with "
        f"{best.words}{_also(metric, others)}"
    )
    severity = Severity.SUSPECT if guessed or best.gain <= _GROSS_GAIN else Severity.INVALID
    return Finding(
        code="mapping-error",
        severity=severity,
        message=message,
        evidence={
            "cause": best.cause, "as_mapped": best.as_mapped, "undone": best.undone, "p": best.p,
            "n": best.n, **best.more,
            "others": [
                {"cause": one.cause, "with": one.words, "undone": one.undone} for one in others
            ],
        },
    )  # fmt: skip


def _also(metric: str, others: list[Explanation]) -> str:
    shown = [f"{_shown(metric, one.undone)} with {one.words}" for one in others[:_OTHERS]]
    return f"; or {'; '.join(shown)}" if shown else ""


def _shown(metric: str, value: float) -> str:
    return _percent(value) if metric == "accuracy" else f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _worse(what: str, tried: int, severity: Severity) -> Finding:
    return Finding(
        code="worse-than-baseline",
        severity=severity,
        message=f"{what}; none of {tried} explanations by mapping accounts for it",
        evidence={"tried": tried},
    )


def _by_position(evidence: Evidence, area: float | None) -> Findings:
    note = str(evidence.own.model.diagnostics.get("classes", ""))
    if not note.startswith("classes are matched by "):
        return []
    return [
        Finding(
            code="classes-matched-by-position",
            severity=Severity.INFO if area is None else Severity.SUSPECT,
            message=note,
            evidence={"classes": list(evidence.task.classes)},
        )
    ]


def _in_train_mode(evidence: Evidence, found: list[Explanation]) -> Findings:
    names = list(evidence.own.model.diagnostics.get("training_modules", []))
    if not names:
        return []
    shown = ", ".join(repr(name) for name in names[:3])
    metric = "R²" if evidence.task.one_number else "accuracy"
    return [
        Finding(
            code="train-mode",
            severity=Severity.INVALID,
            message=f"{len(names)} submodules are in train mode while the model answers: {shown}"
            + _also(metric, found),
            evidence={"modules": names[:20], "count": len(names)},
        )
    ]


MAPPING = Audit(
    name="mapping-errors",
    description="Would classes, rows, units, columns or pixels mapped otherwise explain errors?",
    function=mapping_errors,
    known_answer="crucibench.passes.known_answers:MAPPING",
)
