"""Variants in a run: models like any other, and their price beside the plain model."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

import crucibench as cb
from crucibench.cli._app import application
from crucibench.contracts.evidence import Evidence
from crucibench.integrity.verify import verify
from crucibench.stats import newcombe_paired
from crucibench_suites.throughput import ThroughputConfig
from crucibench_suites.throughput.price import Price
from crucibench_suites.throughput.scenarios import Stream

from .conftest import IDS, Measure

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
"""

SPEC = """
schema_version: 1
defaults: {limit: 64, batch_size: 32, replicates: 100}
models:
  - {name: net, uri: "torch:models.py:net", variants: [VARIANTS], device: cpu}
data:
  - {name: digits, uri: "sklearn:digits"}
suites:
  throughput: {scenarios: [single-stream], seconds: 0.05, rounds: 3}
tracks:
  - {name: all, models: [net], data: digits, suites: [accuracy, throughput]}
"""


def run(folder: Path, variants: str) -> Any:
    (folder / "models.py").write_text(MODEL)
    (folder / "spec.yaml").write_text(SPEC.replace("VARIANTS", variants))
    arguments = ["run", str(folder / "spec.yaml"), "--out", str(folder / "out"), "--workers", "0"]
    return CliRunner().invoke(application, [*arguments, "--format", "json"])


def test_variants_are_models_and_their_price_is_told(tmp_path: Path) -> None:
    run(tmp_path, "fp32, int8, prune-90, threads-1, cuda-graph")
    (folder,) = (tmp_path / "out").iterdir()
    found = cb.load(folder)
    assert verify(found) == []
    metrics = found.metrics()
    assert {str(cell.status) for cell in found.cells.values()} == {"ok", "skipped"}
    names = {"net", "net@int8", "net@prune-90", "net@threads-1"}
    assert set(metrics[metrics.suite == "accuracy"].model) == names
    prices = metrics[(metrics.suite == "throughput") & (metrics.scenario == "variant")]
    assert set(prices.model) == names - {"net"}
    told = prices.set_index(["model", "metric"]).value
    assert (told.xs("latency-ratio", level="metric") > 0).all()
    # The same numbers on other threads: no label flips. Nine weights in ten gone: some do.
    assert told["net@threads-1", "flips"] == 0
    assert told["net@prune-90", "flips"] > 0
    assert told["net@prune-90", "zero-parameters"] == pytest.approx(90, abs=1)
    assert 0 < told["net@int8", "quantised-multiply-adds"] <= 100
    codes = {
        finding.code for cell in found.cells.values() for finding in cell.findings
        if cell.suite == "throughput"
    }  # fmt: skip
    # What a busy machine brings about may be told; what a dishonest model does may not.
    assert not codes & {"wrong-answers-while-timed", "other-numerics-while-timed"}
    (skipped,) = (cell for cell in found.cells.values() if cell.scenario == "inspection")
    assert (skipped.model, str(skipped.status)) == ("net@cuda-graph", "skipped")
    assert "is one for a CUDA device, and the model answers on cpu" in skipped.reason


def test_a_variant_that_cannot_be_is_a_mistake_before_anything_runs(tmp_path: Path) -> None:
    done = run(tmp_path, "int4")
    assert done.exit_code == 2
    assert "unknown variant 'int4'; did you mean 'int8'?" in done.output
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def priced(measure: Measure, own: np.ndarray, ratio: float, drift: float = 0.0) -> dict[str, Any]:
    """Scores a variant that takes `ratio` times as long on a machine that slows down alike."""
    stream = Stream(name="single-stream", seconds=0.4, turns=10)
    plain = measure(stream, 1e-3).evidence
    speeds = ratio * (1 + drift * np.random.default_rng(0).normal(size=100_000))
    other = measure(stream, lambda call, batch: 1e-3 * speeds[call]).evidence
    clean = plain.needs["clean"]
    before = clean.records.array("prediction")
    answers = {
        "own": SimpleNamespace(records=_Records(own), samples=clean.samples),
        "plain": SimpleNamespace(records=clean.records, samples=clean.samples),
    }
    clean.samples.targets[:] = before  # the plain model is right throughout
    needs = {
        "own-times": other.own, "plain-times": plain.own,
        "own-answers": answers["own"], "plain-answers": answers["plain"],
    }  # fmt: skip
    evidence = Evidence(own=plain.own, needs=needs, data=plain.data, options=plain.options)  # type: ignore[arg-type]
    return {row.metric: row for row in Price.of("net").score(evidence).rows}


