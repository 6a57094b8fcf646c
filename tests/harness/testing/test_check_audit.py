"""Every registered audit finds its planted defects; the kit refuses those that don't."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crucibench.contracts.audit import Audit, KnownFindings, audits
from crucibench.contracts.verdict import Finding, Severity
from crucibench.testing import check_audit
from crucibench.util.errors import InputError
from crucibench.util.registry import Registered


@pytest.mark.parametrize("name", audits().names())
def test_every_registered_audit_has_a_known_answer(name: str) -> None:
    check_audit(audits().get(name))


CONSTANT = audits().get("constant-prediction")


def answer() -> KnownFindings:
    found = CONSTANT.answer()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("audit", "promise"),
    [
        (replace(CONSTANT, known_answer=None), "known answer"),
        (replace(CONSTANT, description=""), "declaration"),
        (replace(CONSTANT, function=lambda evidence, scenario: []), "planted defect"),
        (
            replace(
                CONSTANT,
                known_answer=replace(answer(), clean=next(iter(answer().planted.values()))),
            ),
            "clean case",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_audits_are_refused(audit: Audit, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_audit(audit)


def test_an_audit_of_another_package_is_run_on_the_scenarios_that_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = answer().clean()
    own = case.scenario.findings(case.evidence)
    note = Finding(code="noted", severity=Severity.INFO, message="noted")
    other = Audit(
        name="other", description="x", function=lambda evidence, scenario: [note],
        scenarios=("accuracy/*",),
    )  # fmt: skip

    class Others:
        audit: Audit | InputError = other

        def entries(self) -> list[Registered]:
            return [Registered("other", "x:y", "another", "1")]

        def get(self, name: str) -> Audit:
            if isinstance(self.audit, InputError):
                raise self.audit
            return self.audit if name == "other" else CONSTANT

    monkeypatch.setattr("crucibench.contracts.audit.audits", Others)
    assert case.scenario.findings(case.evidence) == [*own, note]
    Others.audit = replace(other, scenarios=("shift/*", "accuracy"))
    assert case.scenario.findings(case.evidence) == own
    Others.audit = InputError("it can't be loaded")
    (found,) = case.scenario.findings(case.evidence)[len(own) :]
    assert (found.code, found.severity) == ("audit-not-run", Severity.INFO)
