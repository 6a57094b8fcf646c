"""What became of the second opinion, and what it makes of causes for doubt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crucibench.contracts.audit import Audit
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.adversarial.protocol import SECOND
from crucibench_suites.adversarial.scoring import read_outcomes

_SHARE, _FEWEST = 0.01, 2
"""More than a point, and no single sample: what the second opinion breaks by luck is less."""

_OPEN = 0.1
"""The share of what survived of which nothing may be said."""


@dataclass(frozen=True)
class Opinion:
    """What the second opinion found.

    Attributes:
        asked: samples that had survived, of which it was asked whether anything is settled.
        moved: of all samples, the most that it broke at one radius.
        open: those of them of which nothing is.
        samples: all of them.
    """

    asked: int
    moved: int
    open: int
    samples: int

    @property
    def has_moved(self) -> bool:
        """Whether the number is another."""
        return self.moved >= _FEWEST and self.moved > _SHARE * self.samples

    @property
    def is_settled(self) -> bool:
        """Whether it could decide."""
        return self.open < _FEWEST or self.open <= _OPEN * self.asked


def opinion_of(evidence: Evidence, scenario: Any) -> Opinion | None:
    """Returns what the second opinion found; None where none was asked for."""
    return evidence.once("second-opinion", lambda: _read(evidence, scenario))


def _read(evidence: Evidence, scenario: Any) -> Opinion | None:
    outcomes = read_outcomes(scenario.series, evidence)
    if SECOND not in outcomes.asked:
        return None
    asked = outcomes.asked[SECOND]
    if not asked.any():
        # Of a model of which nothing withstands anything there is nothing to doubt.
        standing = outcomes.right & (outcomes.level > sum(eps == 0 for eps in scenario.threat.eps))
        return None if standing.any() else Opinion(0, 0, 0, len(asked))
    before = outcomes.after[scenario.series.stages[-2]]
    grid = np.arange(len(scenario.threat.eps))[:, None]
    broken = outcomes.right & (before > grid) & (outcomes.level <= grid)
    frame = evidence.own.records.frame()
    open_ = frame.loc[frame["attack"] == SECOND, "unsettled"]
    return Opinion(
        int((open_ >= 0).sum()), int(broken.sum(axis=1).max()), int((open_ > 0).sum()), len(asked)
    )


def weighed(
    findings: Sequence[Finding],
    evidence: Evidence,
    scenario: Any,
    kept: Collection[str] = ("gradients-in-forward", "abstains-under-attack"),
) -> Findings:
    """Returns findings as the second opinion leaves them.

    Where it changed nothing they are for information; where it changed the number, which counts
    what it broke, the number is suspect and no longer invalid. Codes that are `kept` stay as they
    are: it asks about answers alone, and does not see through what a model does to make them.
    """
    opinion = opinion_of(evidence, scenario) if findings else None
    if opinion is None or not opinion.is_settled:
        return list(findings)
    most = Severity.SUSPECT if opinion.has_moved else Severity.INFO
    return [
        one if one.code in kept or one.severity is Severity.INFO else replace(one, severity=most)
        for one in findings
    ]


def audit_opinion(evidence: Evidence, scenario: Any) -> Findings:
    """Says whether the second opinion moved the number, and whether it could decide."""
    opinion = opinion_of(evidence, scenario)
    if opinion is None:
        return []
    counts = {
        "asked": opinion.asked, "broken": opinion.moved, "open": opinion.open,
        "samples": opinion.samples,
    }  # fmt: skip
    found: Findings = []
    if opinion.has_moved:
        found.append(
            Finding(
                code="second-opinion-moves-number",
                severity=Severity.SUSPECT,
                message=f"attacks that do not trust the model's gradients broke {opinion.moved} of "
                f"{opinion.samples} samples more: they count, and who knows the model may find "
                "others",
                evidence=counts,
            )
        )
    if not opinion.is_settled:
        found.append(
            Finding(
                code="second-opinion-open",
                severity=Severity.SUSPECT,
                message=f"of {opinion.open} of the {opinion.asked} survivors nothing is "
                "known: no attack came nearer to the boundary, or differences of answers still "
                "lead towards it from where attacks ended",
                evidence=counts,
            )
        )
    return found


SECOND_OPINION = Audit(
    name="second-opinion",
    description="Do attacks that don't trust the gradients move the number?",
    function=lambda evidence, scenario: (
        audit_opinion(evidence, scenario) if len(evidence.own.records) else []
    ),
    known_answer="crucibench_suites.adversarial.known_answers:SECOND_OPINION",
)
