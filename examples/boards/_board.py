"""What every board does: run a spec, check the run, keep the tables that others read."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import skops.io
import torch
import yaml
from safetensors.torch import save

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


def arguments(doc: str, *, source: bool = True) -> argparse.Namespace:
    """Reads the command line of a board: the folder of the data, and how much is asked."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    if source:
        parser.add_argument("source", type=Path, help="the folder of the data")
    parser.add_argument("--attacked", type=int, default=500, help="samples that are attacked")
    parser.add_argument("--preset", choices=("quick", "standard"), default="standard")
    return parser.parse_args()


class Recipe(NamedTuple):
    """How networks of one kind are trained.

    Attributes:
        factory: the function of the board's module that makes one.
        seeds: how many are trained.
        fit: trains a network in place.
    """

    factory: str
    seeds: int
    fit: Callable[[Any], None]


def train(
    folder: Path,
    linear: Mapping[str, Callable[[], Any]],
    module: Path,
    recipes: dict[str, Recipe],
) -> list[dict[str, Any]]:
    """Trains all models that are not in the folder yet, and returns their entries of the spec.

    Args:
        folder: the board's; the module is copied there.
        linear: by name, what fits and returns a model of scikit-learn.
        module: the file with the networks' factories.
        recipes: by name, the networks'; other seeds than the first are named NAME-SEED.
    """
    entries: list[dict[str, Any]] = []
    for name, fitted in linear.items():
        path = folder / f"{name}.skops"
        if not path.is_file():
            skops.io.dump(fitted(), path)
        entries.append({"name": name, "uri": f"sklearn:{path.name}"})
    factories = loaded(Path(shutil.copy(module, folder)))
    for recipe, (factory, seeds, fit) in recipes.items():
        for seed in range(seeds):
            name = f"{recipe}-{seed}" if seed else recipe
            path = folder / f"{name}.safetensors"
            if not path.is_file():
                torch.manual_seed(seed)
                network = getattr(factories, factory)()
                fit(network)
                path.write_bytes(save(network.state_dict()))
            uri = f"torch:{module.name}:{factory}?weights={path.name}"
            entry: dict[str, Any] = {"name": name, "uri": uri, "seed": seed}
            if seed:
                entry["replicate_of"] = recipe
            entries.append(entry)
    return entries


def loaded(path: Path) -> Any:
    """Returns a file of Python as a module; it finds what lies beside it."""
    sys.path.insert(0, str(path.parent))
    place = importlib.util.spec_from_file_location(path.stem, path)
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


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
    began = time.perf_counter()
    root = finished(work_folder(name), "spec", spec)
    run = cb.load(root)
    write_tables(name, run, command=command, source=source, facts=facts)
    print(f"{TABLES / name}: {time.perf_counter() - began:.0f} s")
    return run


def finished(folder: Path, name: str, spec: dict[str, Any]) -> Path:
    """Writes a spec, runs it or resumes its run, verifies that, and returns its folder.

    Args:
        folder: the board's; runs of the spec NAME.yaml lie in its folder `runs`, or `NAME-runs`.
        name: of the spec's file.
        spec: as a user writes it.

    Raises:
        SystemExit: if something failed or is not sound.
    """
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    out = "runs" if name == "spec" else f"{name}-runs"
    done = crucibench(folder, "run", "--quiet", f"{name}.yaml", "--out", out)
    if done.returncode not in {0, 4}:
        raise SystemExit(done.stderr)
    root = max((folder / out).glob("*/manifest.json"), key=os.path.getmtime).parent
    checked = crucibench(folder, "verify", "--quiet", str(root))
    if checked.returncode:
        raise SystemExit(checked.stdout + checked.stderr)
    return root


def write_tables(
    name: str, run: Run, *, command: str, source: str, facts: dict[str, Any] | None = None
) -> None:
    """Writes the tables of a run that is finished and sound."""
    tables = TABLES / name
    shutil.rmtree(tables, ignore_errors=True)
    tables.mkdir(parents=True)
    shutil.copy(work_folder(name) / "spec.yaml", tables)
    write_rows(tables / "numbers.csv", _NUMBERS, run.metrics().to_dict("records"))
    write_rows(tables / "recipes.csv", _RECIPES, run.recipes().to_dict("records"))
    write_rows(tables / "pairs.csv", _PAIRS, _pairs(run))
    board = leaderboard([run], ranked=True)
    write_rows(
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


def crucibench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder and returns what came of it."""
    return subprocess.run(
        [sys.executable, "-m", "crucibench", *words],
        cwd=folder, text=True, capture_output=True, check=False,
    )  # fmt: skip


def _kept(row: Mapping[Any, Any]) -> bool:
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


def write_rows(path: Path, columns: tuple[str, ...], rows: Sequence[Mapping[Any, Any]]) -> None:
    """Writes a table of these columns."""
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
