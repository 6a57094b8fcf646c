"""An installed plug-in adds each kind of thing in one file of at most 40 lines, editing no file."""

from __future__ import annotations

import ast
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest


def python(plugin: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(plugin), "NO_COLOR": "1", "COLUMNS": "200"},
    )  # fmt: skip


def crucibench(plugin: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return python(plugin, folder, "-m", "crucibench", *words)


SAMPLE = Path(__file__).parent / "sample_plugin" / "crucibench_sample"


@pytest.mark.parametrize(
    "name",
    ["adapter", "attack", "audit", "corruption", "detector", "metric", "ordinal", "section"],
)
def test_each_kind_of_thing_is_one_short_file(name: str) -> None:
    text = (SAMPLE / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 40
    imported = {
        node.module for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module
    }  # fmt: skip
    assert not any(module.startswith("crucibench_sample") for module in imported)


def test_the_kit_passes_what_the_plug_in_registers(sample_plugin: Path, tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text(
        """
import numpy as np
import pyarrow.parquet as pq
from crucibench.contracts.adapter import Answer
from crucibench.contracts.audit import audits
from crucibench.contracts.corruption import corruptions
from crucibench_suites.ood.detectors import detectors
from crucibench.contracts.metric import metrics
from crucibench.contracts.task import task_kinds
from crucibench.report.sections import section_kinds
from crucibench.testing import (
    check_audit, check_corruption, check_detector, check_metric, check_section, check_task_kind,
)
check_metric(metrics().get("g-mean"))
check_metric(metrics().get("class-distance"))
check_detector(detectors().get("norm"))
check_section(section_kinds().get("sparkline"))
check_corruption(corruptions().get("posterise"))
check_audit(audits().get("repeated-scores"))
scores = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.2, 0.6, 0.2]])
check_task_kind(
    task_kinds().get("ordinal"), Answer(scores=scores), ["low", "high", "mid"],
    classes=("low", "mid", "high"),
)
print("all kept")
"""
    )
    done = python(sample_plugin, tmp_path, str(script))
    assert done.stdout.strip() == "all kept", done.stderr


def test_a_metric_and_a_task_kind_of_a_plug_in_are_run(sample_plugin: Path, tmp_path: Path) -> None:
    """Ordinal classification from the command line: rows with intervals, and a comparison."""
    rng = np.random.default_rng(0)
    names = ("low", "mid", "high")
    with (tmp_path / "grades.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y"])
        for _ in range(200):
            x = rng.normal()
            writer.writerow([x, names[int(np.clip(x + rng.normal() * 0.3 + 1.5, 0, 2))]])
    (tmp_path / "models.py").write_text(
        """
import numpy as np
import pyarrow.parquet as pq

def scores(frame, shift):
    at = np.clip(frame["x"].to_numpy() + shift + 1.0, 0, 2)[:, None]
    raw = np.exp(-np.abs(at - np.arange(3)))
    return raw / raw.sum(axis=1, keepdims=True)

def near(frame):
    return scores(frame, 0.0)

def far(frame):
    return scores(frame, 1.5)
"""
    )
    data = "csv:grades.csv?target=y&task=ordinal"
    words = (
        "run", "--model", "near=python:models.py:near", "--model", "far=python:models.py:far",
        "--data", data, "--suite", "accuracy",
    )  # fmt: skip
    done = crucibench(sample_plugin, tmp_path, *words)
    assert done.returncode == 2
    assert "an ordinal target needs its classes in order" in " ".join(done.stderr.split())
    more = ("--set", "accuracy.metrics=[g-mean]", "--format", "csv")
    done = crucibench(
        sample_plugin, tmp_path, *(f"{word}&classes=low,mid,high" if word == data else word
                                   for word in words), *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (root,) = (tmp_path / "results").glob("[0-9a-f]*")
    table = pq.read_table(root / "metrics.parquet").to_pylist()
    rows = {(row["model"], row["metric"]): row for row in table if not row["group"]}
    for metric in ("class-distance", "g-mean", "top-1"):
        row = rows["near", metric]
        assert float(row["lower"]) < float(row["value"]) < float(row["upper"])
    page = (root / "report.html").read_text()
    # The kind's own sections stand in place of the suite's.
    assert "Far and near misses" in page and "Risk and coverage" not in page
    findings = [
        (cell["model"], one["message"])
        for cell in map(json.loads, (p.read_text() for p in root.glob("cells/*/cell.json")))
        for one in cell["findings"] if one["code"] == "repeated-scores"
    ]  # fmt: skip
    # All that lie beyond the last class get its scores; only `far` has that many.
    assert [model for model, _ in findings] == ["far"]
    assert findings[0][1].startswith("200 samples get ")
    compared = crucibench(
        sample_plugin, tmp_path, "compare", "latest", "--models", "near,far", "--format", "json"
    )
    (comparison,) = json.loads(compared.stdout)
    found = {one["address"].rpartition("/")[2]: one for one in comparison["differences"]}
    difference = found["class-distance"]
    assert difference["p"] < 0.001 and difference["delta"] > 0
    keys = [
        json.loads(path.read_text())["comparison"]["task"]
        for path in (tmp_path / "results").glob("*/cells/*/cell.json")
        if "task" in json.loads(path.read_text()).get("comparison", {})
    ]
    assert keys and set(keys) == {"ordinal@1"}
    unknown = crucibench(sample_plugin, tmp_path, *words, "--set", "accuracy.metrics=[g-meen]")
    assert unknown.returncode == 2
    assert "g-meen" in unknown.stderr and "g-mean" in unknown.stderr
