"""What the attacks' own records, self-tests and other models' examples say against a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.audit import Audit, Find
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.adversarial.audits.probed import beyond, finding
from crucibench_suites.adversarial.audits.second import weighed
from crucibench_suites.adversarial.protocol import SELF_TEST
from crucibench_suites.adversarial.scoring import Series, read_outcomes

BLACK_BOX_SHARE = 0.002
"""AutoAttack warns where Square gains more than 0.2 points; two samples are the least."""

UNCONFIRMED_SHARE = 0.05


def where_recorded(find: Find) -> Find:
    """Returns an audit's function that finds nothing where no sample was attacked."""
    return lambda evidence, scenario: find(evidence, scenario) if len(evidence.own.records) else []


def audit_series(evidence: Evidence, series: Series) -> Findings:
    """Looks at what Square gained, and at examples that did not hold."""
    found: Findings = []
    outcomes = read_outcomes(series, evidence)
    if "square" in outcomes.after:
        earlier = outcomes.after[series.stages[series.stages.index("square") - 1]]
        gained = int((outcomes.after["square"] < earlier).sum())
        if gained >= max(2, BLACK_BOX_SHARE * len(outcomes.right)):
            found.append(
                finding(
                    "black-box-beats-gradients",
                    f"Square, which sees no gradients, broke {gained} samples that the "
                    "gradient attacks missed: gradients may be masked, and the true robust "
                    "accuracy lower",
                    {"broken": gained, "samples": len(outcomes.right)},
                )
            )
    seen, failed = outcomes.examples
    if beyond(failed, seen, UNCONFIRMED_SHARE):
        found.append(
            finding(
                "unconfirmed-examples",
                f"{failed} of {seen} examples were classified rightly when the plain model "
                "saw them again: it answers in another way under attack than when it is asked",
                {"examples": seen, "unconfirmed": failed},
            )
        )
    return found


def audit_self_tests(evidence: Evidence) -> Findings:
    """Returns a finding for each attack that failed its self-test."""
    probe = evidence.own.probes.get(SELF_TEST)
    if probe is None:
        return []
    return [
        finding(
            "attack-fails-self-test",
            f"an attack fails where the answer is known: {row['reason']}",
            {
                "attack": row["id"],
                "ratio": float(row["ratio"]),
                "tolerance": float(row["tolerance"]),
                "found": float(row["found"]),
            },
            invalid=True,
        )
        for row in probe.table.to_pylist()
        if not row["passed"]
    ]


def audit_forced(evidence: Evidence) -> Findings:
    """Marks the numbers of an attack that failed its self-test and was forced.

    One that finds nothing where there is something says nothing of a model.
    """
    return [
        replace(one, severity=Severity.SUSPECT) if one.evidence["found"] else one
        for one in audit_self_tests(evidence)
    ]


def audit_supplied(evidence: Evidence, radii: int) -> Findings:
    """Tells how many supplied inputs count, and why the others don't.

    Args:
        evidence: of a cell with records.
        radii: the grid's length: the level of an input that is beyond all of them.
    """
    records = evidence.own.records
    boxed, found = records.array("in_box"), records.array("prediction") >= 0
    outside = found & (records.array("level") == radii)
    counts = {
        "inputs": len(records),
        "within_largest_eps": int((found & ~outside).sum()),
        "beyond_largest_eps": int(outside.sum()),
        "outside_box": int((~boxed).sum()),
        "answered_rightly": int((boxed & ~found).sum()),
    }
    return [
        Finding(
            code="supplied-examples",
            severity=Severity.INFO,
            message=f"Of {counts['inputs']} supplied inputs of samples that are right, "
            f"{counts['within_largest_eps']} make the model wrong within the largest eps, "
            f"{counts['beyond_largest_eps']} only beyond it; {counts['answered_rightly']} are "
            f"answered rightly, and {counts['outside_box']} are not within [0, 1].",
            evidence=counts,
        )
    ]


