"""Audits of attacks without gradients, on images, rows and texts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from crucibench.contracts.audit import Audit
from crucibench.contracts.evidence import Evidence, Findings
from crucibench_suites.adversarial.audits.probed import beyond, finding
from crucibench_suites.adversarial.audits.series import where_recorded
from crucibench_suites.adversarial.protocol import LABEL_ONLY
from crucibench_suites.adversarial.scoring import Series, read_outcomes, read_spent

_ENOUGH = 100
"""Questions about a sample before one may ask what they were good for."""

_FIRST, _LEFT = 5, 10
"""Examples by the first question, and samples left over, from which their number tells."""

_NO_NEARER = 0.9
_BY_CHANCE = 0.01
_SHARE = 0.02


def audit_questions(series: Series, evidence: Evidence) -> Findings:
    """Looks at what questions were good for: on scores, or on labels."""
    if series.threat.access == "decision":
        return nearing(series, evidence)
    if "moved" in evidence.own.records:
        return _unmoved(evidence)
    return _growth(series, evidence) if series.threat.access == "score" else []


def against_labels(series: Series, evidence: Evidence) -> Findings:
    """Holds an attack on scores against one on labels, where the run has one beside."""
    other = evidence.needs.get(LABEL_ONLY)
    if other is None or not len(other.records):
        return []
    outcomes = read_outcomes(series, evidence)
    levels = other.records.frame()[["id", "level"]]
    ids = pd.Index(evidence.own.samples.ids)
    theirs = np.where(outcomes.right, len(series.threat.eps), 0)
    theirs[ids.get_indexer(pd.Index(levels["id"]))] = levels["level"].to_numpy()
    return label_only_beats(series, outcomes.level, theirs, outcomes.right)


def _growth(series: Series, evidence: Evidence) -> Findings:
    """Looks at whether any question after the first broke anything."""
    spent = read_spent(series, evidence)
    needed = spent.queries_to.min(axis=1)
    first = int((needed <= 1).sum())
    later = int((np.isfinite(needed) & (needed > 1)).sum())
    left = int((np.isinf(needed) & (spent.queries >= _ENOUGH)).sum())
    if later or first < _FIRST or left < _LEFT:
        return []
    return [
        finding(
            "queries-gain-nothing",
            f"all {first} examples came with the first question, and {int(spent.queries.max())} "
            f"questions about each of {left} other samples broke none: the scores give a search "
            "nothing to follow",
            {"first": first, "later": later, "left": left, "queries": int(spent.queries.max())},
        )
    ]


def nearing(series: Series, evidence: Evidence) -> Findings:
    """Looks at whether examples came nearer with questions."""
    spent = read_spent(series, evidence)
    asked = (spent.queries >= _ENOUGH) & np.isfinite(spent.first) & np.isfinite(spent.distance)
    if int(asked.sum()) < _LEFT:
        return []
    ratio = float(np.median(spent.distance[asked] / np.maximum(spent.first[asked], 1e-12)))
    if ratio < _NO_NEARER:
        return []
    return [
        finding(
            "queries-gain-nothing",
            f"after {int(np.median(spent.queries[asked]))} questions (median) the nearest examples "
            f"of {int(asked.sum())} samples are still {ratio:.2g} times as far away as the first: "
            "the answers give a search nothing to follow",
            {
                "samples": int(asked.sum()),
                "ratio": ratio,
                "queries": int(np.median(spent.queries[asked])),
            },
        )
    ]


def label_only_beats(
    series: Series, mine: np.ndarray, theirs: np.ndarray, right: np.ndarray
) -> Findings:
    """Says where an attack on labels breaks more samples than one on scores.

    At the radius where they differ most, by a paired test (one-sided, exact) at 1 % shared among
    the radii, and by two samples and 2 % at least.

    Args:
        series: of the attack on scores.
        mine: its levels, shape (n,): a sample is broken at each radius from its level on.
        theirs: those of the attack on labels.
        right: which samples are right as they are.
    """
    n = int(right.sum())
    worst: tuple[int, int, int] | None = None
    for at in range(len(series.threat.eps)):
        theirs_alone = int((right & (theirs <= at) & (mine > at)).sum())
        mine_alone = int((right & (mine <= at) & (theirs > at)).sum())
        if worst is None or theirs_alone - mine_alone > worst[0] - worst[1]:
            worst = theirs_alone, mine_alone, at
    if worst is None or worst[0] - worst[1] < max(2, _SHARE * n):
        return []
    chance = float(binomtest(worst[0], worst[0] + worst[1], 0.5, alternative="greater").pvalue)
    if chance > _BY_CHANCE / len(series.threat.eps):
        return []
    eps = series.threat.eps[worst[2]]
    return [
        finding(
            "labels-beat-scores",
            f"at eps {eps:.4g} an attack that sees labels alone broke {worst[0]} samples that the "
            f"search on scores did not, and the latter {worst[1]} that it did not: scores mislead "
            "it, as where they are rounded or masked",
            {"eps": eps, "labels_alone": worst[0], "scores_alone": worst[1], "samples": n,
             "p": chance},
        )
    ]  # fmt: skip


def audit_constraints(evidence: Evidence) -> Findings:
    """Looks at rows that break what they may not."""
    breaches = evidence.own.records.array("breaches")
    rows = int((breaches > 0).sum())
    if not rows:
        return []
    return [
        finding(
            "constraints-broken",
            f"{rows} of {len(breaches)} rows that the search came to break declared "
            "constraints that the row itself keeps: none of them counts, and the search is at "
            "fault",
            {"rows": rows, "samples": len(breaches), "breaches": int(np.sum(breaches))},
            invalid=True,
        )
    ]


_FEW_TEXTS = 0.05
_HALF = 0.5
_FEW_QUESTIONS = 10
"""Questions about a sample before one may ask what they were good for."""


def audit_texts(evidence: Evidence) -> Findings:
    """Looks at what was made of the texts."""
    found: Findings = []
    records = evidence.own.records
    examples = int((records.array("prediction") >= 0).sum())
    unchanged = int(records.array("unchanged").sum())
    if beyond(unchanged, examples, _FEW_TEXTS):
        found.append(
            finding(
                "unchanged-examples",
                f"{unchanged} of {examples} examples are the very texts that the model got right "
                "before: its answers change by themselves, and nothing was attacked",
                {"examples": examples, "unchanged": unchanged},
                invalid=unchanged > _HALF * examples,
            )
        )
    spoilt = int(records.array("spoilt").sum())
    if beyond(spoilt, examples, _FEW_TEXTS):
        found.append(
            finding(
                "unreadable-examples",
                f"{spoilt} of {examples} examples have less than half, or more than twice, the "
                "letters and digits of their texts: the label may be gone with them",
                {"examples": examples, "spoilt": spoilt},
            )
        )
    return found + _nothing_to_change(evidence)


def _nothing_to_change(evidence: Evidence) -> Findings:
    """Looks at samples of which no word could be changed: they withstand whatever the model is."""
    records = evidence.own.records
    # Where not one word may be changed candidates are not looked for, and none is there.
    idle = int(((records.array("choices") == 0) | (records.array("queries") == 0)).sum())
    asked = len(records)
    if idle <= _HALF * asked:
        return []
    return [
        finding(
            "nothing-to-change",
            f"of {idle} of {asked} texts no word could be changed: too few words for the share, "
            "or no edit or substitution for those that are not left alone; that they withstand "
            "says nothing about the model",
            {"samples": asked, "idle": idle},
        )
    ]


def _unmoved(evidence: Evidence) -> Findings:
    """Looks at whether questions moved the model's scores at all."""
    records = evidence.own.records
    asked = records.array("queries") >= _FEW_QUESTIONS
    still = int((asked & (records.array("moved") == 0)).sum())
    count = int(asked.sum())
    if not beyond(still, count, _FEW_TEXTS):
        return []
    most = int(np.median(records.array("queries")[asked]))
    return [
        finding(
            "queries-gain-nothing",
            f"no question about {still} of {count} texts moved the scores ({most} questions each, "
            "median): a search has nothing to follow, as where scores are rounded or "
            "saturated",
            {"samples": count, "unmoved": still, "queries": most},
            invalid=still > _HALF * count,
        )
    ]


_KNOWN = "crucibench_suites.adversarial.known_answers:"

QUESTIONS = Audit(
    name="questions-gain",
    description="Do questions lead an attack without gradients anywhere?",
    function=where_recorded(lambda evidence, scenario: audit_questions(scenario.series, evidence)),
    known_answer=_KNOWN + "QUESTIONS",
)

LABELS = Audit(
    name="labels-beat-scores",
    description="Does an attack on labels break more than one on scores?",
    function=where_recorded(lambda evidence, scenario: against_labels(scenario.series, evidence)),
    known_answer=_KNOWN + "LABELS",
)

CONSTRAINTS = Audit(
    name="broken-constraints",
    description="Does a search on a table come to rows that break declared constraints?",
    function=where_recorded(lambda evidence, scenario: audit_constraints(evidence)),
    known_answer=_KNOWN + "CONSTRAINTS",
)

TEXTS = Audit(
    name="attacked-texts",
    description="Were texts changed at all, and can the examples still be read?",
    function=where_recorded(lambda evidence, scenario: audit_texts(evidence)),
    known_answer=_KNOWN + "TEXTS",
)
