"""`show`, `list`, `leaderboard`, `report`, `score`, `verify`, `schema`, `doctor`."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import Result

from crucibench import registry
from crucibench.cli._options import Format
from crucibench.cli._output import Table, emit, plain
from crucibench.contracts.verdict import Status, Verdict
from crucibench.report.format import DASH
from crucibench.spec.models import Spec
from crucibench.store.cells import CellFile, write_cell
from crucibench.store.layout import Layout
from crucibench.util.atomic import write_json
from crucibench.util.hashing import file_digest

Call = Callable[..., Result]


def _json(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def _csv(result: Result) -> list[dict[str, str]]:
    assert result.exit_code == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


# show


def test_show_a_run(call: Call, run: Path) -> None:
    summary = call("show")
    assert summary.exit_code == 0, summary.stderr
    for words in ("Ship logistic", "Accuracy", "±", "majority class", "suspect: "):
        assert words in summary.stdout
    assert f"report: {Path('results') / run.name / 'report.html'}" in summary.stderr
    assert all(len(line) <= 120 for line in summary.stdout.splitlines())
    shown = call("show", "--all")
    assert shown.exit_code == 0, shown.stderr
    for words in (run.name, "Models", "Data", "Cells", "logistic", "sklearn:wine", "suspect"):
        assert words in shown.stdout
    document = _json(call("show", run.name[:4], "--format", "json"))
    assert document["run"] == run.name
    assert document["finished"] is True
    assert {model["name"] for model in document["models"]} == {"logistic", "talkative"}
    rows = _csv(call("show", str(run), "--format", "csv"))
    assert [row["cell"] for row in rows] == [cell["cell"] for cell in document["cells"]]
    assert {row["status"] for row in rows} == {"ok"}
    assert any(float(row["seconds"] or 0) > 0 for row in rows)
    assert "## Cells" in call("show", "--format", "md").stdout


def test_show_a_cell(call: Call, run: Path) -> None:
    ids = sorted(path.name for path in (run / "cells").iterdir())
    pass_id = next(name for name in ids if name.startswith("talkative") and "pass" in name)
    document = _json(call("show", "--cell", pass_id, "--format", "json"))
    assert document["cell"] == pass_id
    assert document["identity"]["fields"]
    shown = call("show", "--cell", "talkative.wine.pass").stdout
    for words in ("Comparison fields", "Identity", "Numerics", pass_id):
        assert words in shown
    accuracy = call("show", "--cell", "talkative.wine.accuracy").stdout
    assert "constant-prediction" in accuracy
    several = call("show", "--cell", "talkative")
    assert several.exit_code == 2
    assert "cell 'talkative' fits several: " in several.stderr
    unknown = call("show", "--cell", "nothing")
    assert unknown.stderr.startswith("error: unknown cell 'nothing'")


def test_show_models_data_spec_and_environment(call: Call, run: Path) -> None:
    assert "sklearn:models.py:logistic" in call("show", "--model", "logistic").stdout
    (model,) = _json(call("show", "--model", "logistic", "--format", "json"))
    assert model["data"] == "wine"
    depends = model["depends_on"]
    assert depends["files"] == {"models.py": file_digest(run.parents[1] / "models.py")}
    assert (depends["environment"], depends["not_cached"]) == ([], None)
    shown = call("show", "--model", "talkative").stdout
    assert "These numbers depend on 1 file" in shown
    assert depends["files"]["models.py"][:12] in shown and "crucibench_suites.accuracy" in shown
    assert re.search("cached +no: ", shown)
    card = _json(call("show", "--data", "wine", "--format", "json"))
    assert card["counts"] == {"test": 178}
    assert "scikit-learn" in call("show", "--data", "wine").stdout
    spec = call("show", "--spec")
    assert spec.stdout == (run / "spec.yaml").read_text(encoding="utf-8")
    assert _json(call("show", "--spec", "--format", "json")) == yaml.safe_load(spec.stdout)
    assert _json(call("show", "--env", "--format", "json"))["versions"]["numpy"]
    assert "versions.numpy" in call("show", "--env").stdout
    for option, name in (("--model", "logistik"), ("--data", "whine")):
        result = call("show", option, name)
        assert result.exit_code == 2
        assert "did you mean" in result.stderr


def test_show_metrics(call: Call, run: Path) -> None:
    frame = pd.read_parquet(run / "metrics.parquet")
    rows = _csv(call("show", "--metrics", "--format", "csv"))
    assert len(rows) == len(frame)
    assert list(rows[0]) == list(frame.columns)
    (row,) = _json(
        call("show", "--metrics", "--where", "metric=top-1", "--where", "model=log*",
             "--where", "group=", "--format", "json")
    )  # fmt: skip
    wanted = frame.query("metric == 'top-1' and model == 'logistic' and group == ''")
    assert row["value"] == wanted["value"].item()
    assert len(call("show", "--metrics", "--where", "metric=top-1").stdout.splitlines()) == 4
    for filters, sentence in (
        ("metrc=top-1", "--where: unknown column 'metrc'; did you mean 'metric'?"),
        ("metric", "--where 'metric': expected COLUMN=PATTERN"),
    ):
        result = call("show", "--metrics", "--where", filters)
        assert result.exit_code == 2
        assert sentence in result.stderr


def test_show_opens_a_data_set(call: Call) -> None:
    result = call("show", "--data", "mine=csv:people.csv?target=bought&groups=sex&id=person_id")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "reading mine\n"
    for words in ("bought", "test 200", "sex", "csv:people.csv"):
        assert words in result.stdout
    card = _json(call("show", "--data", "sklearn:digits", "--format", "json", "-q"))
    assert card["task"]["modality"] == "image"


def test_show_an_unfinished_run(call: Call, run: Path) -> None:
    (run / "manifest.json").unlink()
    shown = call("show")
    assert shown.exit_code == 0, shown.stderr
    assert "the run is not finished: the same command resumes it" in shown.stderr
    assert "no: the same command resumes" in call("show", "--all").stdout


# list


def test_list(call: Call) -> None:
    result = call("list")
    assert result.exit_code == 0, result.stderr
    for words in ("Model schemes", "Data schemes", "Suites", "sklearn", "accuracy"):
        assert words in result.stdout
    listed = _json(call("list", "--format", "json"))
    assert list(listed) == list(registry.KINDS)
    names = {row["name"] for row in listed["models"]}
    assert {"torch", "sklearn", "python", "predictions"} <= names
    assert {row["package"] for row in listed["suites"]} >= {"crucibench"}
    kinds = {kind for kind, rows in listed.items() if rows}
    assert {row["kind"] for row in _csv(call("list", "--format", "csv"))} == kinds
    assert "| accuracy |" in call("list", "suites", "--format", "md").stdout


def test_a_broken_plugin_is_listed_with_its_error(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("broken", "no_such_module_of_a_plugin:Suite", "crucibench.suites")
    known = registry.suites()
    monkeypatch.setitem(known._points, "broken", [broken])
    rows = _json(call("list", "suites", "--format", "json"))
    (row,) = [row for row in rows if row["name"] == "broken"]
    assert "No module named 'no_such_module_of_a_plugin'" in row["error"]
    assert next(row for row in rows if row["name"] == "accuracy")["error"] == ""
    result = call("list")
    assert result.exit_code == 0
    assert "can't be loaded" in result.stdout
    assert "no_such_module_of_a_plugin" in result.stderr
    assert call("doctor").exit_code == 1


def test_every_kind_is_listed_and_an_empty_one_is_no_problem(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = registry.Kind("crucibench.no_such_group", "thing", "Things")
    monkeypatch.setitem(registry.KINDS, "things", empty)
    assert _json(call("list", "things", "--format", "json")) == []
    assert call("list", "things").stderr == "no things are registered\n"
    checks = _json(call("doctor", "--format", "json"))
    (check,) = [check for check in checks if check["what"] == "things"]
    assert (check["state"], check["detail"]) == ("ok", "none is registered")
    assert {check["what"] for check in checks} >= set(registry.KINDS)
    help_text = " ".join(call("list", "--help").stdout.split())
    assert all(kind in help_text for kind in registry.KINDS if kind != "things")
    monkeypatch.setitem(registry.KINDS, "things", empty._replace(required=True))
    assert call("doctor").exit_code == 1


def test_list_runs(call: Call, run: Path) -> None:
    (row,) = _json(call("list", "runs", "--format", "json"))
    assert row["run"] == run.name
    assert row["models"] == ["logistic", "talkative"]
    assert row["finished"] is True
    assert row["suspect"] >= 1
    (run / "spec.yaml").write_text("[", encoding="utf-8")
    result = call("list", "runs")
    assert result.exit_code == 0
    assert "has no readable spec" in result.stderr
    empty = call("list", "runs", "--out", "nowhere")
    assert empty.stderr == "there is no run in 'nowhere' yet\n"


# leaderboard, report, score, verify


def test_leaderboard(call: Call, run: Path) -> None:
    board = call("leaderboard", "latest", "--sort", "top-1")
    assert board.exit_code == 0, board.stderr
    assert "logistic" in board.stdout
    assert "constant-prediction" in board.stderr
    (document,) = _json(call("leaderboard", "--format", "json"))["boards"]
    assert document["order"] == ["logistic", "talkative"]
    rows = _csv(
        call("leaderboard", run.name, "--column", "accuracy/clean/top-1", "--format", "csv", "-q")
    )
    assert [row["metric"] for row in rows] == ["top-1", "top-1"]
    assert call("leaderboard", "--format", "md").stdout.startswith("# Leaderboard")
    refused = call("leaderboard", "--sort", "accuracy/clean/top-2")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: unknown column 'accuracy/clean/top-2'")


def test_report(call: Call, run: Path) -> None:
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    result = call("report")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{Path('results') / run.name / 'report.html'}\n"
    assert (run / "report.html").read_bytes() == before
    copied = call("report", "-o", "copies/report.html")
    assert copied.stdout == f"{Path('copies/report.html')}\n"
    assert Path("copies/report.html").read_bytes() == before


def test_score_and_verify(call: Call, run: Path) -> None:
    sound = call("verify", "latest")
    assert sound.exit_code == 0, sound.output
    assert sound.stdout == ""
    assert f"run {run.name} is sound" in sound.stderr
    metrics = (run / "metrics.parquet").read_bytes()
    scored = call("score")
    assert scored.exit_code == 0, scored.stderr
    assert "all as before" in scored.stderr
    assert "logistic" in scored.stdout
    assert (run / "metrics.parquet").read_bytes() == metrics
    assert call("verify").exit_code == 0


def test_a_changed_number_is_found_and_scored_away(call: Call, run: Path) -> None:
    frame = pd.read_parquet(run / "metrics.parquet")
    place = frame.index[frame["value"].notna()][0]
    frame.loc[place, "value"] = 0.123
    frame.to_parquet(run / "metrics.parquet")
    differs = call("verify")
    assert differs.exit_code == 1
    assert "value is" in differs.stdout
    scored = call("score", "-q")
    assert scored.stderr == ""
    assert call("verify").exit_code == 0


def test_a_changed_record_is_found_and_not_scored_away(call: Call, run: Path) -> None:
    (record,) = run.glob("cells/logistic.*/records-*.parquet")
    pd.read_parquet(record).iloc[::-1].to_parquet(record)
    result = call("verify", "--format", "json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["sound"] is False
    assert document["differences"] == [
        f"{record.relative_to(run).as_posix()}: its content has changed"
    ]
    scored = call("score")
    assert scored.exit_code == 4
    assert "is not as its manifest says" in scored.stderr
    assert call("verify").exit_code == 1


def test_an_unfinished_run_is_unreadable(call: Call, run: Path) -> None:
    (run / "manifest.json").unlink()
    for verb in ("verify", "score", "leaderboard", "report"):
        result = call(verb)
        assert result.exit_code == 4, verb
        assert result.stderr == (
            f"error: run {str(Path('results') / run.name)!r} has no manifest: it was not finished; "
            "run the same command again to resume\n"
        )
    assert not (run / "manifest.json").is_file()


# schema


def test_the_schema_of_a_spec(call: Call) -> None:
    schema = _json(call("schema"))
    assert set(schema["properties"]) == set(Spec.model_fields)
    assert schema["additionalProperties"] is False
    settings = schema["properties"]["suites"]["properties"]
    assert set(settings) == set(registry.suites().names())
    assert schema["$defs"]["Track"]["properties"]["settings"]["properties"] == settings
    for reference in re.findall(r'"\$ref": "#/\$defs/(\w+)"', json.dumps(schema)):
        assert reference in schema["$defs"]
    # `30m` is a number too, and an editor that checks the file must not say otherwise.
    kinds = schema["$defs"]["Defaults"]["properties"]["timeout"]["anyOf"]
    assert kinds == [{"type": "number"}, {"type": "string"}]
    name = settings["accuracy"]["$ref"].rpartition("/")[2]
    assert schema["$defs"][name]["additionalProperties"] is False


# doctor


def test_doctor(call: Call, folder: Path) -> None:
    result = call("doctor", "--format", "json")
    checks = {check["what"]: check for check in json.loads(result.stdout)}
    assert result.exit_code == 0, result.stdout
    assert result.stderr == "nothing is in the way of a run\n"
    assert checks["torch"]["state"] == "ok"
    assert "accuracy" in checks["suites"]["detail"]
    assert {check["state"] for check in checks.values()} <= {"ok", "absent"}
    for what, check in checks.items():
        if check["state"] == "absent":
            extra = what.removeprefix("extra ")
            assert f'pip install "crucibench[{extra}]"' in check["detail"]
    assert not (folder / "results").exists()


def test_doctor_imports_what_it_names(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "torchvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')", encoding="utf-8"
    )
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    result = call("doctor", "--format", "json")
    (check,) = [one for one in json.loads(result.stdout) if one["what"] == "extra vision"]
    assert (result.exit_code, check["state"]) == (1, "problem")
    assert check["detail"] == (
        "torchvision is installed and can't be imported: RuntimeError: operator torchvision::nms "
        "does not exist"
    )


def test_doctor_finds_a_folder_that_can_not_be_written_to(call: Call, folder: Path) -> None:
    (folder / "file").touch()
    result = call("doctor", "--out", "file/results")
    assert result.exit_code == 1
    assert result.stderr == "problems: results folder\n"
    assert "'file' is not a folder" in result.stdout


@pytest.mark.parametrize("verb", ["leaderboard", "report", "compare"])
def test_a_changed_run_is_not_shown_as_if_it_were_sound(
    call: Call, finished: Path, tmp_path: Path, verb: str
) -> None:
    run = tmp_path / "changed" / finished.name
    shutil.copytree(finished, run)
    (path, *_) = sorted(run.glob("cells/*/cell.json"))
    cell = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**cell, "verdict": "valid", "findings": []}), encoding="utf-8")
    result = call(verb, str(run), *([str(finished)] if verb == "compare" else []))
    assert result.exit_code == 4
    assert result.stdout == ""
    assert f"run {run.name} is not as its manifest says: cells/" in result.stderr
    assert len(result.stderr.splitlines()) == 1


STUMP = """
def stump():
    from sklearn.datasets import load_wine
    from sklearn.tree import DecisionTreeClassifier

    data = load_wine(as_frame=True)
    return DecisionTreeClassifier(max_depth=1).fit(data.data[::2], data.target[::2])
