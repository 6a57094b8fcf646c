"""What GitHub shows of a verdict: annotations and a badge."""

from __future__ import annotations

import json

from crucibench.gating.result import Check, Outcome, Verdict
from crucibench.gating.table import many_data, ordered, where
from crucibench.util.text import shorten, visible

PER_TYPE = 10
"""Annotations of a type that GitHub keeps of one step."""

_TYPES = {"block": "error", "warn": "warning", "note": "notice"}
_COLOURS = {
    Outcome.PASS: "brightgreen", Outcome.REGRESSION: "red", Outcome.INCONCLUSIVE: "yellow",
    Outcome.INVALID: "lightgrey",
}  # fmt: skip


def workflow_commands(verdict: Verdict) -> list[str]:
    """Returns workflow commands, at most `PER_TYPE` of each type; the last says what is left."""
    data = many_data(verdict.checks)
    found: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    found["error"] += [_command("error", "crucibench gate", text) for text in verdict.errors]
    for check in ordered(verdict):
        if check.effect != "none":
            kind = _TYPES[check.effect]
            found[kind].append(_command(kind, where(check, data=data), _said(check)))
    return [line for kind, commands in found.items() for line in _within_limit(kind, commands)]


def _within_limit(kind: str, commands: list[str]) -> list[str]:
    if len(commands) <= PER_TYPE:
        return commands
    left = len(commands) - PER_TYPE + 1
    more = _command(kind, "crucibench gate", f"{left} more: see the job summary")
    return [*commands[: PER_TYPE - 1], more]


def badge(verdict: Verdict) -> str:
    """Returns what shields.io shows of an endpoint."""
    return json.dumps(
        {
            "schemaVersion": 1,
            "label": "crucibench gate",
            "message": str(verdict.outcome),
            "color": _COLOURS[verdict.outcome],
        }
    )


def _said(check: Check) -> str:
    waived = f" (waived: {check.waived})" if check.waived else ""
    return f"{check.outcome}: {check.message}{waived}"


def _command(kind: str, title: str, text: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    shown = shorten(visible(text), 2000)
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(shorten(text, 200)).replace(":", "%3A").replace(",", "%2C")
