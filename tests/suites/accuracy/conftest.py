"""Evidence made by hand from arrays: no engine, no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ModelInfo, ScoringOptions
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Row
from crucibench.contracts.task import Decision, Modality, Task
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.scoring import score as score_all
from crucibench.passes.mapping.audit import mapping_errors
from crucibench.passes.scenario import Pass
from crucibench_suites.accuracy.scenario import Clean

Build = Callable[..., Evidence]


def _cell(
    role: str,
    targets: np.ndarray,
    *,
    scores: np.ndarray | None,
    predictions: np.ndarray | None,
    score_kind: str,
    ids: Sequence[str] | None,
    clusters: Sequence[str] | None,
    decision: Decision,
) -> CellEvidence:
    n = len(targets)
    names = np.array([f"{role}{i:07d}" for i in range(n)] if ids is None else ids, dtype=object)
    columns: dict[str, Any] = {"id": list(names)}
    if scores is not None:
        columns["scores"] = np.asarray(scores, dtype=np.float32)
        predictions = columns["scores"].argmax(axis=1)
    said = np.asarray(predictions)
    columns["prediction"] = said if said.dtype.kind == "f" else said.astype(np.int32)
    capabilities = {Capability.SCORES} if scores is not None else {Capability.LABELS}
    model = ModelInfo(
        name="model",
        uri="test:model",
        capabilities=frozenset(capabilities),
        score_kind=score_kind,  # type: ignore[arg-type]
        geometry={},
        fingerprint=None,
        decision=decision,
    )
    samples = Samples(
        ids=names,
        targets=np.asarray(targets),
        groups=pd.DataFrame(index=range(n)),
        clusters=None if clusters is None else np.array(clusters, dtype=object),
    )
    return CellEvidence(
        cell=f"pass-{role}", model=model, role=role, records=Records(to_table(columns)),
        samples=samples,
    )  # fmt: skip


def _build(
    targets: Any,
    *,
    scores: Any = None,
    predictions: Any = None,
    score_kind: str = "probabilities",
    classes: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    decision: Decision | None = None,
    train: dict[str, Any] | None = None,
    modality: Modality = Modality.TABLE,
    replicates: int = 200,
    seed: int = 0,
) -> Evidence:
    targets = np.asarray(targets)
    regression = targets.dtype.kind == "f"
    if classes is None and not regression:
        count = scores.shape[1] if scores is not None else int(targets.max()) + 1
        classes = [f"c{k}" for k in range(count)]
    task = Task(
        kind="regression" if regression else "classification",
        modality=modality,
        classes=tuple(classes or ()),
    )
    decision = decision or Decision()

    def cell(role: str, given: dict[str, Any]) -> CellEvidence:
        full = {"scores": None, "predictions": None, "ids": None, "clusters": None, **given}
        return _cell(role, **full, score_kind=score_kind, decision=decision)

    test = {"targets": targets, "scores": scores, "predictions": predictions, "ids": ids,
            "clusters": clusters}  # fmt: skip
    needs = {"test": cell("test", test)}
    if train is not None:
        needs["train"] = cell("train", train)
    counts = {role: len(found.samples) for role, found in needs.items()}
    own = replace(needs["test"], cell="accuracy-clean", records=Records(to_table({"id": []})))
    return Evidence(
        own=own,
        needs=needs,
        data=DataCard(name="data", uri="test:data", task=task, counts=counts),
        options=ScoringOptions(replicates=replicates, seed=seed),
    )


@pytest.fixture(scope="session")
def build() -> Build:
    """Makes evidence of a pass over test, and over train where given."""
    return _build


@pytest.fixture(scope="session")
def clean() -> Clean:
    return Clean.of("accuracy", train=True)


@pytest.fixture(scope="session")
def score(clean: Clean) -> Callable[[Evidence], dict[tuple[str, str], Row]]:
    """Scores evidence and returns its rows by metric and group."""

    def run(evidence: Evidence) -> dict[tuple[str, str], Row]:
        rows = score_all(clean, evidence).rows
        found = {(row.metric, row.group): row for row in rows}
        assert len(found) == len(rows)
        assert {row.metric for row in rows} <= {info.id for info in clean.metrics}
        return found

    return run


@pytest.fixture(scope="session")
def audit(clean: Clean) -> Callable[[Evidence], dict[str, Finding]]:
    """Audits evidence and returns the findings by code."""

    def run(evidence: Evidence) -> dict[str, Finding]:
        return {finding.code: finding for finding in clean.audit(evidence)}

    return run


@pytest.fixture(scope="session")
def mapped() -> Callable[[Evidence], dict[str, Finding]]:
    """Looks for mapping errors in the test pass of evidence, and returns the findings by code."""

    def run(evidence: Evidence) -> dict[str, Finding]:
        own = replace(evidence, own=evidence.needs["test"], needs={})
        return {finding.code: finding for finding in mapping_errors(own, Pass(name="test"))}

    return run


@pytest.fixture(scope="session")
def flagged(clean: Clean) -> Callable[[Evidence], set[str]]:
    """Audits evidence and returns the codes of findings that touch the verdict."""

    def run(evidence: Evidence) -> set[str]:
        found = clean.audit(evidence)
        return {finding.code for finding in found if finding.severity is not Severity.INFO}

    return run


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _honest(
    n: int,
    shares: Sequence[float],
    *,
    skill: float = 2.0,
    seed: int = 0,
    logits: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws targets and the calibrated scores of a model that sees them through noise."""
    rng = np.random.default_rng(seed)
    prior = np.asarray(shares) / np.sum(shares)
    targets = rng.choice(len(prior), size=n, p=prior)
    seen = rng.normal(size=(n, len(prior)))
    seen[np.arange(n), targets] += skill
    # Bayes' rule for unit normal noise around skill * indicator.
    raw = skill * seen + np.log(prior)
    return targets, raw if logits else _softmax(raw)


@pytest.fixture(scope="session")
def honest() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Draws targets and a calibrated model's scores of them."""
    return _honest
