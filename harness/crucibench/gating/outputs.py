"""The files of a verdict (JSON, JUnit XML, Markdown, a badge, an SVG), and what GitHub is sent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from crucibench.gating.result import Check, GateVerdict, Outcome
from crucibench.gating.text import (
    COLUMNS,
    between,
    change,
    counted,
    headline,
    many_data,
    notes,
    ordered,
    row,
    where,
)
from crucibench.util import doors
from crucibench.util.atomic import write_text
from crucibench.util.text import markdown_text, shorten, visible

PER_TYPE = 10
"""Annotations of a type that GitHub keeps of one step."""

_TYPES = {"block": "error", "warn": "warning", "note": "notice"}
_BADGE_COLOURS = {
    Outcome.PASS: "brightgreen", Outcome.REGRESSION: "red", Outcome.INCONCLUSIVE: "yellow",
    Outcome.INVALID: "lightgrey",
}  # fmt: skip


def workflow_commands(verdict: GateVerdict) -> list[str]:
    """Returns workflow commands, at most `PER_TYPE` of each type; the last says what is left."""
    data = many_data(verdict.checks)
    found: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    found["error"] += [_annotation("error", "crucibench gate", text) for text in verdict.errors]
    for check in ordered(verdict):
        if check.effect != "none":
            kind = _TYPES[check.effect]
            found[kind].append(_annotation(kind, where(check, data=data), _with_waiver(check)))
    return [line for kind, commands in found.items() for line in _within_limit(kind, commands)]


def _within_limit(kind: str, commands: list[str]) -> list[str]:
    if len(commands) <= PER_TYPE:
        return commands
    left = len(commands) - PER_TYPE + 1
    more = _annotation(kind, "crucibench gate", f"{left} more: see the job summary")
    return [*commands[: PER_TYPE - 1], more]


def badge(verdict: GateVerdict) -> str:
    """Returns what shields.io shows of an endpoint."""
    return json.dumps(
        {
            "schemaVersion": 1,
            "label": "crucibench gate",
            "message": str(verdict.outcome),
            "color": _BADGE_COLOURS[verdict.outcome],
        }
    )


def _with_waiver(check: Check) -> str:
    waived = f" (waived: {check.waived})" if check.waived else ""
    return f"{check.outcome}: {check.message}{waived}"


def _annotation(kind: str, title: str, text: str) -> str:
    return f"::{kind} title={_escaped_title(title)}::{_escaped(text)}"


def _escaped(text: str) -> str:
    shown = shorten(visible(text), 2000)
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_title(text: str) -> str:
    return _escaped(shorten(text, 200)).replace(":", "%3A").replace(",", "%2C")


def junit(verdict: GateVerdict) -> str:
    """Renders a verdict. What can't be judged is an error, what stops the gate else a failure."""
    data = many_data(verdict.checks)
    cases = [_case(check, where(check, data=data)) for check in verdict.checks]
    cases += [
        f'    <testcase classname="gate" name={_xml_attribute(f"gate {position}")}>\n'
        f"      <error message={_xml_attribute(text)}/>\n    </testcase>"
        for position, text in enumerate(verdict.errors, start=1)
    ]
    blocked = [check for check in verdict.checks if check.effect == "block"]
    errors = sum(check.outcome is Outcome.INVALID for check in blocked) + len(verdict.errors)
    failures = sum(check.outcome is not Outcome.INVALID for check in blocked)
    skipped = sum(check.outcome is Outcome.SKIPPED for check in verdict.checks)
    console = "\n".join([headline(verdict), *notes(verdict)])
    counts = (
        f'tests="{len(cases)}" failures="{failures}" errors="{errors}" skipped="{skipped}" time="0"'
    )
    body = "\n".join(cases)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="crucibench gate" {counts}>\n'
        f'  <testsuite name="crucibench gate" {counts}>\n{body}\n'
        f"    <system-out>{_xml_text(console)}</system-out>\n"
        "  </testsuite>\n</testsuites>\n"
    )


