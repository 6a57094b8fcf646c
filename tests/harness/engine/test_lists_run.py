"""Targets, answers and records that are lists, on images of several sizes, asked with draws."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crucibench.cli._app import application
from crucibench.store.run import Run

PLUGIN = '''
import io
import os
import signal
from dataclasses import dataclass

import datasets
import numpy as np
from PIL import Image

from crucibench.contracts.adapter import Adapter, Answer
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.evidence import OutcomeView
from crucibench.contracts.lists import Lists, from_arrow
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Mapped
from crucibench.contracts.source import DataSource, RawData
from crucibench.contracts.statistic import Number, RowMetric
from crucibench.contracts.suite import Suite
from crucibench.contracts.task import AnswerField, Modality, TaskKind, require_finite
from crucibench.stats import weighted_mean

EXCESS = MetricInfo(id="excess", name="excess", direction="lower", definition="Spots too many.")


class Spots(TaskKind):
    name = "spots"
    fields = (AnswerField(name="spots", dimensions=2, lists=True, pixels=True,
        check=lambda values, _: require_finite("spots", values)),)
    list_targets = True
    metrics = ()
    headline = "excess"
    unlabelled = Lists.of([0], np.zeros((0, 2)))

    def read_targets(self, target, columns):
        return (), {role: from_arrow(column) for role, column in columns.items()}

    def best_answer(self, capabilities):
        return "spots"

    def from_array(self, array):
        raise AssertionError

    def prediction(self, answer):
        return answer.lists("spots").lengths

    def outcome_columns(self, answer, targets, score_kind):
        return {"spots": answer.lists("spots")}

    def view(self, cell, task, ids=None):
        rows = cell.samples if ids is None else cell.samples.within(ids)
        return rows, cell.records.aligned(rows.ids).lists("spots")

    def view_of_outcomes(self, columns, cell, task):
        return cell.samples, columns["spots"]

    def quality(self, view):
        return (view[1].lengths - view[0].targets.lengths).astype(float)

    def outcomes(self, view):
        n = len(view[0])
        blank = np.full(n, np.nan)
        return OutcomeView(view[0].ids, np.full(n, "", object), view[1].lengths, blank, blank)


class Bright(Adapter):
    """Answers where pixels are bright, in the image's own pixels."""

    input_spec = InputSpec(modality=Modality.IMAGE, channels=1, own_sizes=True)
    capabilities = frozenset({Capability("spots"), Capability.ANY_INPUT})

    @classmethod
    def open(cls, opening):
        self = cls()
        self.task = opening.data.task
        return self

    def _predict(self, batch, want):
        assert isinstance(batch.inputs, list)
        found = [np.argwhere(image[0].numpy() > 0.5) for image in batch.inputs]
        lengths = [len(one) for one in found]
        return Answer(spots=Lists.of(lengths, np.concatenate(found).astype(np.float32)))

    def fingerprint(self):
        return {"weights": "none"}


class Source(DataSource):
    @classmethod
    def sources(cls, uri, base):
        from crucibench.contracts.adapter import Sources
        return Sources()

    def read(self, opening):
        rng = np.random.default_rng(0)
        images, targets = [], []
        for row in range(40):
            pixels = np.zeros((8 + row % 3, 9 + row % 5), dtype=np.uint8)
            spots = np.argwhere(rng.random(pixels.shape) < 0.02)
            pixels[tuple(spots.T)] = 255
            pixels[0, 0] = row
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            images.append({"bytes": stream.getvalue(), "path": None})
            targets.append(spots.astype(float).tolist())
        data = datasets.Dataset.from_dict({"image": images, "spots": targets},
            features=datasets.Features({"image": datasets.Image(),
                "spots": datasets.Sequence(
                    datasets.Sequence(datasets.Value("float64"), length=2))}))
        return RawData(roles={"test": data}, inputs=("image",), target="spots",
            modality=Modality.IMAGE, kind="spots")