def withstood(own: Records, ids: NDArray[np.object_], top: int) -> NDArray[np.int64]:
    """Returns how many radii each sample withstands when gradients alone attack, shape (n,).

    Args:
        own: the records of a series of attacks.
        ids: of the samples, shape (n,).
        top: what samples have that are not in the records: the grid's length.
    """
    if not len(own):
        return np.full(len(ids), top, dtype=np.int64)
    frame = own.table.select(["id", "attack", "level"]).to_pandas()
    # Stages after Square begin from what it broke, so that they show no more than it does.
    attacks = list(dict.fromkeys(frame["attack"]))
    late = attacks[attacks.index("square") :] if "square" in attacks else []
    levels = frame[~frame["attack"].isin(late)].groupby("id")["level"].min()
    found: NDArray[np.int64] = levels.reindex(ids).fillna(top).to_numpy(dtype=np.int64)
    return found


def audit_transfer(gained: NDArray[np.bool_], surrogates: Sequence[str]) -> Findings:
    """Says whether others' examples broke what gradients did not.

    Args:
        gained: whether an example broke a sample at a radius that it withstood when gradients
            attacked it, shape (m,), of the samples that were asked about.
        surrogates: whose examples those are.
    """
    count = int(gained.sum())
    if count < max(min(2, len(gained)), BLACK_BOX_SHARE * len(gained), 1):
        return []
    return [
        finding(
            "transfer-beats-white-box",
            f"examples found for {', '.join(surrogates)} broke {count} of {len(gained)} samples "
            "within radii that attacks with this model's own gradients did not break them at: "
            "gradients may be masked, and the true robust accuracy lower",
            {"samples": len(gained), "broken": count, "surrogates": list(surrogates)},
        )
    ]


def audit_own_transfer(evidence: Evidence, scenario: Any) -> Findings:
    """Says whether examples of the run's other models broke what the model's own attack missed."""
    records = evidence.own.records
    gained = records.array("level") < records.array("white_box_level")
    return audit_transfer(gained, sorted(set(records.array("surrogate")[gained])))


def audit_surrogates(evidence: Evidence, scenario: Any) -> Findings:
    """Says whether a surrogate's examples broke what the model's own gradients did not."""
    found: Findings = []
    for name, surrogate in scenario.surrogates if scenario.gradients else ():
        records = evidence.needs[name].records
        if not len(records):
            continue
        ids, top = records.array("id"), len(scenario.threat.eps)
        levels = [withstood(evidence.needs[one].records, ids, top) for one in scenario.gradients]
        gained = records.array("level") < np.min(levels, axis=0)
        found += audit_transfer(gained, [surrogate])
    return found


_KNOWN = "crucibench_suites.adversarial.known_answers:"

SELF_TESTS = Audit(
    name="attack-self-tests",
    description="Does an attack fail where the answer is known?",
    function=lambda evidence, scenario: audit_self_tests(evidence),
    known_answer=_KNOWN + "SELF_TESTS",
)

FORCED = Audit(
    name="forced-self-tests",
    description="Does an attack that was forced fail where the answer is known?",
    function=lambda evidence, scenario: audit_forced(evidence),
    known_answer=_KNOWN + "SELF_TESTS",
)

SUPPLIED = Audit(
    name="supplied-examples",
    description="How many supplied inputs count, and why don't the others?",
    function=where_recorded(
        lambda evidence, scenario: audit_supplied(evidence, len(scenario.threat.eps))
    ),
    known_answer=_KNOWN + "SUPPLIED",
)

SERIES = Audit(
    name="attack-records",
    description="Did Square break what gradients missed, and did the examples hold?",
    function=where_recorded(
        lambda evidence, scenario: weighed(
            audit_series(evidence, scenario.series),
            evidence,
            scenario,
            kept={"unconfirmed-examples"},
        )
    ),
    known_answer=_KNOWN + "SERIES",
)

TRANSFERRED = Audit(
    name="transferred-examples",
    description="Do examples of the run's other models break what the own attack missed?",
    function=where_recorded(audit_own_transfer),
    known_answer=_KNOWN + "TRANSFERRED",
)

SURROGATES = Audit(
    name="surrogate-examples",
    description="Do a surrogate's examples break what attacks with gradients missed?",
    function=audit_surrogates,
    known_answer=_KNOWN + "SURROGATES",
)
