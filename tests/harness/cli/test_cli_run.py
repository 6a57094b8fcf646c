"""`crucibench run`: what it prints where, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Call = Callable[..., Result]
Shell = Callable[..., subprocess.CompletedProcess[str]]

LOGISTIC = ("run", "--model", "sklearn:models.py:logistic", "--data", "sklearn:wine")


def test_plan_cells_findings_and_report_go_to_stderr(call: Call, folder: Path) -> None:
    result = call(*LOGISTIC, "--limit", "60")
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
    chatty = ("run", "--model", "python:models.py:talkative", "--data", "sklearn:wine")
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
    plan = json.loads(call(*LOGISTIC, "--dry-run", "--format", "json", "-q").stdout)
    assert plan["preset"] == "quick"
    assert plan["seconds"] > 0
    assert plan["not_applicable"] == []
    by_scenario = {f"{cell['suite']}/{cell['scenario']}": cell for cell in plan["cells"]}
    assert by_scenario["pass/test"]["samples"] == 178
    assert by_scenario["pass/test"]["status"] == "planned"
    rows = call(*LOGISTIC, "--dry-run", "--format", "csv", "-q").stdout
    assert len(list(csv.DictReader(io.StringIO(rows)))) == len(plan["cells"])
    assert "| logistic |" in call(*LOGISTIC, "--dry-run", "--format", "md", "-q").stdout


def test_several_data_sets_meet_every_model(call: Call) -> None:
    result = call(
        *("run", "--data", "sklearn:wine", "--data", "mine=csv:people.csv?target=bought"),
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


SLOW = """
import time
import numpy as np

def slow(batch):
    time.sleep(0.03)
    return np.full((len(batch), 3), 1 / 3)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent as POSIX sends it")
def test_ctrl_c_says_how_to_resume_and_the_same_command_does(folder: Path) -> None:
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    arguments = [
        *("run", "--model", "python:slow.py:slow", "--data", "sklearn:wine"),
        *("--batch-size", "2", "--suite", "accuracy"),
    ]
    # A shell that puts the tests in the background has its children ignore Ctrl-C.
    heeding = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('crucibench', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", heeding, *arguments]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((folder / "results").glob("*/cells/*/records-*.parquet")):
        assert time.monotonic() < deadline, "nothing was collected"
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, told = running.communicate(timeout=60)
    assert running.returncode == 130, told
    assert out == ""
    assert told.splitlines()[-1] == "interrupted; give the same command again to resume"
    assert "Traceback" not in told
    (run,) = (folder / "results").iterdir()
    assert not (run / "manifest.json").is_file()
    kept = {path: path.stat().st_mtime_ns for path in run.glob("cells/*/records-*.parquet")}

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (run / "manifest.json").is_file()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list((folder / "results").iterdir())) == 1
