"""The bundled models of images under attack, without engine and files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from _resnet import shapes
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import Samples
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.scenario import MapContext, StageView, Work
from crucibench.contracts.task import Modality, Task
from crucibench.util.draws import Draws
from crucibench.util.memory import keep_freed_memory
from crucibench_adapters.demo import models
from crucibench_suites.adversarial.scenario import AutoAttack


def images(name: str, samples: int) -> tuple[torch.Tensor, np.ndarray]:
    """Returns images, in [0, 1], and targets for the model `name`."""
    if name.startswith(("shapes", "resnet")):
        return shapes("test", samples)
    digits = load_digits()
    rows = np.random.default_rng(0).permutation(len(digits.target))[:samples]
    x = torch.tensor(digits.images[rows] / 16, dtype=torch.float32)[:, None]
    return x, digits.target[rows].astype(np.int64)


class Bundled(nn.Module):
    """A bundled model on pixels in [0, 1]."""

    def __init__(self, name: str) -> None:
        super().__init__()
        make = {"mlp": models.mlp, "shapes": models.shapes_cnn}
        self.model = make.get(name.partition("-")[0], models.cnn)()
        folder = Path(models.__file__).parent
        self.model.load_state_dict(load_file(folder / f"{name}.safetensors"))
        asked = getattr(self.model, "crucibench_input", {})
        self.mean, self.std = asked.get("mean", [0.0])[0], asked.get("std", [1.0])[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model((x - self.mean) / self.std)
        return logits


def logits_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Returns logits on the CPU, wherever the model is."""
    device = next(model.parameters()).device
    with torch.no_grad():
        logits: torch.Tensor = model(x.to(device)).cpu()
    return logits


class Live(Adapter):
    """The module as it is."""

    input_spec = InputSpec(modality=Modality.IMAGE)
    capabilities = frozenset({Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT})
    score_kind = "logits"

    def __init__(self, module: nn.Module, classes: int) -> None:
        self._module = module
        names = tuple(str(k) for k in range(classes))
        self.task = Task(kind="classification", modality=Modality.IMAGE, classes=names)

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: Request) -> Answer:
        return Answer(scores=logits_of(self._module, batch.inputs).numpy())

    def module(self) -> nn.Module:
        return self._module


def ours(
    scenario: AutoAttack,
    model: nn.Module,
    x: torch.Tensor,
    y: np.ndarray,
    seed: int = 0,
    without: Collection[str] = (),
) -> tuple[np.ndarray, dict[str, Records]]:
    """Runs all stages; returns how many radii each sample withstands, 0 where it is wrong.

    And the records of each stage.
    """
    keep_freed_memory()  # as workers do
    adapter = Live(model, logits_of(model, x[:1]).shape[1])
    ids = np.array([str(row) for row in range(len(x))], dtype=object)
    samples = Samples(ids, y, pd.DataFrame(index=range(len(x))))
    scores = adapter.predict(Batch(tuple(ids), x), frozenset({"scores"})).scores
    assert scores is not None
    right = scores.argmax(1) == y
    level = np.where(right, len(scenario.threat.eps), 0)
    clean = _Clean(Records(to_table({"id": list(ids), "prediction": scores.argmax(1)})))
    earlier: dict[str, Records] = {}
    context = MapContext(adapter, Draws(seed, scenario.stream))
    for stage in scenario.stages:
        if stage in without:
            continue
        view = StageView(samples, {"clean": clean}, earlier)  # type: ignore[dict-item]
        chosen = scenario.select(stage, lambda view=view: view)  # type: ignore[misc]
        rows = np.flatnonzero(chosen.keep)
        if not len(rows):
            continue
        batch = Batch(tuple(ids[rows]), x[torch.from_numpy(rows)])
        carry = {name: values[rows] for name, values in chosen.carry.items()}
        found: pa.Table = to_table(
            scenario.run(stage, Work(batch, samples.take(rows), carry), context)
        )
        earlier[stage] = Records(found)
        level[rows] = np.minimum(level[rows], earlier[stage].array("level"))
    return level, earlier


class _Clean:
    def __init__(self, records: Records) -> None:
        self.records = records
        self.model = SimpleNamespace(variant="")
