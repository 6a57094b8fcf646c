"""A verdict as JUnit XML: one case for each check."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from crucibench.gating.result import Check, Outcome, Verdict
from crucibench.gating.table import headline, many_data, notes, where
from crucibench.util.text import visible


def junit(verdict: Verdict) -> str:
    """Renders a verdict. What can't be judged is an error, what stops the gate else a failure."""
    data = many_data(verdict.checks)
    cases = [_case(check, where(check, data=data)) for check in verdict.checks]
    cases += [
        f'    <testcase classname="gate" name={_attribute(f"gate {position}")}>\n'
        f"      <error message={_attribute(text)}/>\n    </testcase>"
        for position, text in enumerate(verdict.errors, start=1)
    ]
    blocked = [check for check in verdict.checks if check.effect == "block"]
    errors = sum(check.outcome is Outcome.INVALID for check in blocked) + len(verdict.errors)
    failures = sum(check.outcome is not Outcome.INVALID for check in blocked)
    skipped = sum(check.outcome is Outcome.SKIPPED for check in verdict.checks)
    said = "\n".join([headline(verdict), *notes(verdict)])
    counts = (
        f'tests="{len(cases)}" failures="{failures}" errors="{errors}" skipped="{skipped}" time="0"'
    )
    body = "\n".join(cases)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="crucibench gate" {counts}>\n'
        f'  <testsuite name="crucibench gate" {counts}>\n{body}\n'
        f"    <system-out>{_text(said)}</system-out>\n"
        "  </testsuite>\n</testsuites>\n"
    )


def _case(check: Check, name: str) -> str:
    # Two rules may look at one number: the rule's name keeps their cases apart.
    shown = name if check.rule == check.address else f"{name} [{check.rule}]"
    start = f"    <testcase classname={_attribute(f'gate.{check.tier}')} name={_attribute(shown)}"
    body = _body(check)
    return f"{start}>\n      {body}\n    </testcase>" if body else f"{start}/>"


def _body(check: Check) -> str:
    if check.outcome is Outcome.SKIPPED:
        return f"<skipped message={_attribute(check.message)}/>"
    said = f"{check.outcome}: {check.message}"
    if check.effect == "block":
        kind = "error" if check.outcome is Outcome.INVALID else "failure"
        lines = "\n".join([check.message, *_figures(check)])
        return (
            f"<{kind} message={_attribute(said)} type={_attribute(str(check.outcome))}>"
            f"{_text(lines)}</{kind}>"
        )
    waived = f"\nwaived: {check.waived}" if check.waived else ""
    return f"<system-out>{_text(said + waived)}</system-out>" if check.effect != "none" else ""


def _figures(check: Check) -> list[str]:
    names = (
        "baseline", "candidate", "gain", "lower", "upper", "bound", "p", "p_adjusted", "n",
        "detectable", "n_needed", "method",
    )  # fmt: skip
    found = [(name, getattr(check, name)) for name in names]
    lines = [f"{name}: {value}" for name, value in found if value not in (None, "")]
    if check.lost_ids:
        lines.append(f"lost samples: {' '.join(check.lost_ids)}")
    return lines


def _attribute(text: str) -> str:
    return quoteattr(visible(text))


def _text(text: str) -> str:
    return escape("\n".join(visible(line) for line in text.split("\n")))
