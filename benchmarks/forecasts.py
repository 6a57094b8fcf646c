"""Do forecasts of a run's time hold what it then takes?

Small whole runs in this process, of tables of several sizes, two models each and several suites.
The forecast that a terminal would show is kept as it comes, with what the run took from then on.
Each run is a line of a file in the work folder: a benchmark that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from _report import load, publish, table
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import crucibench as cb
from crucibench.cli._forecast import Forecast
from crucibench.engine.listener import Listener


class _Watch(Listener):
    """Keeps each forecast that is shown, and when; and when the last work was done."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, float, float]] = []
        self.ended = 0.0

    def planned(self, plan: Any, inspection: Any) -> None:
        self.forecast = Forecast(plan, time.perf_counter())

    def advanced(self, cell: Any, samples: int) -> None:
        self._note(cell.id, samples)

    def finished(self, cell: Any) -> None:
        self._note(cell.cell, None)

    def _note(self, cell: str, samples: int | None) -> None:
        self.ended = time.perf_counter()
        self.forecast.advance(cell, samples, self.ended)
        if (found := self.forecast.news()) is not None:
            self.shown.append((self.ended, *found))


def one_run(seed: int) -> dict[str, Any]:
    """Returns the forecasts of a run, each with the seconds that it then took."""
    rng = np.random.default_rng(seed)
    n, columns = int(rng.choice([600, 1500, 3000])), int(rng.choice([5, 20]))
    y = rng.integers(0, 2, n)
    X = pd.DataFrame(rng.normal(y[:, None] * 0.7, 1.0, (n, columns)))
    X.columns = [f"x{at}" for at in range(columns)]
    pool = [LogisticRegression(), RandomForestClassifier(60), KNeighborsClassifier(9)]
    chosen = rng.choice(3, 2, replace=False)
    models = {f"m{at}": pool[at].fit(X[:500], y[:500]) for at in chosen}
    watch = _Watch()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cb.run(
            models=models, data=X.assign(target=y), data_options={"target": "target"},
            suites=["accuracy", *(["shift"] if seed % 3 else [])], out=folder, listener=watch,
            cache=False, defaults={"replicates": 100, "batch_size": 64},
        )  # fmt: skip
    return {"seed": seed, "shown": [(low, high, watch.ended - at) for at, low, high in watch.shown]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--work", type=Path, default=Path("/tmp/forecasts"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "done.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    done = {entry["seed"]: entry for entry in map(json.loads, lines)}
    for seed in range(options.runs):
        if seed not in done:
            done[seed] = one_run(seed)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[seed]) + "\n")
    rows = []
    for which, name in ((0, "first"), (-1, "last")):
        found = [entry["shown"][which] for entry in done.values() if entry["shown"]]
        held = sum(low <= took <= high for low, high, took in found)
        wide = median(high / low for low, high, _ in found) if found else float("nan")
        off = median(took / (low * high) ** 0.5 for low, high, took in found) if found else 0.0
        rows.append([name, len(found), held, f"{wide:.2f}", f"{off:.2f}"])
    silent = sum(not entry["shown"] for entry in done.values())
    header = ["forecast", "runs", "held", "upper over lower (median)", "took over middle (median)"]
    lines = [*table(header, rows), "", f"{silent} of {len(done)} runs showed none. {load()}"]
    publish("forecasts", "Forecasts of a run's time", lines, "scikit-learn")


if __name__ == "__main__":
    main()
