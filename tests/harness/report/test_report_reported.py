"""Results of other tools: read as they stand, shown apart, never ranked."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crucibench.cli._app import application
from crucibench.report.reported import FORMS, read_reported
from crucibench.util.errors import InputError

ROBUSTBENCH = {
    "name": "Overfitting in adversarially robust deep learning", "dataset": "cifar10",
    "architecture": "WideResNet-34-20", "eps": "8/255", "clean_acc": "85.34", "reported": "58",
    "autoattack_acc": "53.42",
}  # fmt: skip
LM_EVAL = {
    "results": {
        "arc_easy": {
            "alias": "arc_easy", "acc,none": 0.71, "acc_stderr,none": 0.012,
            "exact_match,strict": 0.5, "exact_match_stderr,strict": "N/A",
        }
    },
    "versions": {"arc_easy": 1.0}, "n-shot": {"arc_easy": 5}, "config": {"model": "hf"},
    "n-samples": {"arc_easy": {"original": 2376, "effective": 1425}}, "model_name": "org/model",
}  # fmt: skip
INSPECT = {
    "version": 2, "status": "success", "eval": {"task": "quiz", "model": "openai/model"},
    "results": {
        "total_samples": 250, "completed_samples": 250,
        "scores": [
            {
                "name": "match", "scorer": "match",
                "metrics": {
                    "accuracy": {"name": "accuracy", "value": 0.84},
                    "stderr": {"name": "stderr", "value": 0.0232},
                    "max": {"name": "max", "value": 1},
                },
            }
        ],
    },
}  # fmt: skip
SAID = {
    "RobustBench": [
        ("Rice2020", "cifar10", "clean accuracy", 85.34, "%", None, None),
        ("Rice2020", "cifar10", "AutoAttack accuracy", 53.42, "%", None, None),
        ("Rice2020", "cifar10", "robust accuracy, by the authors", 58.0, "%", None, None),
    ],
    "lm-evaluation-harness": [
        ("org/model", "arc_easy", "acc", 0.71, "", 0.012, 1425),
        ("org/model", "arc_easy", "exact_match", 0.5, "", None, 1425),
    ],
    "Inspect": [
        ("openai/model", "quiz", "accuracy", 0.84, "", 0.0232, 250),
        ("openai/model", "quiz", "max", 1.0, "", None, 250),
    ],
}
DOCUMENTS = dict(zip(FORMS, (ROBUSTBENCH, LM_EVAL, INSPECT), strict=True))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A file of each tool; Inspect's is its archive."""
    found = {}
    for tool, document in DOCUMENTS.items():
        found[tool] = tmp_path / "Linf" / ("log.eval" if tool == "Inspect" else "Rice2020.json")
        if tool == "lm-evaluation-harness":
            found[tool] = found[tool].with_name("results_2026.json")
        found[tool].parent.mkdir(exist_ok=True)
        if tool == "Inspect":
            with zipfile.ZipFile(found[tool], "w") as archive:
                archive.writestr("header.json", json.dumps(document))
        else:
            found[tool].write_text(json.dumps(document))
    return found


@pytest.mark.parametrize("tool", FORMS)
def test_each_number_is_read_as_it_stands(tool: str, files: dict[str, Path]) -> None:
    rows = read_reported(files[tool])
    assert [(r.model, r.data, r.metric, r.value, r.unit, r.error, r.n) for r in rows] == SAID[tool]
    assert {row.tool for row in rows} == {tool}
    told = {"RobustBench": "eps 8/255", "lm-evaluation-harness": "shots 5", "Inspect": "match"}
    assert all(told[tool] in row.conditions for row in rows)


@pytest.mark.parametrize(
    "document",
    [
        [], {"a": 1}, {"dataset": "cifar10", "clean_acc": None, "eps": []} | {"clean_acc": {}},
        LM_EVAL | {"results": {}}, LM_EVAL | {"results": {"arc_easy": 3}},
        INSPECT | {"results": None}, INSPECT | {"eval": {}},
    ],
)  # fmt: skip
def test_what_is_of_no_form_is_refused_in_a_sentence(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"results\.json"):
        rows = read_reported(path)
        assert all(row.value is not None for row in rows), rows


@pytest.mark.parametrize("form", ["table", "md", "csv", "json", "html", "latex"])
def test_reported_rows_stand_apart_and_have_no_rank(
    form: str, files: dict[str, Path], kept_run: Path
) -> None:
    before = run_board(kept_run, form, [])
    after = run_board(kept_run, form, list(files.values()))
    assert "53.42" in after
    assert "not measured" in after or form == "json"
    if form == "json":
        first, second = json.loads(before), json.loads(after)
        assert second["boards"] == first["boards"]
        assert {row["tool"] for row in second["reported"]} == set(FORMS)
    elif form == "csv":
        assert after.startswith(before)
        assert all(",false,,," in line for line in after.removeprefix(before).splitlines())
    elif form == "md":
        assert after.startswith(before.rstrip())


def run_board(run: Path, form: str, files: Sequence[Path]) -> str:
    words = ["leaderboard", str(run), "--format", form, "--quiet"]
    for path in files:
        words += ["--reported", str(path)]
    done = CliRunner().invoke(application, words)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_a_reported_file_that_is_none_ends_before_anything_is_shown(
    kept_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    words = ["leaderboard", str(kept_run), "--reported", str(path)]
    done = CliRunner().invoke(application, words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