def _case(check: Check, name: str) -> str:
    # Two rules may look at one number: the rule's name keeps their cases apart.
    shown = name if check.rule == check.address else f"{name} [{check.rule}]"
    tier = _xml_attribute(f"gate.{check.tier}")
    start = f"    <testcase classname={tier} name={_xml_attribute(shown)}"
    body = _body(check)
    return f"{start}>\n      {body}\n    </testcase>" if body else f"{start}/>"


def _body(check: Check) -> str:
    if check.outcome is Outcome.SKIPPED:
        return f"<skipped message={_xml_attribute(check.message)}/>"
    said = f"{check.outcome}: {check.message}"
    if check.effect == "block":
        kind = "error" if check.outcome is Outcome.INVALID else "failure"
        lines = "\n".join([check.message, *_figures(check)])
        return (
            f"<{kind} message={_xml_attribute(said)} type={_xml_attribute(str(check.outcome))}>"
            f"{_xml_text(lines)}</{kind}>"
        )
    waived = f"\nwaived: {check.waived}" if check.waived else ""
    return f"<system-out>{_xml_text(said + waived)}</system-out>" if check.effect != "none" else ""


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


def _xml_attribute(text: str) -> str:
    return quoteattr(visible(text))


def _xml_text(text: str) -> str:
    return escape("\n".join(visible(line) for line in text.split("\n")))


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


def summary(verdict: GateVerdict, limit: int = SUMMARY_LIMIT) -> str:
    """Returns the whole verdict, cut to `limit` bytes at the end of a line."""
    checks = ordered(verdict)
    for shown in _fewer(len(checks)):
        text = _markdown(verdict, checks[:shown], len(checks) - shown)
        if len(text.encode()) <= limit:
            return text
    # Notes alone can be too long: then the sentence at the head still says what matters.
    return _head(verdict)


def comment(verdict: GateVerdict, limit: int = COMMENT_LIMIT) -> str:
    """Returns the comment on a pull request: the marker and a summary, within the limit."""
    return f"{MARKER}\n{summary(verdict, limit - len(MARKER.encode()) - 1)}"


def _fewer(count: int) -> list[int]:
    shares = [count]
    while shares[-1] > 0:
        shares.append(shares[-1] * 3 // 4 if shares[-1] > 4 else shares[-1] - 1)
    return shares


def _head(verdict: GateVerdict) -> str:
    sides = verdict.sides
    anchor = f", anchor {markdown_text(sides.anchor)}" if sides.anchor else ""
    return (
        f"## {_MARKS[verdict.outcome]} {markdown_text(headline(verdict))}\n\n"
        f"Candidate {markdown_text(sides.candidate)} against baseline "
        f"{markdown_text(sides.baseline)}{anchor}.\n"
    )


def _markdown(verdict: GateVerdict, checks: Sequence[Check], left_out: int) -> str:
    parts = [_head(verdict)]
    said = [check for check in checks if check.effect != "none"]
    data = many_data(verdict.checks)
    if said:
        parts.append("\n".join(_sentence(check) for check in said) + "\n")
    if notes(verdict):
        parts.append("\n".join(f"- {markdown_text(note, 500)}" for note in notes(verdict)) + "\n")
    if checks:
        parts.append(_markdown_table(checks, data=data))
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


def _markdown_table(checks: Sequence[Check], *, data: bool) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * 3}{' ---: |' * 5}"]
    for check in checks:
        cells = [markdown_text(text) for text in row(check, data=data)]
        cells[0] = f"{_MARKS[check.outcome]} {cells[0]}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_LINE_COLOURS = {
    Outcome.PASS: "#2a7f3f", Outcome.REGRESSION: "#c0272d", Outcome.INCONCLUSIVE: "#a86b00",
    Outcome.INVALID: "#6b6b6b", Outcome.SKIPPED: "#6b6b6b",
}  # fmt: skip
_ROW, _TOP, _LEFT, _PLOT, _RIGHT = 22, 56, 380, 300, 230
_SPAN = 3.0
"""How many bounds the axis shows to either side; what lies beyond is cut and marked."""
_MOST_DRAWN = 200


