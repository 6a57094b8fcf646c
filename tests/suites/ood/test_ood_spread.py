"""The same bytes however the work was spread, and as many classes as there may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crucibench as cb
from crucibench.api import prepare
from crucibench.contracts.verdict import Status
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions, RunPart
from crucibench.engine.parts import merge
from crucibench.engine.run import execute
from crucibench.store.manifest import digests
from crucibench.store.run import Run
from crucibench_suites.ood.detectors import detectors

DEMO = Path(__file__).parents[3] / "adapters" / "crucibench_adapters" / "demo"
CNN = f"torch:{DEMO / 'models.py'}:cnn?weights={DEMO / 'cnn.safetensors'}"


def spread(out: Path, **how: Any) -> Run:
    """Runs features, steps, partners and validation sets: all that is asked of a model."""
    resolved = prepare(
        models={"cnn": CNN}, data="sklearn:digits?split=0.3", suites=["ood"],
        defaults={"limit": 60, "replicates": 100, "batch_size": 16, "threads": 1},
        settings={
            "ood.detectors": ["msp", "odin", "mahalanobis", "knn"],
            "ood.generators": ["class-mixture", "uniform-noise", "inverted"],
        },
    )  # fmt: skip
    done = execute(
        resolved, RunOptions(out=out, scratch=out / "scratch", cache=False, **how), Listener()
    )
    assert done is not None
    return done


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> Run:
    # The spec names the weights by their way from the run: all runs lie equally deep.
    return spread(tmp_path_factory.mktemp("inline") / "out", workers=0)


@pytest.mark.thorough
def test_two_workers_write_the_same_bytes(inline: Run, tmp_path: Path) -> None:
    assert {file.status for file in inline.cells.values()} == {Status.OK}
    assert len(list(inline.root.glob("cells/*ood-near-class-mixture*/records-*.parquet"))) > 1
    assert digests(spread(tmp_path / "out", workers=2).layout) == digests(inline.layout)


@pytest.mark.thorough
def test_merged_parts_are_the_whole_run(inline: Run, tmp_path: Path) -> None:
    parts = [spread(tmp_path / str(at), workers=0, part=RunPart(at, 2)).root for at in (1, 2)]
    merged = merge(parts[::-1], tmp_path / "whole")
    assert merged.id == inline.id
    assert digests(merged.layout) == digests(inline.layout)
    assert merged.metrics().equals(inline.metrics())


@pytest.mark.parametrize("classes", [200, pytest.param(1000, marks=pytest.mark.thorough)])
def test_many_classes(tmp_path: Path, classes: int) -> None:
    import torch

    rng = np.random.default_rng(0)
    centres = rng.random((classes, 8, 8))
    targets = np.tile(np.arange(classes), 3)
    images = np.clip(centres[targets] + 0.02 * rng.normal(size=(len(targets), 8, 8)), 0, 1)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, classes)
    )
    with torch.no_grad():
        net[1].weight.copy_(torch.eye(64))
        net[1].bias.zero_()
        # The nearest centre: x.c - |c|^2 / 2, steep enough to be sure.
        held = torch.from_numpy(centres.reshape(classes, 64)).float()
        net[3].weight.copy_(20 * held)
        net[3].bias.copy_(-10 * held.square().sum(dim=1))
    run = cb.run(
        models={"wide": net.eval()}, data=(images.astype(np.float32), targets), suites=["ood"],
        data_options={"split": 1 / 3}, out=tmp_path, workers=0, cache=False,
        defaults={"replicates": 100},
        settings={"ood.generators": ["uniform-noise", "inverted"]},
    )  # fmt: skip
    assert {file.status for file in run.cells.values()} == {Status.OK}
    rows = run.metrics()
    right = rows[rows.metric == "id-accuracy"].value.item()
    assert right > 0.99
    area = rows[(rows.metric == "ood-auroc") & (rows.point == "far")].set_index("scenario").value
    assert set(detectors().names()) <= set(area.index)
    # Noise is nobody's neighbour, and many classes share what probability it gets.
    for name in ("msp", "knn", "mahalanobis", "gen"):
        assert area[name] > 0.9, name
