"""What every board does: run a spec, check the run, keep the tables that others read."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

import crucibench as cb
from crucibench.comparing.claims import claims_of
from crucibench.report.leaderboard import leaderboard
from crucibench.report.leaderboard_text import json_text, markdown
from crucibench.store.run import Run

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "results" / "boards"
TABLES = ROOT / "results" / "reference" / "boards"

_NUMBERS = (
    "model", "data", "suite", "scenario", "point", "group", "metric", "value", "lower", "upper",
    "n", "direction", "method", "mark", "verdict", "reason",
)  # fmt: skip
_RECIPES = (
    "model", "data", "suite", "scenario", "point", "metric", "value", "lower", "upper", "n",
    "trainings", "sd_training", "sd_samples", "method", "mark", "reason",
)  # fmt: skip
_PAIRS = ("data", "place", "first", "second", "gain", "lower", "upper", "n", "better", "p_adjusted")


def work_folder(name: str) -> Path:
    """Returns the folder for a board's models, data and run; git ignores it."""
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def publish(
    name: str,
    spec: dict[str, Any],
    *,
    command: str,
    source: str,
    facts: dict[str, Any] | None = None,
) -> Run:
    """Runs a spec in the board's folder and writes its tables to results/reference/boards/NAME.

    Args:
        name: the board's.
        spec: as a user writes it; paths are relative to the board's folder.
        command: what makes the board again.
        source: the data with its licence.
        facts: of the data, counted by plain code, that `about.json` keeps.

    Raises:
        SystemExit: if something failed or is not sound: nothing is published then.
    """
    folder = work_folder(name)
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    began = time.perf_counter()
    done = _crucibench(folder, "run", "--quiet", "spec.yaml", "--out", "runs")
    if done.returncode not in {0, 4}:
        raise SystemExit(done.stderr)
    root = max((folder / "runs").glob("*/manifest.json"), key=os.path.getmtime).parent
    checked = _crucibench(folder, "verify", "--quiet", str(root))
    if checked.returncode:
        raise SystemExit(checked.stdout + checked.stderr)
    run = cb.load(root)
    write_tables(name, run, command=command, source=source, facts=facts)
    print(f"{TABLES / name}: {time.perf_counter() - began:.0f} s")
    return run


def write_tables(
    name: str, run: Run, *, command: str, source: str, facts: dict[str, Any] | None = None
) -> None:
    """Writes the tables of a run that is finished and sound."""
    tables = TABLES / name
    shutil.rmtree(tables, ignore_errors=True)
    tables.mkdir(parents=True)
    shutil.copy(work_folder(name) / "spec.yaml", tables)
    _write(tables / "numbers.csv", _NUMBERS, run.metrics().to_dict("records"))
    _write(tables / "recipes.csv", _RECIPES, run.recipes().to_dict("records"))
    _write(tables / "pairs.csv", _PAIRS, _pairs(run))
    board = leaderboard([run], ranked=True)
    _write(
        tables / "ranks.csv",
        ("data", "model", "address", "value", "lower", "upper", "n", "rank_lower", "rank_upper"),
        [number for one in json.loads(json_text(board))["boards"] for number in one["numbers"]],
    )
    (tables / "leaderboard.md").write_text(markdown(board), encoding="utf-8")
    cells = sorted(run.cells.values(), key=lambda cell: (cell.model, cell.suite, cell.scenario))
    about = {
        "command": command,
        "source": source,
        "facts": facts or {},
        "crucibench": run.manifest["crucibench_version"],
        "digest": run.digest,
        "processor_seconds": round(
            sum(
                json.loads(path.read_text()).get("cpu_seconds") or 0
                for path in (run.root / "cells").glob("*/timing.json")
            )
        ),
        "not_ok": [
            f"{cell.model} {cell.suite}/{cell.scenario}: {cell.status.value}, {cell.reason}"
            for cell in cells
            if cell.status.value != "ok"
        ],
        "findings": [
            f"{cell.verdict.value}: {cell.model} {cell.suite}/{cell.scenario}: {one.code}"
            for cell in cells
            if cell.verdict is not None and cell.verdict.value != "valid"
            for one in cell.findings
            if one.severity.value != "info"
        ],
    }
    text = json.dumps(about, indent=1, ensure_ascii=False)
    (tables / "about.json").write_text(f"{text}\n", encoding="utf-8")


def _crucibench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crucibench", *words],
        cwd=folder, text=True, capture_output=True, check=False,
    )  # fmt: skip


def _kept(row: dict[str, Any]) -> bool:
    """Says whether a row is kept: all of them, by class and group, would be megabytes."""
    if "/" in row["scenario"]:  # gaps between groups under each change and attack
        return False
    return not row["group"] or (row["scenario"] == "groups" and "," not in row["group"])


def _pairs(run: Run) -> list[dict[str, Any]]:
    """Returns every pair that was tested; `better` is empty where none was shown to be."""
    claims = claims_of(run)
    found = []
    for one in claims.tested:
        row = {key: getattr(one, key) for key in _PAIRS[:8]}
        shown = [
            claim
            for claim in (
                claims.better(one.data, one.place, one.first, one.second),
                claims.better(one.data, one.place, one.second, one.first),
            )
            if claim
        ]
        row["better"] = shown[0].better if shown else ""
        row["p_adjusted"] = shown[0].p_adjusted if shown else ""
        found.append(row)
    return found


def _write(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            if "scenario" not in row or _kept(row):
                writer.writerow([_text(row.get(column)) for column in columns])


def _text(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value
