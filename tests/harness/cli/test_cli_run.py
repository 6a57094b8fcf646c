"""`crucibench run`: what it prints where, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Call = Callable[..., Result]
Shell = Callable[..., subprocess.CompletedProcess[str]]

WINE = ("--data", "sklearn:wine", "--suite", "accuracy")
LOGISTIC = ("run", "--model", "sklearn:models.py:logistic", *WINE)


def test_plan_cells_findings_and_report_go_to_stderr(call: Call, folder: Path) -> None:
    result = call(*LOGISTIC, "--suite", "accuracy", "--limit", "60")
    assert result.exit_code == 0, result.stderr
    (run,) = (folder / "results").iterdir()
    told = result.stderr.splitlines()
    plan = next(row for row, line in enumerate(told) if line.startswith(f"Plan of run {run.name}"))
    assert "preset quick, seed 0, about" in told[plan]
    assert told[plan + 1].split() == [
        "model", "data", "suite", "cells", "samples", "points", "skipped"
    ]  # fmt: skip
    passed = next(row for row, line in enumerate(told) if line.startswith("ok: logistic on wine"))
    assert passed > plan
    assert "pass/test, 60 samples in" in told[passed]
    assert "The audits found nothing." in told
    assert told[-1] == f"report: {Path('results') / run.name / 'report.html'}"
    assert (run / "report.html").is_file()
    assert "logistic" in result.stdout
    assert "[" in result.stdout.splitlines()[5]
    assert "Plan" not in result.stdout


def test_stdout_holds_the_data_alone(call: Call) -> None:
    chatty = ("run", "--suite", "accuracy", "--data", "sklearn:wine")
    chatty = (*chatty, "--model", "python:models.py:talkative")
    result = call(*chatty, "--format", "csv", "--limit", "40")
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["model"] for row in rows} == {"talkative"}
    assert {row["n"] for row in rows} == {"40"}
    assert "a model that prints" in result.stderr
    assert "suspect" in result.stderr
    again = call(*chatty, "--format", "json", "--limit", "40", "--quiet")
    assert again.stderr == ""
    (board,) = json.loads(again.stdout)["boards"]
    assert board["data"] == "wine"
    assert len(board["numbers"]) == len(rows)


def test_markdown(call: Call) -> None:
    result = call(*LOGISTIC, "--limit", "40", "--format", "md", "-q")
    assert result.stdout.startswith("# Leaderboard\n")
    assert "| logistic |" in result.stdout


def test_a_finished_run_is_shown_as_it_is(call: Call, folder: Path) -> None:
    first = call(*LOGISTIC, "--limit", "50")
    (run,) = (folder / "results").iterdir()
    again = call(*LOGISTIC, "--limit", "50")
    assert again.stdout == first.stdout
    assert again.exit_code == first.exit_code == 0
    assert again.stderr.splitlines()[0] == (
        f"run {run.name} is finished already: nothing to do (--fresh runs it again)"
    )
    assert "Plan" not in again.stderr
    fresh = call(*LOGISTIC, "--limit", "50", "--fresh")
    assert "Plan of run" in fresh.stderr
    assert fresh.stdout == first.stdout


def test_a_finished_run_needs_neither_torch_nor_datasets(call: Call, folder: Path) -> None:
    arguments = [*LOGISTIC, "--limit", "50"]
    assert call(*arguments).exit_code == 0
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from crucibench.cli._app import application\n"
        f"result = CliRunner().invoke(application, {arguments!r})\n"
        "assert result.exit_code == 0, result.output\n"
        "assert 'nothing to do' in result.stderr\n"
        "print([name for name in ('torch', 'datasets', 'sklearn', 'foolbox', 'fairlearn')"
        " if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_dry_run_prints_the_plan_and_writes_nothing(call: Call, folder: Path) -> None:
    result = call(*LOGISTIC, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("Plan of run ")
    assert "forward pass: test" in result.stdout
    assert "Plan" not in result.stderr
    assert not (folder / "results").exists()


def test_a_plan_as_data(call: Call) -> None:
    both = (*LOGISTIC, "--suite", "accuracy,bias", "--dry-run", "-q", "--format")
    plan = json.loads(call(*both, "json").stdout)
    assert plan["preset"] == "quick"
    assert plan["seconds"] > 0
    why_not = {entry["suite"]: entry["reason"] for entry in plan["not_applicable"]}
    assert "accuracy" not in why_not
    assert why_not["bias"] == "the data names no groups (option groups=COLUMN,...)"
    by_scenario = {f"{cell['suite']}/{cell['scenario']}": cell for cell in plan["cells"]}
    assert by_scenario["pass/test"]["samples"] == 178
    assert by_scenario["pass/test"]["status"] == "planned"
    rows = call(*both, "csv").stdout
    listed = list(csv.DictReader(io.StringIO(rows)))
    assert len(listed) == len(plan["cells"]) + len(plan["not_applicable"])
    assert "| logistic |" in call(*both, "md").stdout


def test_variants_are_asked_for_by_name(call: Call, folder: Path) -> None:
    (folder / "nets.py").write_text(
        "import torch\n\ndef net():\n    torch.manual_seed(0)\n    return torch.nn.Linear(13, 3)\n"
    )
    result = call(
        *("run", *WINE, "--model", "a=torch:nets.py:net", "--model", "b=torch:nets.py:net"),
        *("--variant", "bf16", "--variant", "threads-1", "--variant", "bf16", "--dry-run"),
        *("--suite", "accuracy", "--format", "json"),
    )
    assert result.exit_code == 0, result.stderr
    found = {cell["model"] for cell in json.loads(result.stdout)["cells"]}
    assert found == {f"{model}{form}" for model in "ab" for form in ("", "@bf16", "@threads-1")}


def test_several_data_sets_meet_every_model(call: Call) -> None:
    result = call(
        *("run", *WINE, "--data", "mine=csv:people.csv?target=bought"),
        *("--model", "python:models.py:talkative", "--dry-run", "--format", "json", "--keep-going"),
    )
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert {cell["data"] for cell in plan["cells"]} == {"wine"}
    (refused,) = plan["not_inspected"]
    assert (refused["model"], refused["data"]) == ("talkative", "mine")


def test_a_spec_and_what_goes_before_it(call: Call, folder: Path) -> None:
    specs = folder / "specs"
    specs.mkdir()
    (specs / "spec.yaml").write_text(
        "defaults: {seed: 3, limit: 100}\n"
        'models: [{name: mine, uri: "sklearn:../models.py:logistic"}]\n'
        'data: [{name: wine, uri: "sklearn:wine"}]\n',
        encoding="utf-8",
    )
    result = call("run", "specs/spec.yaml", "--limit", "30", "--dry-run", "--format", "json")
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert plan["seed"] == 3
    assert {cell["samples"] for cell in plan["cells"] if cell["suite"] == "pass"} == {30}


def test_a_model_that_answers_nan_fails_its_own_cells(call: Call, folder: Path) -> None:
    result = call(*LOGISTIC, "--model", "python:models.py:not_a_number", "--limit", "40")
    assert result.exit_code == 4
    failed = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert failed[0].startswith("error: not_a_number on wine, ")
    assert any("not finite" in line for line in failed)
    assert "Traceback" not in result.stderr
    assert "logistic" in result.stdout
    (run,) = (folder / "results").iterdir()
    statuses = {
        path.parent.name.partition(".")[0]: json.loads(path.read_text(encoding="utf-8"))["status"]
        for path in run.glob("cells/*pass*/cell.json")
    }
    assert statuses == {"logistic": "ok", "not_a_number": "failed"}
    assert call(*LOGISTIC, "--model", "python:models.py:not_a_number", "--limit", "40", "-q"
                ).exit_code == 4  # fmt: skip


def test_keep_going(call: Call) -> None:
    result = call(*LOGISTIC, "--model", "sklearn:models.py:broken", "--keep-going", "--limit", "40")
    assert result.exit_code == 4
    assert "KeyError" in result.stderr
    assert "logistic" in result.stdout
