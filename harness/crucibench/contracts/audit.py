"""Audits: what looks for a reason not to trust a scenario's numbers.

One `Audit` is one entry of the group ``crucibench.audits``: plain data and a function, which is
imported when it is used. A scenario names its own audits in order (`Scenario.audits`); one of a
plug-in names the scenarios that it is run on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crucibench.contracts.capability import Capability, ScoreKind
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import (
    CellEvidence,
    Evidence,
    Findings,
    ModelInfo,
    ScoringOptions,
)
from crucibench.contracts.records import Columns, Records, to_table
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Finding, Severity
from crucibench.util.errors import InputError
from crucibench.util.registry import Catalogue, loaded

GROUP = "crucibench.audits"
"""The entry points: ``NAME = "MODULE:ATTRIBUTE"``, the attribute being an `Audit`."""

_PROJECT = "crucibench"

Find = Callable[[Evidence, Any], Findings]
"""From evidence and the `Scenario` that it is of to findings: a pure function."""


class AuditCase(NamedTuple):
    """What an audit is given: evidence, and the `Scenario` that it is of."""

    evidence: Evidence
    scenario: Any


@dataclass(frozen=True, kw_only=True)
class KnownFindings:
    """Cases in which it is known beforehand what an audit must find.

    Attributes:
        planted: makes a case with a planted defect, by the code of the finding it must lead to.
        clean: makes a case in which nothing may be found that lowers the verdict.
        spared: makes a case just short of a defect, by the code of the finding that it must not
            lead to; others may be found in it.
    """

    planted: Mapping[str, Callable[[], AuditCase]]
    clean: Callable[[], AuditCase]
    spared: Mapping[str, Callable[[], AuditCase]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One reason not to trust numbers, or a few related ones.

    Attributes:
        name: under which it is registered.
        description: what it looks for, a sentence.
        function: what a cell runs, or its ``MODULE:FUNCTION``.
        scenarios: patterns of ``SUITE/SCENARIO`` (``bias/*``, ``shift/fog``) that it is run on
            beside those scenarios that name it.
        known_answer: what it must find, or ``MODULE:NAME`` of it. Without one the conformance kit
            refuses the audit.
    """

    name: str
    description: str
    function: Find | str = field(repr=False)
    scenarios: tuple[str, ...] = ()
    known_answer: KnownFindings | str | None = field(default=None, repr=False)

    def applies(self, address: str) -> bool:
        """Whether it names the scenario of an address ``SUITE/SCENARIO``."""
        return any(fnmatchcase(address, pattern) for pattern in self.scenarios)

    def find(self, evidence: Evidence, scenario: Any) -> Findings:
        """Returns what it finds: what every cell runs."""
        function: Find = loaded(self.function)
        return function(evidence, scenario)

    def answer(self) -> KnownFindings | None:
        """Returns its known answer; None where it has none."""
        found: KnownFindings | None = loaded(self.known_answer)
        return found


@cache
def audits() -> Catalogue[Audit]:
    """Returns the registered audits; none of them is imported until it is asked for."""
    return Catalogue(GROUP, "audit", Audit)


def plugged_in(evidence: Evidence, scenario: Any) -> Findings:
    """Returns what audits of other packages find that name a `Scenario`.

    One that can't be loaded is a finding that lowers no verdict: nobody knows what it is for.
    """
    findings: Findings = []
    for entry in audits().entries():
        # The project's own are named by their scenarios: a run of one suite imports no other.
        if entry.package == _PROJECT or entry.name in scenario.audits:
            continue
        try:
            audit = audits().get(entry.name)
        except InputError as error:
            message = f"an audit was not run: {error}"
            findings.append(Finding(code="audit-not-run", severity=Severity.INFO, message=message))
            continue
        if audit.applies(scenario.address):
            findings += audit.find(evidence, scenario)
    return findings


def example_cell(
    columns: Columns,
    targets: ArrayLike,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    probes: Mapping[str, Columns] | None = None,
    score_kind: ScoreKind = "probabilities",
    diagnostics: Mapping[str, Any] | None = None,
) -> CellEvidence:
    """Returns a cell made up for a known answer.

    Args:
        columns: of the records; where they have no ``id``, ids are made, one a target.
        targets: of the samples, shape (n,).
        groups: the samples' group columns.
        probes: columns of probe records by name.
        score_kind: of the model.
        diagnostics: of the model.
    """
    ids = np.array([f"{row:032x}" for row in range(len(np.asarray(targets)))], dtype=object)
    if "id" in columns:
        ids = np.array(list(dict.fromkeys(columns["id"])), dtype=object)
    model = ModelInfo(
        name="model", uri="made:up", geometry={}, fingerprint=None,
        score_kind=score_kind,
        capabilities=frozenset({Capability.SCORES, Capability.ANY_INPUT}),
        diagnostics=diagnostics or {},
    )  # fmt: skip
    named = {name: list(column) for name, column in (groups or {}).items()}
    return CellEvidence(
        cell="made-up", model=model, role="test",
        records=Records(to_table({"id": list(ids), **columns})),
        samples=Samples(
            ids=ids, targets=np.asarray(targets),
            groups=pd.DataFrame(named, index=range(len(ids)), dtype=object),
        ),
        probes={name: Records(to_table(found)) for name, found in (probes or {}).items()},
    )  # fmt: skip


def example_evidence(
    own: CellEvidence,
    needs: Mapping[str, CellEvidence] | None = None,
    *,
    classes: Sequence[str] = ("no", "yes"),
    modality: Modality = Modality.IMAGE,
    features: Mapping[str, str] | None = None,
) -> Evidence:
    """Returns evidence of a classification made up for a known answer."""
    task = Task(kind="classification", modality=modality, classes=tuple(classes))
    card = DataCard(
        name="data", uri="made:up", task=task, groups=tuple(own.samples.groups.columns),
        counts={own.role: len(own.samples)}, features=dict(features or {}),
    )  # fmt: skip
    return Evidence(own=own, needs=needs or {}, data=card, options=ScoringOptions(replicates=200))
