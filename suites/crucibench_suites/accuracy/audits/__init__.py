"""The audits of the clean scenario: what each looks for; functions are in files beside it."""

from __future__ import annotations

from collections.abc import Callable

from crucibench.contracts.audit import Audit, Find
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.scenario import Scenario
from crucibench.tasks.classification.view import ClassView
from crucibench_suites.accuracy.audits.classes import (
    missing_classes,
    threshold_not_applied,
    zero_probabilities,
)
from crucibench_suites.accuracy.audits.constant import constant_classes, constant_values
from crucibench_suites.accuracy.audits.dependence import undeclared_dependence
from crucibench_suites.accuracy.audits.duplicates import duplicates
from crucibench_suites.accuracy.audits.precision import too_few_samples

_KNOWN = "crucibench_suites.accuracy.audits.known_answers:"


def _classes(evidence: Evidence) -> ClassView | None:
    """Returns the view of the test pass, None where answers are no classes."""
    if not evidence.task.one_class:
        return None
    view: ClassView = evidence.task.definition.view(evidence.needs["test"], evidence.task)
    return view


def _constant(evidence: Evidence, scenario: Scenario) -> Findings:
    if evidence.task.one_number:
        view = evidence.task.definition.view(evidence.needs["test"], evidence.task)
        return constant_values(view.predictions, view.targets)
    classes = _classes(evidence)
    return [] if classes is None else constant_classes(classes)


def _of_classes(find: Callable[[ClassView], Findings]) -> Find:
    """Returns an audit's function that finds nothing where answers are no classes."""
    return lambda evidence, scenario: [] if (view := _classes(evidence)) is None else find(view)


CONSTANT = Audit(
    name="constant-prediction",
    description="Do all samples, nearly, get the same answer though their targets differ?",
    function=_constant,
    known_answer=_KNOWN + "CONSTANT",
)

THRESHOLD = Audit(
    name="threshold-not-applied",
    description="Was the decision threshold that the user set applied?",
    function=_of_classes(threshold_not_applied),
    known_answer=_KNOWN + "THRESHOLD",
)

ZERO = Audit(
    name="zero-probability",
    description="How much of the log loss comes from probabilities that are exactly 0?",
    function=_of_classes(zero_probabilities),
    known_answer=_KNOWN + "ZERO",
)

CLASSES = Audit(
    name="classes-without-samples",
    description="Does every class have test samples?",
    function=_of_classes(missing_classes),
    known_answer=_KNOWN + "CLASSES",
)

DUPLICATES = Audit(
    name="duplicates",
    description="Do test samples repeat one another, or samples of the train role?",
    function=lambda evidence, scenario: duplicates(evidence),
    known_answer=_KNOWN + "DUPLICATES",
)

DEPENDENCE = Audit(
    name="undeclared-dependence",
    description="Are samples right and wrong together that no cluster declares to belong together?",
    function=undeclared_dependence,
    known_answer=_KNOWN + "DEPENDENCE",
)

PRECISION = Audit(
    name="too-few-samples",
    description="Are there enough samples for a narrow interval of the headline number?",
    function=too_few_samples,
    known_answer=_KNOWN + "PRECISION",
)
