"""`show --timeline`, `--costs`, `--cell` with costs and `--log`, on a made-up run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from crucibench.cli._timeline import clock
from crucibench.cli.show import memory
from crucibench.contracts.verdict import Status, Verdict
from crucibench.report.format import DASH
from crucibench.store.cells import CellFile, write_cell
from crucibench.store.layout import Layout
from crucibench.util.atomic import write_json

Call = Callable[..., Result]

BEGUN = 1_800_000_000.0
ASKED, FAST, DERIVED, LEFT_OUT = "cnn.wine.pass.1", "mlp.wine.pass.2", "cnn.wine.accuracy.3", "x.4"


def _cell(name: str, model: str, suite: str, **facts: Any) -> CellFile:
    return CellFile(
        cell=name, model=model, data="wine", suite=suite, scenario="test", version=1,
        role="test", points=[""], n=178,
        **{"kind": "mapped", "status": Status.OK, "verdict": Verdict.VALID, **facts},
    )  # fmt: skip


def _task(begun: float, seconds: float, cell: str, worker: str) -> dict[str, Any]:
    return {
        "time": BEGUN + begun + seconds, "event": "task", "cell": cell, "kind": "shard",
        "worker": worker, "begun": BEGUN + begun, "seconds": seconds,
    }  # fmt: skip


def _event(time: float, event: str, **facts: Any) -> dict[str, Any]:
    return {"time": BEGUN + time, "event": event, **facts}


LOG = [
    _event(0, "started", cells=4, executor="local", workers=2, resumed=False),
    _event(0, "cell-started", cell=ASKED, model="cnn", data="wine", scenario="pass/test"),
    _event(0, "cell-started", cell=FAST, model="mlp", data="wine", scenario="pass/test"),
    _task(0, 8, ASKED, "local-1"),
    _task(0, 2, FAST, "local-2"),
    _event(4, "cell", cell=FAST, status="ok", verdict="suspect"),
    _event(10, "interrupted"),
    _event(7210, "started", cells=4, executor="local", workers=2, resumed=True),
    _event(7210, "cell-started", cell=ASKED, model="cnn", data="wine", scenario="pass/test"),
    _event(7211, "retried", cell=ASKED, attempt=1, reason="signal 9"),
    _task(7212, 6, ASKED, "local-2"),
    _event(7220, "cell", cell=ASKED, status="ok", verdict="valid"),
    _event(7220, "cell", cell=LEFT_OUT, status="skipped", verdict=None),
    _event(7220, "finished"),
]


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
    lines = [json.dumps(line) for line in LOG]
    layout.events.write_text("\n".join([*lines, '{"time": 18']), encoding="utf-8")
    return layout


def _json(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# A timeline of twenty seconds takes 39 columns, and one for the pause: tasks ran from 0 to 8 and
# from 12 to 18 s. Devices' seconds are unknown, a derived cell costs nothing that anybody noted.
@pytest.mark.parametrize("form", ["txt", "json", "csv", "md"])
@pytest.mark.parametrize("view", ["timeline", "costs"])
def test_the_output_is_the_golden_one(
    call: Call, made: Layout, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None],
    view: str, form: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "140")
    shown = call("show", f"--{view}", *(() if form == "txt" else ("--format", form)))
    assert shown.exit_code == 0, shown.stderr
    golden(f"show/{view}.{form}", shown.stdout)


# timeline


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_timeline_fits_the_terminal(
    call: Call, made: Layout, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = call("show", "--timeline").stdout
    assert max(len(line) for line in shown.splitlines()) <= width
    assert max(line.count("█") for line in shown.splitlines()) >= 5
    assert ("workers  tasks" in shown) == (width >= 100)


def test_the_timeline_of_a_run_that_is_under_way(call: Call, made: Layout) -> None:
    lines = [json.dumps(line) for line in LOG[:5]]
    made.events.write_text("\n".join([*lines, ""]), encoding="utf-8")
    shown = call("show", "--timeline").stdout.splitlines()
    assert shown[0].endswith(": 8.0 s with 2 workers (local), 62 % of their time in tasks")
    assert shown[1] == "It has no end yet: it is under way, or was killed."
    assert sum("under way" in line for line in shown[2:]) == 2


def test_a_run_without_a_log_has_no_timeline(call: Call, made: Layout) -> None:
    made.events.unlink()
    result = call("show", str(made.root), "--timeline")
    assert result.exit_code == 4
    assert result.stderr.startswith("error: log ")


def test_clock() -> None:
    assert [clock(value) for value in (None, 0, 59.96, 754.32)] == [
        "",
        "0:00.0",
        "1:00.0",
        "12:34.3",
    ]
    assert clock(7384.4, long=True) == "2:03:04"


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
    shown = call("show", "--costs").stdout
    assert f"{DASH}: only wall seconds are known: the run holds no other costs." in shown
    document = _json(call("show", "--costs", "--format", "json"))
    assert (document["total"]["seconds"], document["total"]["forwards"]) == (3.0, None)


def test_device_seconds_of_some(call: Call, made: Layout) -> None:
    timing = json.loads(made.timing(ASKED).read_text(encoding="utf-8"))
    write_json(made.timing(ASKED), {**timing, "device_seconds": 9.5})
    shown = call("show", "--costs").stdout
    assert f"{DASH}: device seconds are measured where" in shown
    assert _json(call("show", "--costs", "--format", "json"))["total"]["device_seconds"] == 9.5


def test_memory() -> None:
    assert [memory(size) for size in (0, 2**20, 2**30, 5 * 2**29)] == [
        "0 MiB", "1 MiB", "1.0 GiB", "2.5 GiB",
    ]  # fmt: skip


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
        (["--timeline", "--costs"], "expected one of --timeline and --costs, not both"),
        (["--cell", ASKED, "--timeline"], "expected one of --cell and --timeline, not both"),
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