def deltas_svg(verdict: GateVerdict) -> str:
    """Draws the checks that have a difference, those that stop the gate first."""
    data = many_data(verdict.checks)
    drawn = [check for check in ordered(verdict) if check.gain is not None and check.bound][
        :_MOST_DRAWN
    ]
    height = _TOP + _ROW * max(len(drawn), 1) + 16
    width = _LEFT + _PLOT + _RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{_svg_text(headline(verdict), 200)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="20" font-size="14" font-weight="bold">{_svg_text(headline(verdict), 110)}'
        "</text>",
    ]
    if drawn:
        bottom = _TOP + _ROW * len(drawn)
        parts += [
            _vertical(-1.0, bottom, "the loss allowed", "#c0272d"),
            _vertical(0.0, bottom, "0", "#888"),
        ]
    else:
        parts.append(f'<text x="8" y="{_TOP}">no difference to draw</text>')
    for position, check in enumerate(drawn):
        parts.append(_check_line(check, _TOP + _ROW * position + _ROW / 2, where(check, data=data)))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x_of(gain: float) -> float:
    share = (min(max(gain, -_SPAN), _SPAN) + _SPAN) / (2 * _SPAN)
    return _LEFT + share * _PLOT


def _vertical(gain: float, bottom: float, label: str, colour: str) -> str:
    x = _x_of(gain)
    return (
        f'<path d="M{x:.1f} {_TOP - 4}V{bottom:.1f}" stroke="{colour}" stroke-dasharray="4 3"/>'
        f'<text x="{x:.1f}" y="{_TOP - 10}" text-anchor="middle" fill="{colour}">{label}</text>'
    )


def _check_line(check: Check, y: float, name: str) -> str:
    assert check.gain is not None and check.bound
    colour = _LINE_COLOURS[check.outcome]
    parts = [f'<text x="8" y="{y + 4:.1f}">{_svg_text(name, 58)}</text>']
    said = change(check.gain, percent=check.percent, sign=True)
    if check.lower is not None and check.upper is not None:
        half = (check.upper - check.lower) / 2
        low, high = _x_of(check.lower / check.bound), _x_of(check.upper / check.bound)
        parts.append(
            f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" stroke="{colour}" stroke-width="3" '
            'stroke-linecap="round" opacity="0.55"/>'
        )
        said = change(check.gain, half=half, percent=check.percent, sign=True)
        said += f" {between(check.lower, check.upper, percent=check.percent)}"
    x = _x_of(check.gain / check.bound)
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
    parts.append(f'<text x="{_LEFT + _PLOT + 12}" y="{y + 4:.1f}">{_svg_text(said, 60)}</text>')
    return "".join(parts)


def _svg_text(text: str, limit: int) -> str:
    return escape(shorten(visible(text), limit))


FILES = (
    "verdict.json", "junit.xml", "summary.md", "comment.md", "badge.json", "deltas.svg",
)  # fmt: skip


def verdict_json(verdict: GateVerdict) -> str:
    """Returns the content of ``verdict.json``; ``crucibench schema verdict`` describes it."""
    return verdict.model_dump_json(indent=2) + "\n"


def write_outputs(verdict: GateVerdict, folder: Path) -> None:
    """Writes `FILES` into a folder, the verdict first."""
    contents = {
        "verdict.json": verdict_json(verdict),
        "junit.xml": junit(verdict),
        "summary.md": summary(verdict),
        "comment.md": comment(verdict),
        "badge.json": badge(verdict) + "\n",
        "deltas.svg": deltas_svg(verdict),
    }
    for name in FILES:
        write_text(folder / name, contents[name])


def tell_github(verdict: GateVerdict, environment: Mapping[str, str] | None = None) -> list[str]:
    """Appends the job summary where GitHub asks for one, and returns the annotations to print.

    Args:
        verdict: what to tell.
        environment: the process's own by default.
    """
    variables = os.environ if environment is None else environment
    path = variables.get("GITHUB_STEP_SUMMARY")
    if path:
        file = Path(path)
        before = file.stat().st_size if file.is_file() else 0
        # Too large a summary is refused as a whole, with what other steps had to say.
        room = SUMMARY_LIMIT - before - 1
        text = summary(verdict, max(room, 0))
        if len(text.encode()) <= room:
            with doors.open_file(file, "ab") as stream:
                stream.write(text.encode() + b"\n")
    return workflow_commands(verdict) if variables.get("GITHUB_ACTIONS") == "true" else []