"""


def test_a_table_ends_with_what_was_claimed(call: Call, folder: Path) -> None:
    (folder / "stump.py").write_text(STUMP, encoding="utf-8")
    command = (
        "run", "--suite", "accuracy", "--data", "sklearn:wine",
        "--model", "sklearn:models.py:logistic", "--model", "sklearn:stump.py:stump",
    )  # fmt: skip
    assert (
        "Ship logistic: it is better than stump in accuracy by 29.2 points" in call(*command).stdout
    )
    policy = folder / "policy.yaml"
    policy.write_text("required: [{address: '*:accuracy/clean/top-1', floor: 0.999}]")
    place = call("report", "--policy", str(policy)).stdout.strip()
    assert "No model may ship" in Path(place).read_text(encoding="utf-8")
    assert "better than" not in call(*command, "-q").stdout
    assert "better than" not in call(*command, "--format", "csv").stdout


ASKED, FAST, DERIVED, LEFT_OUT = "cnn.wine.pass.1", "mlp.wine.pass.2", "cnn.wine.accuracy.3", "x.4"


def _cell(name: str, model: str, suite: str, **facts: Any) -> CellFile:
    return CellFile(
        cell=name, model=model, data="wine", suite=suite, scenario="test", version=1,
        role="test", points=[""], n=178,
        **{"kind": "mapped", "status": Status.OK, "verdict": Verdict.VALID, **facts},
    )  # fmt: skip


@pytest.fixture
def made(folder: Path) -> Layout:
    """Returns a run of four cells, one of them derived and one skipped."""
    layout = Layout(folder / "results" / "3f2ab91c04d7")
    for file in (
        _cell(ASKED, "cnn", "pass"),
        _cell(FAST, "mlp", "pass", verdict=Verdict.SUSPECT),
        _cell(DERIVED, "cnn", "accuracy", kind="derived"),
        _cell(LEFT_OUT, "x", "accuracy", status=Status.SKIPPED, verdict=None, reason="no role"),
    ):
        layout.cell(file.cell).mkdir(parents=True)
        write_cell(layout.cell_file(file.cell), file)
    write_json(layout.timing(ASKED), {
        "seconds": 14.0, "cpu_seconds": 20.5, "device_seconds": None, "forwards": 1200,
        "backwards": 300, "peak_memory": 3 * 2**30, "tasks": 2, "attempts": 2, "cached": False,
    })  # fmt: skip
    write_json(layout.timing(FAST), {
        "seconds": 2.0, "cpu_seconds": 1.5, "device_seconds": None, "forwards": 178,
        "backwards": 0, "peak_memory": 200 * 2**20, "tasks": 1, "attempts": 1, "cached": True,
    })  # fmt: skip
    layout.spec.write_text("schema_version: 1\n", encoding="utf-8")
    layout.environment.mkdir()
    write_json(layout.environment / "main.json", {"device": "cpu"})
    return layout


# Devices' seconds are unknown, a derived
# cell costs nothing that anybody noted.
@pytest.mark.parametrize("form", ["txt", "json", "csv", "md"])
def test_the_output_is_the_golden_one(
    call: Call, made: Layout, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None],
    form: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "140")
    shown = call("show", "--costs", *(() if form == "txt" else ("--format", form)))
    assert shown.exit_code == 0, shown.stderr
    golden(f"show/costs.{form}", shown.stdout)


# costs


def test_costs_leave_columns_out_where_there_is_no_room(
    call: Call, made: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    narrow = call("show", "--costs").stdout.splitlines()
    assert max(map(len, narrow)) <= 80
    assert "attempts" not in narrow[1]


def test_costs_of_a_run_that_knows_wall_seconds_alone(call: Call, made: Layout) -> None:
    for cell in (ASKED, FAST):
        write_json(made.timing(cell), {"seconds": 1.5})
    made.timing(DERIVED).write_text("{", encoding="utf-8")
    shown = call("show", "--costs").stderr
    assert f"{DASH}: only wall seconds are known: the run holds no other costs." in shown
    document = _json(call("show", "--costs", "--format", "json"))
    assert (document["total"]["seconds"], document["total"]["forwards"]) == (3.0, None)


def test_device_seconds_of_some(call: Call, made: Layout) -> None:
    timing = json.loads(made.timing(ASKED).read_text(encoding="utf-8"))
    write_json(made.timing(ASKED), {**timing, "device_seconds": 9.5})
    shown = call("show", "--costs").stderr
    assert f"{DASH}: device seconds are measured where" in shown
    assert _json(call("show", "--costs", "--format", "json"))["total"]["device_seconds"] == 9.5


# a cell


def test_the_costs_of_a_cell(call: Call, made: Layout) -> None:
    shown = call("show", "--cell", "cnn.wine.pass").stdout
    cost = [line.split() for line in shown.partition("\nCost\n")[2].splitlines()]
    assert ["forwards", "1,200"] in cost
    assert ["peak", "memory", "3.0", "GiB"] in cost
    assert ["device", DASH] in cost
    assert any(line[:4] == ["note", "no", "device", "seconds:"] for line in cost)
    document = _json(call("show", "--cell", "cnn.wine.pass", "--format", "json"))
    assert document["costs"]["tasks"] == 2
    assert document["seconds"] == 14


def test_the_log_of_a_cell(call: Call, made: Layout) -> None:
    log = made.cell(ASKED) / "log.txt"
    log.write_bytes(b"\x1b[31mred\x1b[0m\n 50 %\r100 %\r\n\x1b]0;title\x07\xff no end")
    result = call("show", "--cell", ASKED, "--log")
    assert result.exit_code == 0
    assert result.stdout == "red\n 50 %\n100 %\n\\u001b]0;title\\u0007\ufffd no end\n"
    assert result.stderr == ""
    document = _json(call("show", "--cell", ASKED, "--log", "--format", "json"))
    assert document == {"cell": ASKED, "log": result.stdout}


def test_a_cell_without_a_log(call: Call, made: Layout) -> None:
    result = call("show", "--cell", FAST, "--log")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == (
        f"cell {FAST} has no log: nothing was printed while it was collected\n"
    )
    assert _json(call("show", "--cell", FAST, "--log", "--format", "json"))["log"] is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--log"], "--log goes with --cell"),
        (["--spec", "--costs"], "expected one of --costs and --spec, not both"),
        (["--cell", ASKED, "--costs"], "expected one of --cell and --costs, not both"),
        (
            ["--cell", ASKED, "--log", "--format", "csv"],
            "--log is text: expected --format table or json, got csv",
        ),
    ],
)
def test_mistakes(call: Call, made: Layout, arguments: list[str], sentence: str) -> None:
    result = call("show", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


TABLE = Table(
    title="Numbers, and a title that is longer than the table below it",
    columns=("name", "n", "value"),
    rows=[["a|b", 1234, 0.5], ["=cmd()", None, float("nan")], [["x", "y"], 3, {"test": 4}]],
)


@pytest.mark.parametrize("form", get_args(Format))
def test_formats(form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    emit(form, [{"n": np.int64(3), "value": float("nan")}], [TABLE])
    printed = capsys.readouterr()
    assert printed.err == ""
    expected = {
        "json": '[\n  {\n    "n": 3,\n    "value": null\n  }\n]\n',
        "csv": 'name,n,value\na|b,1234,0.5\n\'=cmd(),,\nx y,3,"{""test"": 4}"\n',
        "md": (
            "## Numbers, and a title that is longer than the table below it\n\n"
            "| name | n | value |\n| --- | --- | --- |\n"
            "| a\\|b | 1,234 | 0.5 |\n| =cmd\\(\\) |  | nan |\n| x, y | 3 | test 4 |\n"
        ),
    }
    if form in expected:
        assert printed.out == expected[form]
        return
    title, head, rule, *rows = printed.out.splitlines()
    assert title == TABLE.title
    assert head.split() == ["name", "n", "value"]
    assert set(rule) == {"─"}
    assert [row.split() for row in rows] == [
        ["a|b", "1,234", "0.5"], ["=cmd()", "nan"], ["x,", "y", "3", "test", "4"]
    ]  # fmt: skip
    assert all(line == line.rstrip() for line in printed.out.splitlines())


def test_plain_is_json() -> None:
    found = plain({"a": (1, np.float64("inf")), "b": {2}, "c": None, "d": True, "e": 0.5})
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "a": [1, "inf"], "b": [2], "c": None, "d": True, "e": 0.5
    }  # fmt: skip


def test_run_show_and_report_decide_by_a_policy(call: Call, finished: Path, folder: Path) -> None:
    rule = {"address": "*:accuracy/clean/top-1", "floor": 0.999}
    policy = {"schema_version": 1, "required": [rule]}
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    shown = [
        call("show", str(finished), *more).stdout for more in ((), ("--policy", "policy.yaml"))
    ]
    decided = shown[1].partition("\n\n")[0]
    assert decided != shown[0].partition("\n\n")[0] and "policy" in decided
    command = ("--model", "logistic=sklearn:models.py:logistic", "--data", "sklearn:wine")
    ran = call("run", *command, "--suite", "accuracy", "--policy", "policy.yaml")
    assert ran.exit_code in {0, 4} and "policy" in ran.stdout.partition("\n\n")[0], ran.stderr
    (report,) = folder.glob("results/*/report.html")
    assert "policy" in report.read_text(encoding="utf-8")
    for other in ("--metrics", "--format=json"):
        assert call("show", str(finished), "--policy", "policy.yaml", other).exit_code == 2
    assert call("run", *command, "--policy", "none.yaml", "--out", "no").exit_code == 2
    assert not (folder / "no").exists()
