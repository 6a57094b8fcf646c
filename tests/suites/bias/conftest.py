"""Evidence made by hand from arrays: no engine, no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ModelInfo, ScoringOptions
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Number
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Finding
from crucibench.metrics.scoring import score as score_all
from crucibench_suites.bias.scenario import Groups

Build = Callable[..., Evidence]


def _build(
    targets: Any,
    groups: Mapping[str, Sequence[str]],
    *,
    scores: Any = None,
    predictions: Any = None,
    classes: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    features: Mapping[str, str] | None = None,
    least: int = 30,
    replicates: int = 200,
    logged: bool = False,
) -> Evidence:
    targets = np.asarray(targets)
    n = len(targets)
    regression = targets.dtype.kind == "f"
    if classes is None and not regression:
        count = scores.shape[1] if scores is not None else max(2, int(targets.max()) + 1)
        classes = [f"c{k}" for k in range(count)]
    task = Task(
        kind="regression" if regression else "classification",
        modality=Modality.TABLE,
        classes=tuple(classes or ()),
    )
    ids = np.array([f"{i:07d}" for i in range(n)], dtype=object)
    columns: dict[str, Any] = {"id": list(ids)}
    if scores is not None:
        columns["scores"] = np.asarray(scores, dtype=np.float32)
        predictions = columns["scores"].argmax(axis=1)
    said = np.asarray(predictions)
    columns["prediction"] = said if said.dtype.kind == "f" else said.astype(np.int32)
    model = ModelInfo(
        name="model", uri="test:model", geometry={}, fingerprint=None, score_kind="probabilities",
        capabilities=frozenset(
            {Capability.LABELS if scores is None else Capability.SCORES}
            | (set() if logged else {Capability.ANY_INPUT})
        ),
    )  # fmt: skip
    samples = Samples(
        ids=ids,
        targets=targets,
        groups=pd.DataFrame({name: list(part) for name, part in groups.items()}, dtype=object),
        clusters=None if clusters is None else np.array(clusters, dtype=object),
    )
    cell = CellEvidence(
        cell="pass-test", model=model, role="test", records=Records(to_table(columns)),
        samples=samples,
    )  # fmt: skip
    card = DataCard(
        name="data", uri="test:data", task=task, groups=tuple(groups), counts={"test": n},
        features=features or {},
    )  # fmt: skip
    options = ScoringOptions(replicates=replicates, min_group_size=least)
    return Evidence(own=cell, needs={"test": cell}, data=card, options=options)


def scenario_of(evidence: Evidence, **settings: Any) -> Groups:
    usual = {"columns": list(evidence.data.groups), "depth": 2, "edges": {}, "reference": {}}
    return Groups.of("bias", usual | settings)


@pytest.fixture(scope="session")
def build() -> Build:
    """Makes evidence of a pass over test."""
    return _build


@pytest.fixture(scope="session")
def score() -> Callable[..., dict[tuple[str, str], Row]]:
    """Scores evidence and returns its rows by metric and group."""

    def run(evidence: Evidence, **settings: Any) -> dict[tuple[str, str], Row]:
        scenario = scenario_of(evidence, **settings)
        rows = score_all(scenario, evidence).rows
        found = {(row.metric, row.group): row for row in rows}
        assert len(found) == len(rows)
        assert {row.metric for row in rows} <= {info.id for info in scenario.metrics}
        return found

    return run


@pytest.fixture(scope="session")
def tables() -> Callable[..., dict[str, pd.DataFrame]]:
    """Scores evidence and returns its tables."""
    return lambda evidence, **settings: (
        score_all(scenario_of(evidence, **settings), evidence).tables
    )


@pytest.fixture(scope="session")
def audit() -> Callable[..., dict[str, Finding]]:
    """Audits evidence and returns the findings by code."""

    def run(evidence: Evidence, **settings: Any) -> dict[str, Finding]:
        found = scenario_of(evidence, **settings).audit(evidence)
        return {finding.code: finding for finding in found}

    return run


@pytest.fixture(scope="session")
def numbers() -> Callable[..., Any]:
    """Returns what two models are compared by."""

    def run(evidence: Evidence, **settings: Any) -> list[Number]:
        found = scenario_of(evidence, **settings).numbers(evidence)
        return [one for one in found if one.make is not None]

    return run


def decisions(**cells: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns targets, predictions and groups from TN, FP, FN, TP by group."""
    truth, said, groups = [], [], []
    for name, counts in cells.items():
        for cell, count in enumerate(counts):
            truth += [cell // 2] * count
            said += [cell % 2] * count
            groups += [name] * count
    return np.array(truth), np.array(said), groups


@pytest.fixture(scope="session")
def drawn() -> Callable[..., Any]:
    return decisions
