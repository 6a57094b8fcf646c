"""What many cells cost the engine: a finished run asked for again, and a large plan.

The finished run has 200 cells; the command that made it is given again, in turns with a bare
interpreter. Planning is timed for 10,000 cells with a suite that asks nothing, and so is what the
engine does with each planned cell before it runs.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from _report import publish, table

MODELS = 100
ROUNDS = 11
PLANNED_MODELS, PLANNED_DATA, PLANNED_SCENARIOS = 100, 10, 10
_MODEL = """
import numpy as np


def scores(frame):
    return np.tile([0.25, 0.75], (len(frame), 1))
"""
_HEAVY = ("torch", "datasets", "pandas", "matplotlib", "sklearn", "scipy", "pyarrow")
_LOADED = f"""
import sys
from crucibench.cli import main
try:
    main()
finally:
    print("loaded:", *[name for name in {_HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def write_spec(folder: Path) -> Path:
    """Writes models, data and a spec of two cells a model; returns the spec."""
    (folder / "models.py").write_text(_MODEL)
    rows = "\n".join(f"{row},{row % 2}" for row in range(60))
    (folder / "data.csv").write_text(f"x,y\n{rows}\n")
    names = "\n".join(
        f"  - {{name: m{number:03}, uri: 'python:models.py:scores'}}" for number in range(MODELS)
    )
    spec = folder / "spec.yaml"
    spec.write_text(
        "defaults: {replicates: 100, threads: 1}\n"
        f"models:\n{names}\n"
        "data:\n  - {name: d, uri: 'csv:data.csv?target=y'}\n"
        "suites: {accuracy: {}}\n"
    )
    return spec


def seconds(words: Sequence[str]) -> tuple[float, float]:
    """Returns what a command takes on the wall, and of the processor."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def resumed(folder: Path) -> tuple[int, dict[str, list[tuple[float, float]]], str]:
    """Returns the cells of a run, the times to ask for it again, and what that loads."""
    words = ["run", str(write_spec(folder)), "--out", str(folder / "out"), "--suite", "accuracy"]
    command = [sys.executable, "-m", "crucibench", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cells = len(list((folder / "out").glob("*/cells/*/cell.json")))
    loud = subprocess.run(
        [sys.executable, "-c", _LOADED, *words], capture_output=True, text=True, check=True
    )
    loaded = loud.stderr.splitlines()[-1].removeprefix("loaded:").strip() or "none of them"
    commands = {"bare interpreter": [sys.executable, "-c", "pass"], "run again": command}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, each in commands.items():
            times[name].append(seconds(each))
    return cells, times, loaded


def planned(folder: Path) -> dict[str, tuple[int, float]]:
    """Returns how many cells each step took, and the seconds."""
    from crucibench.contracts.data import DataCard
    from crucibench.contracts.evidence import ModelInfo
    from crucibench.contracts.scenario import Derived, Need, Timed
    from crucibench.contracts.suite import Suite, SuiteConfig
    from crucibench.engine.listener import Listener
    from crucibench.engine.plan.cell_files import PlannedFiles, suites_as_data
    from crucibench.engine.plan.plan import make_plan
    from crucibench.engine.resolve.resolve import Overrides, resolve
    from crucibench.engine.resolve.suites import ResolvedSuite
    from crucibench.engine.worker.opening import open_all_data
    from crucibench.passes.scenario import Pass

    @dataclass(frozen=True, kw_only=True)
    class Clock(Timed):
        def rounds(self, context: Any) -> Any:
            return iter(())

    class Stub(Suite):
        name = "stub"
        axis = "none"
        description = "asks nothing"

        def scenarios(self, request: Any) -> Any:
            clean = Need(alias="clean", cell="pass/test")
            return [
                *(
                    Pass(suite="stub", name=f"mapped-{number}", needs=(clean,))
                    for number in range(PLANNED_SCENARIOS - 3)
                ),
                Derived(suite="stub", name="derived", needs=(clean,)),
                Clock(suite="stub", name="clock"),
            ]

    (folder / "models.py").write_text(_MODEL)
    (folder / "data.csv").write_text("x,y\n" + "\n".join(f"{row},{row % 2}" for row in range(60)))
    models = [{"name": f"m{n}", "uri": "python:models.py:scores"} for n in range(PLANNED_MODELS)]
    data = [{"name": f"d{n}", "uri": "csv:data.csv?target=y"} for n in range(PLANNED_DATA)]
    tracks = [
        {"name": one["name"], "data": one["name"], "models": [each["name"] for each in models],
         "suites": ["accuracy"]}
        for one in data
    ]  # fmt: skip
    begun = time.perf_counter()
    resolved = resolve(
        {"models": models, "data": data, "tracks": tracks}, folder, "spec", Overrides()
    )
    steps = {"resolve the spec": (0, time.perf_counter() - begun)}
    opened = open_all_data(
        replace(resolved, tracks=resolved.tracks[:1]), folder / "scratch", Listener(), "spec"
    )["d0"].card
    resolved = replace(
        resolved,
        suites={"stub": ResolvedSuite(Stub(), SuiteConfig())},
        tracks=tuple(track.model_copy(update={"suites": ["stub"]}) for track in resolved.tracks),
    )
    cards: dict[str, DataCard] = {one["name"]: replace(opened, name=one["name"]) for one in data}
    infos = {
        (model["name"], name): ModelInfo(
            name=model["name"], uri=model["uri"], variant="", capabilities=frozenset(),
            score_kind="probabilities", geometry={}, fingerprint={"source": model["name"]},
        )
        for model in models
        for name in cards
    }  # fmt: skip

    def timed(name: str, step: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        found = step()
        steps[name] = (
            len(plan.cells) if name != "plan" else len(found.cells),
            (time.perf_counter() - begun),
        )
        return found

    plan = timed("plan", lambda: make_plan(resolved, infos, cards))
    files = PlannedFiles(plan, 0, {"versions": {}}, lambda *key: "ids", {})
    timed("find cohorts", lambda: list(plan.cohorts()))
    timed("describe the suites", lambda: suites_as_data(resolved, plan))
    timed("digests and files of all cells", lambda: [files.file(cell) for cell in plan])
    timed("cache keys of all cells", lambda: [(files.meaning(c), files.numerics(c)) for c in plan])
    return steps


def _figures(name: str, found: list[tuple[float, float]]) -> tuple[str, ...]:
    walls, processor = zip(*found, strict=True)
    figures = statistics.median(walls), min(walls), max(walls), statistics.median(processor)
    return (name, *(f"{figure:.2f}" for figure in figures))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        steps = planned(Path(name))
    with tempfile.TemporaryDirectory() as name:
        cells, times, loaded = resumed(Path(name))
    count = steps["plan"][0]
    publish(
        "engine-scale",
        "Many cells",
        [
            f"A finished run of {cells} cells, asked for again with the command that made it: "
            f"medians of {ROUNDS} rounds, in turns with a bare interpreter. Budget: 2 s. "
            f"Of {', '.join(_HEAVY)} it loads: {loaded}.",
            "",
            *table(
                ["command", "wall, s", "least", "most", "processor, s"],
                [_figures(name, found) for name, found in times.items()],
            ),
            "",
            f"A plan of {count:,} cells ({PLANNED_MODELS} models, {PLANNED_DATA} data sets), step "
            "by step. Budget for the plan: 5 s.",
            "",
            *table(
                ["step", "seconds"],
                [(name, f"{spent:.2f}") for name, (_, spent) in steps.items()],
            ),
        ],
        "pydantic",
        "pyarrow",
    )


if __name__ == "__main__":
    main()
