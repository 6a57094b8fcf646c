"""A leaderboard and a site of 1,000 runs: seconds, in processes of their own.

One small model is really run; its run directory is copied 1,000 times under other ids, with other
weights, dates and numbers, over twenty-five data sets and twenty models, each measured twice, and
hashed again, so that every copy is a run as any other. What is measured is the command line, from
its start to its end.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from _report import publish, table

from crucibench.store.layout import Layout, slug
from crucibench.store.manifest import remember, write_manifest
from crucibench.store.tables import read_table, write_table
from crucibench.util.hashing import data_digest

COUNT = 1_000
MODELS, DATA = 20, 25
BUDGETS = {"publish --site": 60.0}

MODEL = """
def logistic():
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_wine(as_frame=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target)
"""


def original(folder: Path) -> Path:
    """Runs a model and returns its run directory."""
    (folder / "models.py").write_text(MODEL, encoding="utf-8")
    subprocess.run(
        [
            *(sys.executable, "-m", "crucibench", "run", "-q", "--suite", "accuracy"),
            *("--model", "model=sklearn:models.py:logistic", "--data", "data=sklearn:wine"),
        ],
        cwd=folder, check=True, stdout=subprocess.DEVNULL,
        env={**os.environ, "CRUCIBENCH_CACHE": str(folder / "cache")},
    )  # fmt: skip
    (run,) = (folder / "results").iterdir()
    return run


def copied(run: Path, into: Path, number: int) -> None:
    """Makes a run of its own of a copy: names, fingerprints, digests, numbers and dates differ."""
    name = data_digest(f"run {number}")[:12]
    layout = Layout(into / name)
    shutil.copytree(run, layout.root, ignore=shutil.ignore_patterns(".*", "report.html"))
    model, data = f"model-{number % MODELS}", f"data-{number // MODELS % DATA}"
    (fingerprint,) = {card["fingerprint"] for card in _json(layout.root, "samples/*/card.json")}
    replaced = {fingerprint: data_digest(f"{fingerprint} {data}"), **_cells(layout, model, data)}
    for path in layout.root.rglob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(_renamed(document, model, data), indent=1)
        for old, new in replaced.items():
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    for folder in (layout.cells, layout.root / "tables"):
        for path in list(folder.iterdir()):
            path.rename(folder / replaced[path.name])
    (layout.samples / "data").rename(layout.samples / data)
    spec = layout.spec.read_text(encoding="utf-8")
    for old, new in (
        ("name: model", f"name: {model}"), ("name: data", f"name: {data}"),
        ("- model\n", f"- {model}\n"), ("data: data\n", f"data: {data}\n"),
        ("model:\n      data:", f"{model}:\n      {data}:"),
    ):  # fmt: skip
        spec = spec.replace(old, new)
    layout.spec.write_text(spec, encoding="utf-8")
    models = json.loads(layout.models.read_text(encoding="utf-8"))
    models[0]["model"]["fingerprint"] = {"weights": data_digest(f"weights {number}")}
    layout.models.write_text(json.dumps(models), encoding="utf-8")
    _numbers(layout, model, data, number, replaced)
    event = {"time": 1_700_000_000.0 + 3_600 * number, "event": "started"}
    layout.events.write_text(json.dumps(event) + "\n", encoding="utf-8")
    write_manifest(layout, "0.1.0")
    remember(layout)


def _cells(layout: Layout, model: str, data: str) -> dict[str, str]:
    """Returns what the cells are called where model and data are called otherwise."""
    found = {}
    for cell in _json(layout.cells, "*/cell.json"):
        address = f"{cell['suite']}/{cell['scenario']}"
        digest = data_digest([model, data, address])[:8]
        found[cell["cell"]] = f"{model}.{data}.{slug(address)}.{digest}"
    return found


def _numbers(layout: Layout, model: str, data: str, number: int, cells: Mapping[str, str]) -> None:
    rows = read_table(layout.metrics)
    moved = np.random.default_rng(number).normal(0, 0.01)
    columns: dict[str, Any] = {name: rows[name].to_pylist() for name in rows.column_names}
    for name in ("value", "lower", "upper"):
        columns[name] = [
            None if x is None else float(np.clip(x + moved, 0, 1)) for x in columns[name]
        ]
    columns["cell"] = [cells[name] for name in columns["cell"]]
    columns["model"], columns["data"] = [model] * len(rows), [data] * len(rows)
    columns["comparison_key"] = [data_digest([key, data])[:16] for key in columns["comparison_key"]]
    write_table(layout.metrics, pa.table(columns, schema=rows.schema))


def _json(root: Path, pattern: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in root.glob(pattern)]


def _renamed(document: Any, model: str, data: str) -> Any:
    """Returns a document with the model and the data called otherwise, wherever they are named."""
    if isinstance(document, dict):
        return {
            key: {"model": model, "data": data}.get(value, value)
            if key in {"model", "data", "name"} and isinstance(value, str)
            else _renamed(value, model, data)
            for key, value in document.items()
        }
    return (
        [_renamed(one, model, data) for one in document] if isinstance(document, list) else document
    )


class Taken(NamedTuple):
    """What a command took, in seconds, and the machine's load average at its end."""

    wall: float
    user: float
    system: float
    load: float


def taken(folder: Path, *arguments: str) -> Taken:
    """Returns what a command takes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "crucibench", *arguments],
        cwd=folder, check=True, stdout=subprocess.DEVNULL, env=_environment(folder),
    )  # fmt: skip
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(
        wall,
        after.ru_utime - before.ru_utime,
        after.ru_stime - before.ru_stime,
        os.getloadavg()[0],
    )


def _environment(folder: Path) -> dict[str, str]:
    # Modules are compiled once, as they are where the package is installed.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def report(measured: Mapping[str, Taken], files: int, size: int) -> None:
    """Writes the table."""
    rows = [
        [
            what, f"{one.wall:.1f}", f"{one.user + one.system:.1f}", f"{one.system:.1f}",
            f"{BUDGETS[what]:.0f}" if what in BUDGETS else "none", f"{one.load:.0f}",
        ]
        for what, one in measured.items()
    ]  # fmt: skip
    publish(
        "thousand-runs",
        f"{COUNT:,} runs",
        [
            f"{COUNT:,} run directories of {MODELS} models on {DATA} data sets, every one with "
            "weights and numbers of its own: each of the boards has "
            f"{COUNT // DATA} rows. The commands run in processes of their own, from start to end. "
            "With ranks, the records of all runs are read, and every pair of models of a board is "
            "told apart in every column. Budgets are of seconds on a machine with nothing else to "
            "do; where the load is above the number of cores, the processor's seconds (of the "
            "program and of the system together) tell more than the clock's.",
            "",
            *table(
                ["what", "seconds", "of a processor", "of them system", "budget", "load average"],
                rows,
            ),
            "",
            f"The site has {files:,} files, {size / 1e6:.0f} MB.",
        ],
        "pyarrow", "jinja2",
    )  # fmt: skip


def main() -> None:
    """Measures all, and writes the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = original(folder)
        many = folder / "many"
        for number in range(COUNT):
            copied(run, many, number)
        runs = [str(path) for path in sorted(many.iterdir())]
        taken(folder, "publish", "-q", "--site", "warm", *runs[:1])
        commands = {
            "leaderboard": ("leaderboard", "-q", "--format", "json"),
            "publish --site": ("publish", "-q", "--site", "site"),
        }
        measured = {what: taken(folder, *command, *runs) for what, command in commands.items()}
        files = [path for path in (folder / "site").rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    report(measured, len(files), size)


if __name__ == "__main__":
    main()
