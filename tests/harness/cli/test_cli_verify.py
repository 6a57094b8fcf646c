"""`verify --with-model`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Call = Callable[..., Result]


def test_models_are_asked_again(call: Call, run: Path) -> None:
    result = call("verify", "--with-model")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "asking logistic again: pass/test" in result.stderr
    assert "records asked again: 2 cells answered the same\n" in result.stderr
    assert f"run {run.name} is sound" in result.stderr
    document = json.loads(call("verify", "--with-model", "--format", "json", "-q").stdout)
    assert document == {"run": run.name, "sound": True, "differences": []}


def test_a_changed_model_is_not_asked(call: Call, run: Path, folder: Path) -> None:
    models = folder / "models.py"
    models.write_text(models.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert call("verify").exit_code == 0
    result = call("verify", "--with-model")
    assert result.exit_code == 2
    assert "models.py is not what it was when run" in result.stderr


def test_the_models_of_a_run_that_differs_are_not_asked(call: Call, run: Path) -> None:
    (run / "cells" / "extra").write_text("?", encoding="utf-8")
    result = call("verify", "--with-model")
    assert result.exit_code == 1
    assert result.stdout == "cells/extra: not in the manifest\n"
    assert "the models are not asked: the run differs as it is\n" in result.stderr


def test_numbers_that_can_not_be_read_are_scored_anew(call: Call, run: Path) -> None:
    metrics = run / "metrics.parquet"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole[:-50])
    shown = call("show", run.name, "--format", "json")
    assert shown.exit_code in {0, 4}
    refused = call("leaderboard")
    assert refused.exit_code == 4
    assert "metrics.parquet is not what was scored; crucibench score" in refused.stderr
    assert call("verify").exit_code == 1
    scored = call("score")
    assert "computed again: what was stored could not be read" in scored.stderr
    assert metrics.read_bytes() == whole
    assert call("verify").exit_code == 0
