"""Models with known answers, and a driver that runs a scenario's stages as the engine does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import nn

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ModelInfo, ScoringOptions
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.scenario import MapContext, StageView, Work
from crucibench.contracts.task import Modality, Task
from crucibench.metrics.scoring import score
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.answers import labels_of
from crucibench_suites.adversarial.scenario import AutoAttack


class Plain(Adapter):
    """A live module, in float32 on the CPU."""

    input_spec = InputSpec(modality=Modality.IMAGE)
    capabilities = frozenset({Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT})
    score_kind = "logits"

    def __init__(self, module: nn.Module, classes: int) -> None:
        self._module = module.eval()
        self.task = Task(
            kind="classification",
            modality=Modality.IMAGE,
            classes=tuple(f"c{k}" for k in range(classes)),
        )

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: Request) -> Answer:
        with torch.no_grad():
            return Answer(scores=self._module(batch.inputs).numpy())

    def module(self) -> nn.Module:
        return self._module


class Linear(nn.Module):
    """Logits W x + b of a flat image."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float32))
        self.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


Drive = Callable[..., Evidence]


def _drive(
    scenario: AutoAttack,
    adapter: Plain,
    x: torch.Tensor,
    y: np.ndarray,
    *,
    batch_size: int = 64,
    order: np.ndarray | None = None,
    seed: int = 0,
) -> Evidence:
    order = np.arange(len(x)) if order is None else order
    ids = np.array([f"id{row}" for row in order], dtype=object)
    x, y = x[torch.from_numpy(order)], y[order]
    samples = Samples(ids, y.astype(np.int64), pd.DataFrame(index=range(len(ids))))
    info = ModelInfo(
        name="model",
        uri="test:model",
        capabilities=adapter.capabilities,
        score_kind="logits",
        geometry={},
        fingerprint=None,
    )
    whole = Batch(tuple(ids), x)
    columns: dict[str, Any] = {"id": list(ids)}
    if Capability.SCORES in adapter.capabilities:
        columns["scores"] = adapter.predict(whole, frozenset({"scores"})).scores
        said = columns["scores"].argmax(1)
    else:
        said = labels_of(adapter, whole)
    columns["prediction"] = said.astype(np.int32)
    clean = CellEvidence(
        cell="pass-test", model=info, role="test", records=Records(to_table(columns)),
        samples=samples,
    )  # fmt: skip
    context = MapContext(adapter, Draws(seed, scenario.stream))
    everything = Work(whole, samples, {})
    probes = {
        name: Records(to_table(found))
        for name, found in scenario.probe(everything, context).items()
    }
    earlier: dict[str, Records] = {}
    for stage in scenario.stages:
        view = StageView(samples, {"clean": clean}, dict(earlier))
        chosen = scenario.select(stage, lambda view=view: view)  # type: ignore[misc]
        rows = np.flatnonzero(chosen.keep)
        tables = []
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            carry = {name: values[part] for name, values in chosen.carry.items()}
            batch = Batch(tuple(ids[part]), x[torch.from_numpy(part)])
            work = Work(batch, samples.take(part), carry)
            tables.append(to_table(scenario.run(stage, work, context)))
        if tables:
            earlier[stage] = Records(pa.concat_tables(tables))
    tables = [records.table for records in earlier.values()]
    # Columns that only some stages have are empty elsewhere, as where the engine reads them.
    joined = pa.concat_tables(tables, promote_options="default") if tables else to_table({"id": []})
    own = Records(joined)
    return Evidence(
        own=CellEvidence(
            cell="own", model=info, role="test", records=own, samples=samples, probes=probes
        ),
        needs={"clean": clean},
        data=DataCard(name="data", uri="test:data", task=adapter.task),
        options=ScoringOptions(replicates=200),
    )


@pytest.fixture(scope="session")
def drive() -> Drive:
    """Runs all stages of a scenario over samples; returns what scoring sees."""
    return _drive


@pytest.fixture(scope="session")
def linear() -> Callable[..., tuple[Linear, torch.Tensor, np.ndarray]]:
    """Makes a linear model, images and targets; most of the images are right."""

    def make(
        classes: int, *, boxed: bool, n: int = 60, side: int = 4, seed: int = 0
    ) -> tuple[Linear, torch.Tensor, np.ndarray]:
        rng = np.random.default_rng(seed)
        weight = rng.normal(size=(classes, side * side))
        low, high = (0.0, 1.0) if boxed else (0.35, 0.65)
        x = rng.uniform(low, high, (n, 1, side, side)).astype(np.float32)
        if boxed:
            x[rng.random(x.shape) < 0.4] = 0.0
        # Classes meet in the middle of the images, so that margins are small and large.
        bias = rng.normal(size=classes) * 0.1 - weight @ x.mean(0).ravel()
        model = Linear(weight, bias)
        y = model(torch.from_numpy(x)).argmax(1).numpy()
        y[:: max(n // 6, 1)] = (y[:: max(n // 6, 1)] + 1) % classes
        return model, torch.from_numpy(x), y

    return make


@pytest.fixture(scope="session")
def plain() -> type[Plain]:
    return Plain


def rows_of(scenario: AutoAttack, evidence: Evidence) -> Mapping[tuple[str, str], Any]:
    """Returns the metric rows by metric and point."""
    return {(row.metric, row.point): row for row in score(scenario, evidence).rows}