class _Records:
    ids = IDS[::-1]  # in another order than the samples

    def __init__(self, predictions: np.ndarray) -> None:
        self._predictions = predictions[::-1]

    def array(self, name: str) -> np.ndarray:
        return self._predictions


def test_ratio_and_flips_are_those_of_the_scripts(measure: Measure) -> None:
    plain = measure(Stream(name="single-stream", seconds=0.4, turns=2), 1e-3)
    answers = plain.evidence.needs["clean"].records.array("prediction").copy()
    answers[:3] = 1 - answers[:3]
    rows = priced(measure, answers, 0.5, drift=0.05)
    ratio = rows["latency-ratio"]
    assert ratio.lower <= 0.5 <= ratio.upper
    assert ratio.upper - ratio.lower < 0.05
    assert rows["flips"].value == rows["flips-to-wrong"].value == pytest.approx(100 * 3 / 40)
    difference, expected = rows["accuracy-difference"], newcombe_paired(37, 0, 3, 0)
    assert difference.value == pytest.approx(-7.5)
    assert (difference.lower, difference.upper) == pytest.approx(
        (100 * expected.lower, 100 * expected.upper)
    )


def test_a_variant_that_answers_alike_has_no_flips_and_still_an_interval(measure: Measure) -> None:
    plain = measure(Stream(name="single-stream", seconds=0.4, turns=2), 1e-3)
    rows = priced(measure, plain.evidence.needs["clean"].records.array("prediction"), 1.0)
    assert rows["flips"].value == 0
    assert rows["flips"].upper > 1
    assert rows["accuracy-difference"].lower < 0 <= rows["accuracy-difference"].upper
    assert json.dumps([row.value for row in rows.values()])


def test_models_take_turns_are_scored_verified_and_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 3))
    labels = (inputs[:, 0] > 0).astype(int)
    models = {
        name: LogisticRegression(C=strength).fit(inputs, labels)
        for name, strength in (("a", 1.0), ("b", 0.1))
    }
    run = cb.run(
        models=models,
        data=(inputs, labels),
        suites=["throughput"],
        settings={
            "throughput.seconds": 0.06, "throughput.rounds": 6,
            "throughput.batch_sizes": [1, 16], "throughput.loads": [0.5],
        },
        defaults={"replicates": 100},
        out=tmp_path,
    )  # fmt: skip
    assert verify(run) == []
    metrics = run.metrics()
    for scenario, point, metric in (
        ("single-stream", "", "latency-p50"),
        ("offline", "knee", "throughput"),
        ("server", "load=0.5", "latency-mean"),
    ):
        rows = metrics[
            (metrics.scenario == scenario) & (metrics.point == point) & (metrics.metric == metric)
        ]
        assert set(rows.model) == {"a", "b"}
        assert (rows.value > 0).all()
        assert rows.comparison_key.nunique() == 1
    codes = {
        finding.code for cell in run.cells.values() for finding in cell.findings
        if cell.suite == "throughput"
    }  # fmt: skip
    assert not codes & {
        "wrong-answers-while-timed", "other-numerics-while-timed", "answers-not-checked",
        "answers-from-a-cache",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scenarios": ["sever"]}, "input_value='sever'"),
        ({"scenarios": []}, "at least 1 item"),
        ({"seconds": 0}, r"seconds\n.*greater than 0"),
        ({"rounds": 1}, "greater than or equal to 2"),
        ({"batch_sizes": [0]}, r"batch_sizes\.0\n.*greater than or equal to 1"),
        ({"latency_bound": 0}, r"latency_bound\n.*greater than 0"),
        ({"loads": [1.0]}, r"loads\.0\n.*less than 1"),
        ({"loads": [0.0]}, r"loads\.0\n.*greater than 0"),
        ({"second": 1}, "second"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ThroughputConfig.model_validate(settings)
