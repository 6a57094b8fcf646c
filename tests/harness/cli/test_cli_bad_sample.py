"""``--on-bad-sample``: from the command line to the denominator of a number."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from crucibench.cli._app import application

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
