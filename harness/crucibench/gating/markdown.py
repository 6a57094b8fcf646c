"""A verdict as Markdown: a job summary, and a comment that a bot updates in place."""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.gating.result import Check, Outcome, Verdict
from crucibench.gating.table import COLUMNS, headline, many_data, notes, ordered, row
from crucibench.gating.text import counted
from crucibench.util.text import markdown_text

MARKER = "<!-- crucibench-gate -->"
"""The first line of a comment: a bot finds its own comment by it and updates that."""

SUMMARY_LIMIT = 1024 * 1024
"""Bytes that GitHub takes in a job summary."""

COMMENT_LIMIT = 64 * 1024
"""Bytes that GitHub takes in a comment, with room to spare (65,536 characters)."""

_MARKS = {
    Outcome.PASS: "✅", Outcome.REGRESSION: "❌", Outcome.INCONCLUSIVE: "❔",
    Outcome.INVALID: "⚠️", Outcome.SKIPPED: "⏭️",
}  # fmt: skip


def summary(verdict: Verdict, limit: int = SUMMARY_LIMIT) -> str:
    """Returns the whole verdict, cut to `limit` bytes at the end of a line."""
    checks = ordered(verdict)
    for shown in _fewer(len(checks)):
        text = _document(verdict, checks[:shown], len(checks) - shown)
        if len(text.encode()) <= limit:
            return text
    # Notes alone can be too long: then the sentence at the head still says what matters.
    return _head(verdict)


def comment(verdict: Verdict, limit: int = COMMENT_LIMIT) -> str:
    """Returns the comment on a pull request: the marker and a summary, within the limit."""
    return f"{MARKER}\n{summary(verdict, limit - len(MARKER.encode()) - 1)}"


def _fewer(count: int) -> list[int]:
    shares = [count]
    while shares[-1] > 0:
        shares.append(shares[-1] * 3 // 4 if shares[-1] > 4 else shares[-1] - 1)
    return shares


def _head(verdict: Verdict) -> str:
    sides = verdict.sides
    anchor = f", anchor {markdown_text(sides.anchor)}" if sides.anchor else ""
    return (
        f"## {_MARKS[verdict.outcome]} {markdown_text(headline(verdict))}\n\n"
        f"Candidate {markdown_text(sides.candidate)} against baseline "
        f"{markdown_text(sides.baseline)}{anchor}.\n"
    )


def _document(verdict: Verdict, checks: Sequence[Check], left_out: int) -> str:
    parts = [_head(verdict)]
    said = [check for check in checks if check.effect != "none"]
    data = many_data(verdict.checks)
    if said:
        parts.append("\n".join(_sentence(check) for check in said) + "\n")
    if notes(verdict):
        parts.append("\n".join(f"- {markdown_text(note, 500)}" for note in notes(verdict)) + "\n")
    if checks:
        parts.append(_table(checks, data=data))
        parts.append(
            "Changes are signed so that more is better; brackets hold 95 % intervals, of the "
            "change, or of the value for a floor.\n"
        )
    if left_out:
        parts.append(f"{counted(left_out, 'check')} more in verdict.json.\n")
    return "\n".join(parts)


def _sentence(check: Check) -> str:
    waived = f" Waived: {markdown_text(check.waived, 500)}." if check.waived else ""
    return (
        f"- {_MARKS[check.outcome]} **{check.outcome}** {markdown_text(check.address)}: "
        f"{markdown_text(check.message, 600)}.{waived}"
    )


def _table(checks: Sequence[Check], *, data: bool) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * 3}{' ---: |' * 5}"]
    for check in checks:
        cells = [markdown_text(text) for text in row(check, data=data)]
        cells[0] = f"{_MARKS[check.outcome]} {cells[0]}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