@dataclass(frozen=True, kw_only=True)
class Drawn(Mapped):
    suite: str = "drawn"
    name: str = "spots"
    metrics = (EXCESS,)
    draws = "sample"

    def run(self, stage, work, context):
        context.adapter.batches = getattr(context.adapter, "batches", 0) + 1
        if str(context.adapter.batches) == os.environ.get("DIE_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        spots = context.adapter.predict(work.batch, frozenset({"spots"})).lists("spots")
        n, rows = len(work.batch), np.tile(np.arange(len(work.batch)), 3)
        draw = np.repeat(np.arange(3), n)
        return {"id": list(work.batch.ids) * 3, "draw": draw, "spots": spots[rows],
            "excess": (spots[rows].lengths - work.samples.targets[rows].lengths + draw) * 1.0}

    def numbers(self, evidence):
        own = evidence.own
        frame = own.records.frame()
        values = frame.groupby("id")["excess"].mean()[own.samples.ids].to_numpy()
        form = RowMetric(weighted_mean(values))
        return [Number(metric="excess", make=lambda: form)]


class DrawnSuite(Suite):
    name = axis = "drawn"
    description = "Asks three times."
    headline = ("spots/excess",)
    metrics = (EXCESS,)

    def scenarios(self, request):
        return [Drawn()]
'''
MODELS = """
import torch


class Net(torch.nn.Module):
    crucibench_input = {"sizes": "own", "mean": [0.25], "std": [0.5]}

    def __init__(self, bias=0):
        super().__init__()
        self.bias = bias

    def forward(self, images):
        assert isinstance(images, list)
        spots = [torch.argwhere(one[0] > 0.5).float() for one in images]
        return [{"spots": torch.cat([one, one.new_zeros(self.bias, 2)])} for one in spots]


def net():
    return Net()


def worse():
    return Net(2)


def function(images):
    return [{"spots": torch.argwhere(one[0] > 0.5).float().numpy()} for one in images]
"""
ENTRIES = """
[crucibench.adapters]
bright = spots_plugin:Bright
[crucibench.data]
spots = spots_plugin:Source
[crucibench.tasks]
spots = spots_plugin:Spots
[crucibench.suites]
drawn = spots_plugin:DrawnSuite
"""


RUN = ("run", "--data", "spots:x", "--suite", "drawn", "--batch-size", "8", "--no-cache")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory, plugged: Any) -> Iterator[Path]:
    """Returns the folder, and the current one, of a plug-in that is installed."""
    folder = tmp_path_factory.mktemp("spots")
    (folder / "spots_plugin.py").write_text(PLUGIN)
    (folder / "models.py").write_text(MODELS)
    facts = folder / "spots_plugin-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: spots-plugin\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRIES)
    with plugged(folder), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def crucibench(*words: str) -> str:
    done = CliRunner().invoke(application, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def ask(plugin: Path, out: str, *models: str, workers: int = 0) -> Run:
    words = [word for model in models for word in ("--model", model)]
    crucibench(*RUN, *words, "--out", out, "--workers", str(workers))
    (root,) = (path.parent for path in (plugin / out).glob("*/manifest.json"))
    return Run(root)


def stored(run: Run) -> list[bytes]:
    return [file.read_bytes() for file in sorted(run.root.glob("cells/*drawn*/records-*.parquet"))]


@pytest.fixture(scope="module")
def whole(plugin: Path) -> Run:
    return ask(plugin, "whole", "bright:x")


def test_lists_and_draws_go_through_a_run(plugin: Path, whole: Run) -> None:
    crucibench("verify", str(whole.root))
    assert whole.metrics()["value"].iloc[0] == pytest.approx(1.0)
    assert len(stored(whole)) == 5
    for workers in (1, 2):
        assert stored(ask(plugin, f"workers-{workers}", "bright:x", workers=workers)) == stored(
            whole
        )


def test_a_killed_run_resumes_to_the_same_bytes(plugin: Path, whole: Run) -> None:
    killed = subprocess.run(
        [sys.executable, "-m", "crucibench", *RUN, "--model", "bright:x", "--out", "killed"],
        cwd=plugin, env={**os.environ, "PYTHONPATH": str(plugin), "DIE_AT": "3"}, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    again = ask(plugin, "killed", "bright:x")
    assert stored(again) == stored(whole)
    crucibench("verify", str(again.root))


def test_models_that_return_lists_are_compared_by_their_means_over_draws(plugin: Path) -> None:
    run = ask(
        plugin, "models", "bright=bright:x", "net=torch:models.py:net",
        "worse=torch:models.py:worse", "function=python:models.py:function?sizes=own",
    )  # fmt: skip
    metrics = run.metrics()
    rows = metrics[metrics["metric"] == "excess"].set_index("model")
    assert rows["value"].to_dict() == pytest.approx(
        {"bright": 1.0, "net": 1.0, "worse": 3.0, "function": 1.0}
    )
    assert set(rows["n"]) == {40}
    crucibench("pack", str(run.root), "-o", "pack.cbz")
    for source in (str(run.root), "pack.cbz"):
        found = json.loads(
            crucibench("compare", f"{source}:net", f"{source}:worse", "--format", "json")
        )
        (row,) = found[0]["differences"]
        assert (row["baseline"], row["candidate"], row["delta"]) == pytest.approx((1.0, 3.0, 2.0))
        assert row["n"] == 40
