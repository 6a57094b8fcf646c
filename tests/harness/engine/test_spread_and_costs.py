"""However the work is spread, the bytes are the same; and what it cost is told as it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Work
from crucibench.engine.listener import Listener
from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.worker.opening import open_all_data
from crucibench.engine.worker.tasks import Done, Inspected, InspectTask, Setup, ShardTask, TaskCost
from crucibench.engine.worker.worker import Worker
from crucibench.store.run import Run

pytestmark = pytest.mark.slow

NET = """
import torch


def net():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 2)
    )
"""


# -- one worker, two, four -----------------------------------------------------------------------


@pytest.mark.parametrize("many_workers", [2, pytest.param(4, marks=pytest.mark.thorough)])
def test_one_and_many_workers_leave_the_same_bytes(
    run_spec: Any, contents: Callable[[Path], dict[str, Any]], tmp_path: Path, many_workers: int
) -> None:
    (tmp_path / "net.py").write_text(NET)
    runs: dict[int, Run] = {
        workers: run_spec(
            models={"a": "nearest:0", "b": "nearest:1.5", "net": "torch:net.py:net"},
            data="stripes:320", suites=("accuracy", "sample", "shift"), out=f"workers-{workers}",
            settings={
                "sample.reference": "b", "shift.corruptions": ["gaussian_noise"],
                "shift.severities": [5], "shift.samples": 160,
            },
            defaults={"batch_size": 4, "threads": 1, "replicates": 100}, workers=workers,
        )
        for workers in (1, many_workers)
    }  # fmt: skip
    one = contents(runs[1].root)
    shards = [name for name in one if "/records-" in name]
    assert sum("pass-test" in name for name in shards) == 3 * 16
    assert {name.partition("records-")[2][:2] for name in shards} == {"00", "01", "02"}
    assert any("agreement" in name for name in shards) and one["metrics.parquet"]
    assert sum("artifacts/examples-" in name for name in one) > 3, "of more than one shard"
    many = contents(runs[many_workers].root)
    assert many.keys() == one.keys()
    for name, content in one.items():
        assert many[name] == content, name
    events = map(json.loads, runs[many_workers].layout.events.read_text().splitlines())
    used = {event["worker"] for event in events if event.get("kind") in {"shard", "probe"}}
    assert len(used) == many_workers, "all of them took part"


# -- costs ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Climb(Mapped):
    """Three gradients and an answer for each sample; some of the burdens of a real model."""

    suite: str = "costs"
    name: str = "climb"
    spin: float = 0.0
    sleep: float = 0.0
    ballast: int = 0

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        module, inputs = context.adapter.module(), work.batch.inputs
        for _ in range(3):
            inputs = inputs.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(module(inputs).sum(), inputs)
            inputs = (inputs + 0.1 * gradient).clamp(0, 1)
        context.adapter.predict(work.batch.with_inputs(inputs.detach()), frozenset({"scores"}))
        until = time.process_time() + self.spin
        while time.process_time() < until:
            pass
        time.sleep(self.sleep)
        held = np.ones(self.ballast, np.uint8)
        return {"id": list(work.batch.ids), "held": [len(held)] * len(work.batch)}


@pytest.fixture
def cost(with_plugin: Path, tmp_path: Path) -> Callable[..., TaskCost]:
    """Returns a function that asks a tiny network about one shard, and says what it cost."""
    (tmp_path / "net.py").write_text(NET)
    document = {
        "models": [{"name": "net", "uri": "torch:net.py:net"}],
        "data": [{"name": "stripes", "uri": "stripes:40"}],
    }
    resolved = resolve(document, tmp_path, "spec", Overrides(suites=("sample",)))
    data = open_all_data(resolved, tmp_path / "scratch", Listener(), "spec")
    cards = {name: evalset.card for name, evalset in data.items()}
    worker = Worker(
        Setup(
            resolved=resolved, cards=cards, scratch=tmp_path / "scratch", root=tmp_path / "run",
            device="cpu", threads=1,
        ),
        data,
    )  # fmt: skip
    inspected = list(worker.perform(InspectTask(model="net", data="stripes")))[-1]
    assert isinstance(inspected, Inspected)

    def asked(**burden: Any) -> TaskCost:
        cell = PlannedCell(
            id="climb", scenario=Climb(**burden), model=inspected.info, data=cards["stripes"],
            batch_size=40,
        )  # fmt: skip
        done = list(worker.perform(ShardTask(cell=cell, stage=0, shard=0)))[-1]
        assert isinstance(done, Done), done
        return done.cost

    return asked


def test_passes_through_the_module_are_counted(cost: Callable[..., TaskCost]) -> None:
    for _ in range(2):  # counted once each time, however often the model is asked for
        found = cost()
        assert (found.forwards, found.backwards) == (4 * 40, 3 * 40)


def test_time_on_the_wall_is_not_time_of_the_processor(cost: Callable[..., TaskCost]) -> None:
    busy, idle = cost(spin=0.3), cost(sleep=0.5)
    assert busy.seconds >= 0.3 and busy.cpu_seconds >= 0.3
    assert idle.seconds >= 0.5 and idle.cpu_seconds < 0.4
    assert busy.device_seconds is None


def test_the_peak_of_memory_is_the_tasks_own(cost: Callable[..., TaskCost]) -> None:
    before = cost().peak_memory
    if before is None:
        pytest.skip("the system does not tell")
    # Smaller blocks that are freed may be kept by the process.
    during, after = cost(ballast=300 << 20).peak_memory, cost().peak_memory
    assert during is not None and after is not None
    assert 290 << 20 < during - before < 360 << 20
    assert after < during - (100 << 20), "the peak begins anew with each task"


def test_a_cell_costs_what_its_tasks_cost(run_spec: Any) -> None:
    run = run_spec(models={"a": "nearest:0"}, defaults={"batch_size": 64}, cache=True)
    (cell,) = [file.cell for file in run.cells.values() if file.suite == "pass"]
    timing = json.loads(run.layout.timing(cell).read_text())
    # Twice 64, in batches of 1 and of 7; 256 before a mapping error is looked for; the pass.
    assert timing["forwards"] == (2 * 64 + 16 + 64) + 256 + 300
    assert timing["tasks"] == 1 + 5 and timing["attempts"] == 1
    assert timing["backwards"] == 0 and not timing["cached"]
    events = map(json.loads, run.layout.events.read_text().splitlines())
    tasks = [
        event for event in events
        if event["event"] == "task" and event["cell"] == cell and event["kind"] != "score"
    ]  # fmt: skip
    for name in ("forwards", "seconds", "cpu_seconds"):
        assert timing[name] == pytest.approx(sum(task[name] for task in tasks), abs=1e-5)
    assert timing["peak_memory"] == max(task["peak_memory"] for task in tasks)
    again = run_spec(
        models={"a": "nearest:0"}, defaults={"batch_size": 64}, cache=True, out="again"
    )
    timing = json.loads(again.layout.timing(cell).read_text())
    assert timing["cached"] and timing["forwards"] == timing["tasks"] == 0
