"""A real run, what it cost, and who reports its progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from click.testing import Result

from crucibench.cli._progress import (
    BarProgress,
    LineProgress,
    ProgressListener,
    listener_for,
)
from crucibench.engine.resolve.resolve import Resolved

Call = Callable[..., Result]

RESOLVED = cast(Resolved, SimpleNamespace(run_id="3f2a"))
WINE = ("--data", "sklearn:wine", "--suite", "accuracy")
LOGISTIC = ("run", "--model", "sklearn:models.py:logistic", *WINE)


def test_what_a_run_cost(call: Call) -> None:
    small = (*LOGISTIC, "--limit", "60", "--no-cache", "--workers", "2")
    result = call(*small, "--format", "csv")
    assert result.exit_code == 0 and result.stdout.startswith("data,model,run,")
    costs = json.loads(call("show", "--costs", "--format", "json").stdout)
    (asked,) = [cost for cost in costs["cells"] if "pass" in cost["cell"]]
    assert asked["forwards"] >= 60 and asked["backwards"] == 0 and asked["tasks"] >= 2
    assert costs["total"]["seconds"] == asked["seconds"] > 0
    assert "nothing to do" in call(*small).stderr


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
    assert chosen("none") is ProgressListener
    assert chosen("auto", quiet=True) is ProgressListener
    assert chosen("none", quiet=True) is ProgressListener
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert chosen("auto") is BarProgress
    assert chosen("lines") is LineProgress
    monkeypatch.setenv("TERM", "dumb")
    assert chosen("auto") is LineProgress
    with pytest.raises(click.UsageError, match="expected --quiet or --progress bars, not both"):
        chosen("bars", quiet=True)
