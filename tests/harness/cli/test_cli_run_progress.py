"""A real run told as JSON lines, and what `show` makes of the log that it leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from click.testing import Result

from crucibench.cli._progress import (
    BarProgress,
    JsonProgress,
    LineProgress,
    ProgressListener,
    listener_for,
)
from crucibench.engine.resolve.resolve import Resolved

Call = Callable[..., Result]

RESOLVED = cast(Resolved, SimpleNamespace(run_id="3f2a"))
WINE = ("--data", "sklearn:wine", "--suite", "accuracy")
LOGISTIC = ("run", "--model", "sklearn:models.py:logistic", *WINE)


def _events(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stderr.splitlines()]


def test_a_run_as_json_lines_and_its_costs(call: Call, folder: Path) -> None:
    small = (*LOGISTIC, "--suite", "accuracy", "--limit", "60", "--no-cache")
    command = (*small, "--workers", "2", "--progress", "json")
    result = call(*command, "--format", "csv")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("data,model,run,")
    events = _events(result)
    (run,) = (folder / "results").iterdir()
    (plan,) = [event for event in events if event["event"] == "plan"]
    assert (plan["run"], plan["samples"]) == (run.name, 60)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "note"
    assert kinds.index("plan") < kinds.index("cell-started") < kinds.index("cell")
    assert kinds.count("cell") == plan["cells"]
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["done"], last["total"]) == (60, 60)
    assert events[-1] == {
        "time": events[-1]["time"], "event": "finished", "exit_code": 0, "run": run.name,
        "folder": str(Path("results") / run.name),
        "report": str(Path("results") / run.name / "report.html"),
    }  # fmt: skip

    costs = json.loads(call("show", "--costs", "--format", "json").stdout)
    (asked,) = [cost for cost in costs["cells"] if "pass" in cost["cell"]]
    assert asked["forwards"] >= 60
    assert asked["backwards"] == 0
    assert costs["total"]["seconds"] == asked["seconds"] > 0

    again = _events(call(*command))
    assert [event["event"] for event in again] == ["note", "finished"]
    assert "nothing to do" in again[0]["message"]


def test_a_dry_run_and_a_mistake_as_json_lines(call: Call) -> None:
    dry = call(*LOGISTIC, "--dry-run", "--progress", "json", "--format", "json")
    assert json.loads(dry.stdout)["cells"]
    end = _events(dry)[-1]
    assert (end["event"], end["exit_code"], end["folder"]) == ("finished", 0, None)
    broken = call(
        *("run", "--model", "sklearn:models.py:broken", *WINE),
        *("--progress", "json"),
    )
    assert broken.exit_code == 2
    *_, error, end = _events(broken)
    assert error["event"] == "error"
    assert "no such weights" in error["message"]
    assert end["exit_code"] == 2


def test_no_progress_is_not_quiet(call: Call) -> None:
    result = call(*LOGISTIC, "--limit", "60", "--progress", "none")
    assert result.exit_code == 0, result.output
    assert "Plan of run" not in result.stderr
    assert "The audits found nothing." in result.stderr


@pytest.mark.parametrize("verb", ["run", "demo"])
def test_quiet_and_progress(call: Call, verb: str) -> None:
    asked = LOGISTIC if verb == "run" else ("demo",)
    result = call(*asked, "--quiet", "--progress", "bars")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: expected --quiet or --progress bars, not both\n")


def test_who_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(progress: Any, quiet: bool = False) -> type[ProgressListener]:
        return type(listener_for(RESOLVED, progress, quiet=quiet, announce=True))

    assert chosen("auto") is LineProgress
    assert chosen("lines") is LineProgress
    assert chosen("bars") is BarProgress
    assert chosen("json") is JsonProgress
    assert chosen("none") is ProgressListener
    assert chosen("auto", quiet=True) is ProgressListener
    assert chosen("none", quiet=True) is ProgressListener
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert chosen("auto") is BarProgress
    assert chosen("lines") is LineProgress
    monkeypatch.setenv("TERM", "dumb")
    assert chosen("auto") is LineProgress
    with pytest.raises(click.UsageError, match="expected --quiet or --progress json, not both"):
        chosen("json", quiet=True)
