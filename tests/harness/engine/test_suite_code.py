"""Editing the code of a suite: what collects is asked anew, what scores is scored anew."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import skops.io
from sklearn.dummy import DummyClassifier

from crucibench.installed_code import code_of, collecting_code
from crucibench.registry import suites
from crucibench.store.run import Run

SUITE = """
from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Mapped
from crucibench.contracts.statistic import Number, RowMetric
from crucibench.contracts.suite import Suite

SCORE = MetricInfo(id="raised", name="raised", direction="higher", definition="Of a test.")


@dataclass(frozen=True, kw_only=True)
class Asked(Mapped):
    suite: str = "raising"
    name: str = "all"
    metrics = (SCORE,)

    def run(self, stage, work, context):
        from raising.asking import answers
        return {"id": list(work.batch.ids), "answer": answers(work, context)}

    def numbers(self, evidence):
        from raising.scoring import raised
        return [Number(metric="raised", make=lambda: raised(evidence.own.records))]


class Raising(Suite):
    name = "raising"
    axis = "test"
    description = "Of a test."
    metrics = (SCORE,)
    scoring = ("scoring",)

    def scenarios(self, request):
        return [Asked()]
"""
ASKING = """
def answers(work, context):
    found = context.adapter.predict(work.batch, frozenset({"labels"}))
    return found["labels"] * 1.0 + 1.0
"""
SCORING = """
import numpy as np
from crucibench.contracts.statistic import RowMetric
from crucibench.stats import weighted_mean

def raised(records):
    return RowMetric(weighted_mean(records.array("answer") * 1.0))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "plugged" / "raising"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "suite.py").write_text(SUITE)
    (package / "asking.py").write_text(ASKING)
    (package / "scoring.py").write_text(SCORING)
    about = tmp_path / "plugged" / "raising-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: raising\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[crucibench.suites]\nraising = raising.suite:Raising\n"
    )
    rows = [f"{at / 100},{at % 2}" for at in range(100)]
    (tmp_path / "data.csv").write_text("\n".join(["x,y", *rows]))
    frame = pd.read_csv(tmp_path / "data.csv")
    model = DummyClassifier(strategy="constant", constant=1).fit(frame[["x"]], frame["y"])
    skops.io.dump(model, tmp_path / "m.skops")
    return tmp_path


def crucibench(project: Path, command: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(project / "plugged")}
    done = subprocess.run(
        [sys.executable, "-m", "crucibench", *command.split()],
        cwd=project, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def run(project: Path) -> Run:
    command = "run --model m=sklearn:m.skops --data csv:data.csv --target y --suite raising"
    code, text = crucibench(project, f"{command} --workers 1 --out results -q")
    assert code == 0, text
    runs = (project / "results").glob("*/events.jsonl")
    return Run(max(runs, key=lambda path: path.stat().st_mtime).parent)


def value(run: Run) -> float:
    rows = run.metrics()
    return float(rows.loc[rows["metric"] == "raised", "value"].item())


def cached(run: Run) -> bool:
    lines = run.layout.events.read_text().splitlines()
    return any(json.loads(line)["event"] == "cached" for line in lines)


def test_edited_code_is_asked_or_scored_anew(project: Path) -> None:
    package = project / "plugged" / "raising"
    first = run(project)
    assert value(first) == 2.0
    (package / "scoring.py").write_text(SCORING.replace("* 1.0)", "* 3.0)"))
    scored = run(project)
    assert (scored.id, value(scored), cached(scored)) != (first.id, 2.0, False)
    assert value(scored) == 6.0 and cached(scored)
    (package / "asking.py").write_text(ASKING.replace("+ 1.0", "+ 2.0"))
    asked = run(project)
    assert value(asked) == 9.0 and not cached(asked)
    assert value(first) == 2.0  # what was finished is left as it was
    rules = "required: [{address: '*:raising/all/raised', margin: 0.5}]"
    (project / "policy.yaml").write_text(rules)
    command = f"gate --baseline {scored.root} --candidate {asked.root}"
    code, text = crucibench(project, command)
    assert code != 4 and "the code of raising that collected" in " ".join(text.split())
    (project / "policy.yaml").write_text(f"{rules}\ncode: refuse")
    refused, text = crucibench(project, command)
    assert refused != code and "the code of raising that collected" in " ".join(text.split())
    _, text = crucibench(project, f"compare {first.root} {scored.root}")
    assert "the code of" not in text
    (package / "asking.py").write_text(ASKING)
    (package / "scoring.py").write_text(SCORING)
    assert run(project).id == first.id


@pytest.mark.parametrize("name", suites().names())
def test_what_only_scores_is_there(name: str) -> None:
    suite = suites().get(name)
    package = f"crucibench_suites.{name}"
    assert set(code_of([name])) == {package, "crucibench_adapters"}
    for module in suite.scoring:
        assert importlib.util.find_spec(f"{package}.{module}") is not None, module


def test_what_scores_does_not_count_as_what_collects() -> None:
    whole = code_of(["shift"])["crucibench_suites.shift"]
    own = collecting_code("shift", "torch", {})
    assert set(own) == {"crucibench_suites.shift", "crucibench_adapters"}
    assert own["crucibench_suites.shift"] != whole
    assert code_of(["ood"])["crucibench_suites.ood"] not in {whole, *own.values()}
