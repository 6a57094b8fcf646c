"""Findings and verdicts of a run, gathered: one entry a finding, with all cells that it touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crucibench.contracts.verdict import Severity, Status, Verdict
from crucibench.report.format import counted, listed
from crucibench.store.cells import CellFile, FindingFile
from crucibench.store.run import Run
from crucibench.util.hashing import canonical_json

_RANK = {Severity.INVALID: 0, Severity.SUSPECT: 1, Severity.INFO: 2}

IMPRECISE_MARK = "≈"
IMPRECISE_WORDS = (
    "its interval is too wide, or rests on too few errors or positives, for a claim to rest on it"
)
"""What is written before a value that is marked imprecise, and why."""

VERDICT_MARKS = {Verdict.VALID: "", Verdict.SUSPECT: "?", Verdict.INVALID: "✗"}
"""What stands beside a number, by verdict."""

VERDICT_WORDS = {
    Verdict.VALID: "no audit found a fault",
    Verdict.SUSPECT: "an audit found something that may mislead: read the finding first",
    Verdict.INVALID: "an audit found that the number does not measure what it says: do not use it",
}
"""What a verdict means."""


@dataclass(frozen=True, kw_only=True)
class FoundHere:
    """One finding, and where it counts.

    Attributes:
        severity: ``info`` leaves verdicts as they are.
        code: a stable name.
        message: one sentence.
        evidence: the numbers as plain data.
        origin: the cell it was found in.
        model: of that cell.
        data: of that cell.
        scenario: of that cell, as ``SUITE/SCENARIO``.
        cells: every cell that shows it, the origin first if it is one of them.
    """

    severity: Severity
    code: str
    message: str
    evidence: Mapping[str, Any]
    origin: str
    model: str
    data: str
    scenario: str
    cells: tuple[str, ...]


def findings_of(run: Run) -> list[FoundHere]:
    """Returns all findings of a run, the gravest first; one that cells inherit stands once."""
    cells = run.cells
    gathered: dict[tuple[str, ...], list[str]] = {}
    first: dict[tuple[str, ...], FindingFile] = {}
    for name, cell in cells.items():
        for finding in cell.findings:
            origin = finding.cell or name
            key: tuple[str, ...] = (origin, str(finding.severity), finding.code, finding.message,
                   canonical_json(finding.evidence))  # fmt: skip
            gathered.setdefault(key, []).append(name)
            first.setdefault(key, finding)
    found = []
    for key, names in gathered.items():
        finding = first[key]
        home = cells.get(key[0], cells[names[0]])
        found.append(
            FoundHere(
                severity=finding.severity,
                code=finding.code,
                message=finding.message,
                evidence=finding.evidence,
                origin=key[0],
                model=home.model,
                data=home.data,
                scenario=address_of(home),
                cells=(*(n for n in names if n == key[0]), *(n for n in names if n != key[0])),
            )
        )
    return sorted(
        found, key=lambda entry: (_RANK[entry.severity], entry.data, entry.model, entry.code)
    )


def address_of(cell: CellFile) -> str:
    """Returns ``SUITE/SCENARIO``."""
    return f"{cell.suite}/{cell.scenario}"


def verdict_counts(cells: Sequence[CellFile]) -> dict[str, int]:
    """Returns how many cells are valid, suspect, invalid, failed and skipped."""
    counts = Counter(
        str(cell.status) if cell.status is not Status.OK else str(cell.verdict or Verdict.VALID)
        for cell in cells
    )
    return {
        name: counts[name]
        for name in (
            *(str(verdict) for verdict in Verdict),
            str(Status.FAILED),
            str(Status.SKIPPED),
        )
    }


def nothing_found(cells: Collection[CellFile], clear: str = "The audits found nothing.") -> str:
    """Says that no audit found anything, and in what: cells that failed were never audited.

    Args:
        cells: of a run.
        clear: the sentence where no cell failed.
    """
    measured = sum(cell.status is Status.OK for cell in cells)
    failed = sum(cell.status is Status.FAILED for cell in cells)
    if not failed:
        return clear if measured else "No cell ran to the end: nothing was audited."
    apart = f"{counted(failed, 'cell')} failed and {'was' if failed == 1 else 'were'} not audited"
    if not measured:
        return f"Nothing was audited: {apart}."
    return f"{clear.removesuffix('.')} in the {counted(measured, 'cell')} that ran; {apart}."


def verdict_summary(run: Run) -> str:
    """Says in a few sentences how far the run's numbers can be trusted."""
    cells = list(run.cells.values())
    if not cells:
        return "The run holds no cell: nothing was measured."
    counts = verdict_counts(cells)
    measured = counts["valid"] + counts["suspect"] + counts["invalid"]
    sentences = [f"{measured} of {counted(len(cells), 'planned cell')} ran to the end."]
    if measured and not counts["suspect"] and not counts["invalid"]:
        sentences.append("No audit found a fault in their numbers.")
    if counts["invalid"]:
        names = _models(cells, Verdict.INVALID)
        sentences.append(
            f"The numbers of {counted(counts['invalid'], 'cell')} ({names}) are invalid: an audit "
            "found that they do not measure what they say."
        )
    if counts["suspect"]:
        names = _models(cells, Verdict.SUSPECT)
        sentences.append(
            f"The numbers of {counted(counts['suspect'], 'cell')} ({names}) are suspect: read the "
            "findings before using them."
        )
    if counts["failed"]:
        names = listed(sorted({cell.model for cell in cells if cell.status is Status.FAILED}))
        sentences.append(f"{counted(counts['failed'], 'cell')} failed ({names}).")
    if counts["skipped"]:
        was = "was" if counts["skipped"] == 1 else "were"
        sentences.append(f"{counted(counts['skipped'], 'cell')} {was} skipped, with reasons.")
    return " ".join(sentences)


def _models(cells: Sequence[CellFile], verdict: Verdict) -> str:
    return listed(sorted({cell.model for cell in cells if cell.verdict is verdict}))
