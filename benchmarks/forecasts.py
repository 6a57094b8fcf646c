"""Do forecasts of a run's time hold what it then takes?

Small whole runs in this process, of tables of several sizes and two models each, which wait a fixed
time a sample, so that the load is constant.
The forecast that a terminal would show is kept as it comes, with what the run took from then on.
Each run is a line of a file in the work folder: a benchmark that was cut off goes on. How wide a
range is was chosen on the runs of seeds 0 to 59; other seeds are measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from _report import load, publish, table

import crucibench as cb
from crucibench.cli._forecast import Forecast
from crucibench.engine.listener import Listener


class _Watch(Listener):
    """Keeps each forecast that is shown, and when; and when the last work was done."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, float, float]] = []
        self.ended = 0.0

    def planned(self, plan: Any, inspection: Any) -> None:
        self.forecast = Forecast(plan, inspection.seconds_per_sample, time.perf_counter())

    def advanced(self, cell: Any, samples: int) -> None:
        self._note(cell.id, samples)

    def finished(self, cell: Any) -> None:
        self._note(cell.cell, None)

    def _note(self, cell: str, samples: int | None) -> None:
        self.ended = time.perf_counter()
        self.forecast.advance(cell, samples, self.ended)
        if (found := self.forecast.news()) is not None:
            self.shown.append((self.ended, *found))


def _slow(seconds: float) -> Callable[[Any], Any]:
    """Returns a model that takes so long a sample, whatever else the machine does."""

    def answer(rows: Any) -> Any:
        time.sleep(seconds * len(rows))
        high = 1.0 / (1.0 + np.exp(4.5 - rows.to_numpy(dtype=float).sum(axis=1)))
        return np.stack([1.0 - high, high], axis=1)

    return answer


def one_run(seed: int) -> dict[str, Any]:
    """Returns the forecasts of a run, each with the seconds that it then took."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([100, 200, 300]))
    y = rng.integers(0, 2, n)
    X = pd.DataFrame(rng.normal(y[:, None] * 1.5, 1.0, (n, 6)), columns=list("abcdef"))
    models = {f"m{at}": _slow(float(rng.choice([1e-4, 3e-4, 1e-3]))) for at in range(2)}
    watch = _Watch()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cb.run(
            models=models, data=X.assign(target=y), data_options={"target": "target"},
            suites=["accuracy", "shift"], out=folder, listener=watch,
            cache=False, defaults={"replicates": 100, "batch_size": 32},
        )  # fmt: skip
    return {"seed": seed, "shown": [(low, high, watch.ended - at) for at, low, high in watch.shown]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--first", type=int, default=60, help="the first seed")
    parser.add_argument("--work", type=Path, default=Path("results/forecasts"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "done.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    seeds = range(options.first, options.first + options.runs)
    known = {entry["seed"]: entry for entry in map(json.loads, lines)}
    done = {seed: known[seed] for seed in seeds if seed in known}
    for seed in seeds:
        if seed not in done:
            done[seed] = one_run(seed)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[seed]) + "\n")
    rows = []
    shown = [entry["shown"] for entry in done.values() if entry["shown"]]
    groups = {
        "first": [each[0] for each in shown], "last": [each[-1] for each in shown],
        "all": [one for each in shown for one in each],
    }  # fmt: skip
    for name, found in groups.items():
        held = sum(low <= took <= high for low, high, took in found)
        wide = median(high / low for low, high, _ in found) if found else float("nan")
        off = median(took / (low * high) ** 0.5 for low, high, took in found) if found else 0.0
        rows.append([name, len(found), held, f"{wide:.2f}", f"{off:.2f}"])
    header = [
        "forecast",
        "ranges",
        "held",
        "upper over lower (median)",
        "took over middle (median)",
    ]
    lines = [
        *table(header, rows),
        "",
        f"{len(done) - len(shown)} of {len(done)} runs showed none. {load()}",
    ]
    publish("forecasts", "Forecasts of a run's time", lines)


if __name__ == "__main__":
    main()
