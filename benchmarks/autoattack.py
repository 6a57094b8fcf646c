"""Robust accuracy and time of AutoAttack `standard`, beside pyautoattack, on the bundled digits.

Both ask the same live module about the same images, one after the other in this process:

    python benchmarks/autoattack.py --peer-python VENV/bin/python [--samples 300] [--threads 1]

PEER-PYTHON is an interpreter in whose environment pyautoattack is installed; only its packages'
folder is used, after all others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from _report import publish, table
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn

from crucibench.contracts.adapter import Adapter, Opening, Outputs, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import Samples
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.scenario import MapContext, StageView, Work
from crucibench.contracts.task import Modality, Task
from crucibench.util.draws import Draws
from crucibench_adapters.demo import models
from crucibench_suites.adversarial.scenario import AutoAttack, Standard
from crucibench_suites.adversarial.threat import Norm, ThreatModel

GRID: dict[Norm, tuple[float, ...]] = {"linf": (0.05, 0.1, 0.2), "l2": (0.25, 0.5, 1.0)}


class Digits(nn.Module):
    """A bundled model on pixels in [0, 1]."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = models.mlp() if name == "mlp" else models.cnn()
        folder = Path(models.__file__).parent
        self.model.load_state_dict(load_file(folder / f"{name}.safetensors"))
        asked = getattr(self.model, "crucibench_input", {})
        self.mean, self.std = asked.get("mean", [0.0])[0], asked.get("std", [1.0])[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model((x - self.mean) / self.std)
        return logits


class Live(Adapter):
    """The module as it is."""

    input_spec = InputSpec(modality=Modality.IMAGE)
    capabilities = frozenset({Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT})
    score_kind = "logits"

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        names = tuple(str(k) for k in range(10))
        self.task = Task(kind="classification", modality=Modality.IMAGE, classes=names)

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: Request) -> Outputs:
        with torch.no_grad():
            return Outputs(scores=self._module(batch.inputs).numpy())

    def module(self) -> nn.Module:
        return self._module


def ours(scenario: AutoAttack, model: nn.Module, x: torch.Tensor, y: np.ndarray) -> np.ndarray:
    """Runs all stages; returns how many radii each sample withstands, 0 where it is wrong."""
    adapter = Live(model)
    ids = np.array([str(row) for row in range(len(x))], dtype=object)
    samples = Samples(ids, y, pd.DataFrame(index=range(len(x))))
    scores = adapter.predict(Batch(tuple(ids), x), frozenset({"scores"})).scores
    assert scores is not None
    right = scores.argmax(1) == y
    level = np.where(right, len(scenario.threat.eps), 0)
    clean = _Clean(Records(to_table({"id": list(ids), "prediction": scores.argmax(1)})))
    earlier: dict[str, Records] = {}
    context = MapContext(adapter, Draws(0, scenario.stream))
    for stage in scenario.stages:
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
    return level


class _Clean:
    def __init__(self, records: Records) -> None:
        self.records = records


def theirs(model: nn.Module, x: torch.Tensor, y: np.ndarray, norm: Norm, eps: float) -> float:
    """Returns pyautoattack's robust accuracy."""
    from pyautoattack import AutoAttack as Peer  # type: ignore[import-not-found]

    name = {"linf": "Linf", "l2": "L2"}[norm]
    peer = Peer(model, norm=name, eps=eps, version="standard", seed=0, device="cpu")
    found, _ = peer.run_standard_evaluation(x, torch.from_numpy(y), batch_size=len(x))
    with torch.no_grad():
        return float((model(found).argmax(1).numpy() == y).mean())


def main() -> None:
    """Measures, prints and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", default="cnn,cnn-adversarial,mlp")
    parser.add_argument("--norms", default="linf,l2")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = [args.peer_python, "-c", code]
    sys.path.append(
        subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    )
    digits = load_digits()
    rows = np.random.default_rng(0).permutation(len(digits.target))[: args.samples]
    x = torch.tensor(digits.images[rows] / 16, dtype=torch.float32)[:, None]
    y = digits.target[rows].astype(np.int64)
    lines, curves = [], []
    for name in args.models.split(","):
        model = Digits(name).eval()
        for norm in args.norms.split(","):
            dearest, alone = 0.0, []
            for eps in GRID[norm]:
                scenario = Standard.of("adversarial", ThreatModel(norm=norm, eps=(eps,)))
                start = time.perf_counter()
                own = float((ours(scenario, model, x, y) > 0).mean())
                took = time.perf_counter() - start
                start = time.perf_counter()
                other = theirs(model, x, y, norm, eps)
                peer = time.perf_counter() - start
                dearest = max(dearest, took)
                alone.append(own)
                lines.append(
                    [name, norm, eps, f"{100 * own:.2f}", f"{100 * other:.2f}", f"{took:.1f}",
                     f"{peer:.1f}", f"{peer / took:.2f}"]
                )  # fmt: skip
                print(*lines[-1], flush=True)
            scenario = Standard.of("adversarial", ThreatModel(norm=norm, eps=GRID[norm]))
            start = time.perf_counter()
            level = ours(scenario, model, x, y)
            took = time.perf_counter() - start
            for at, eps in enumerate(GRID[norm]):
                share = f"{100 * float((level > at).mean()):.2f}"
                ratio = f"{took / dearest:.2f}"
                curves.append([name, norm, eps, share, f"{100 * alone[at]:.2f}", ratio])
    publish(
        "autoattack",
        "AutoAttack standard beside pyautoattack",
        [
            f"The bundled digits models, {args.samples} samples, {args.threads} thread(s); one "
            "batch of all samples for both.",
            "",
            *table(
                ("model", "norm", "eps", "robust %", "peer's %", "s", "peer's s", "peer's / ours"),
                lines,
            ),
            "",
            "The whole grid from one search, beside a search for each eps alone:",
            "",
            *table(("model", "norm", "eps", "curve %", "alone %", "time / dearest eps"), curves),
        ],
        "torch",
    )


if __name__ == "__main__":
    main()
