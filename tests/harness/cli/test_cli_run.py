"""`crucibench run`: what it prints where, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crucibench.cli._app import application
from crucibench.contracts.verdict import Status
from crucibench.report.findings import nothing_found
from crucibench.store.run import Run
from crucibench_suites.accuracy.scenario import METRICS

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
    assert told[plan].endswith("preset quick, seed 0")
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
    assert "±" in result.stdout and result.stdout.startswith("Ship logistic")
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


MODEL = "def yes(batch):\n    return [[0.2, 0.8]] * len(batch)\n"


def test_skipped_samples_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    rows = "".join(f"{row},{['no', 'yes'][row % 2]}\n" for row in range(40))
    (tmp_path / "data.csv").write_text(f"a,y\n{rows}7,\n8,yes,more\n")
    words = [
        "run", "--model", f"python:{tmp_path / 'model.py'}:yes",
        "--data", f"csv:{tmp_path / 'data.csv'}", "--target", "y", "--suite", "accuracy",
        "--out", str(tmp_path / "out"), "--format", "json", "--no-cache",
    ]  # fmt: skip
    refused = CliRunner().invoke(application, words)
    assert refused.exit_code == 2
    assert "1 of 42 samples of test can't be used" in refused.output
    assert "a row has 3 values, expected 2" in refused.output
    done = CliRunner().invoke(application, [*words, "--on-bad-sample", "skip"])
    assert done.exit_code in {0, 4}, done.output
    shown = CliRunner().invoke(
        application,
        ["show", "latest", "--out", str(tmp_path / "out"), "--metrics", "--format", "json",
         "--where", "metric=top-1"],
    )  # fmt: skip
    assert {row["n"] for row in json.loads(shown.stdout)} == {40}
    data = CliRunner().invoke(
        application,
        ["show", "latest", "--out", str(tmp_path / "out"), "--data", "data", "--format", "json"],
    )
    (note,) = [one for one in json.loads(data.stdout)["notes"] if "left out" in one]
    assert note.startswith("2 of 42 samples of test are left out (row of another length: 1, targ")


COMMAND = (
    *("run", "--model", "sklearn:models.py:logistic", "--data", "sklearn:wine"),
    *("--suite", "accuracy", "--limit", "40"),
)


@pytest.fixture
def failed(call: Call, folder: Path) -> Callable[[], tuple[str, Run]]:
    """Returns a function that runs the command, whose cell must fail: its reason, and the run."""

    def run() -> tuple[str, Run]:
        done = call(*COMMAND)
        assert done.exit_code == 4, done.stderr
        (root,) = (folder / "results").iterdir()
        found = Run(root)
        (cell,) = (cell for cell in found.cells.values() if cell.suite == "accuracy")
        assert cell.status is Status.FAILED
        assert cell.detail == "", "a sentence, and no traceback"
        assert f"accuracy/clean failed: {cell.reason}" in done.stderr
        assert "The audits found nothing." not in done.stderr
        told = " ".join(done.stderr.split())
        assert "found nothing in the 1 cell that ran; 1 cell failed and was not audited." in told
        page = found.layout.report.read_text(encoding="utf-8")
        assert "No audit found a fault." not in page
        assert "1 cell failed and was not audited." in page
        return cell.reason, found

    return run


def test_a_metric_that_a_scenario_does_not_list_is_named(
    failed: Callable[[], tuple[str, Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = tuple(metric for metric in METRICS if metric.id != "mcc")
    monkeypatch.setattr("crucibench_suites.accuracy.scenario.METRICS", fewer)
    reason, run = failed()
    assert reason == (
        "accuracy/clean computes metric 'mcc', which it does not list: add it to the metrics of "
        "Clean"
    )
    whole = list(run.cells.values())
    alone = [cell for cell in whole if cell.status is Status.FAILED]
    assert nothing_found(alone) == "Nothing was audited: 1 cell failed and was not audited."
    ok = [cell for cell in whole if cell.status is Status.OK]
    assert nothing_found(ok) == "The audits found nothing."
    assert nothing_found([]) == "No cell ran to the end: nothing was audited."
