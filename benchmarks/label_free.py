"""Estimates of accuracy without labels, held against the truth on corrupted digits and shapes.

The samples are split in two: home, clean and labelled, and the rest, under each of the 15 common
corruptions at severities 1 to 5, whose labels only the truth is read from. Each model, corruption
and severity is a case. Samples are corrupted by the shift suite, and the estimates are its own.

Run it from a checkout: ``python benchmarks/label_free.py [--samples N] [--severities 1 3 5]``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from _report import publish, table

import crucibench as cb
import crucibench_adapters
from crucibench.contracts.data import Samples
from crucibench.contracts.task import Decision
from crucibench.metrics.label_free import (
    average_confidence_statistic,
    average_thresholded_confidence_statistic,
    difference_of_confidences_statistic,
)
from crucibench.tasks.classification.view import outcome_columns, view_of_outcomes

DEMO = Path(crucibench_adapters.__file__).parent / "demo"
SHAPES = "synthetic:shapes?spurious=colour&strength=0.95&test_strength=0.95&n=2000&train=1"
TRACKS = {
    "digits": ("sklearn:digits?split=0.3", {"cnn": "cnn", "cnn-adversarial": "cnn", "mlp": "mlp"}),
    "shapes": (SHAPES, {"shapes-shortcut": "shapes_cnn", "shapes-untied": "shapes_cnn"}),
}
METHODS = {
    "average confidence": average_confidence_statistic,
    "difference of confidences": difference_of_confidences_statistic,
    "thresholded confidence": average_thresholded_confidence_statistic,
}
HOME = "accuracy of home"


def main() -> None:
    """Runs all cases and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--severities", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    given = parser.parse_args()
    rows = []
    for data, (address, factories) in TRACKS.items():
        models = {
            name: f"torch:{DEMO}/models.py:{factory}?weights={DEMO}/{name}.safetensors"
            for name, factory in factories.items()
        }
        with tempfile.TemporaryDirectory() as folder:
            run = cb.run(
                models=models, data=address, suites=["shift"], out=folder, workers=0, cache=False,
                settings={
                    "shift.corruptions": ["common"], "shift.severities": given.severities,
                    "shift.samples": given.samples,
                },
            )  # fmt: skip
            for model in models:
                rows.append([data, model, *summary(cases(run, model))])
    lines = [
        f"Home: one half of at most {given.samples:,} samples, clean, with labels. Here: the other "
        "half under each of the 15 common corruptions at severities "
        f"{', '.join(map(str, given.severities))}, without. "
        "Errors are absolute, in points of accuracy: mean (largest) over the cases of a model. "
        f"'{HOME}' is what an estimate has to beat: nothing has changed.",
        "",
        *table(["data", "model", "cases", "true accuracy, mean", HOME, *METHODS], rows),
        "",
        "None of them is to be trusted blindly: each assumes something that unlabelled data can't "
        "prove, and is off where that fails.",
    ]
    publish("label-free", "Accuracy estimated without labels", lines, "torch")


def cases(run: cb.Run, model: str) -> list[tuple[float, dict[str, float]]]:
    """Returns the truth and the estimates of each corruption and severity of a model."""
    task = next(iter(run.cards.values())).task
    cells = {cell.scenario: cell for cell in run.cells.values() if cell.model == model}
    frame = run.records(cells["test"].cell).set_index("id")
    first = next(cell for cell in cells.values() if "corruption" in cell.parameters)
    ids = sorted(set(run.records(first.cell)["id"]))
    half = np.arange(len(ids)) % 2 == 0  # ids are hashes: every other one is a random half
    samples = run.samples(next(iter(run.cards)), "test")
    targets = pd.Series(samples.targets, index=samples.ids).loc[ids].to_numpy()
    # What a view is read with: samples and decision rule.
    asked: Any = SimpleNamespace(
        samples=Samples(np.array(ids, dtype=object), targets, pd.DataFrame(index=range(len(ids)))),
        model=SimpleNamespace(decision=Decision()),
    )
    clean = outcome_columns(np.stack(frame.loc[ids, "scores"].to_list()), "logits", targets)
    home = view_of_outcomes(clean, asked, task)
    found = []
    for cell in cells.values():
        if "corruption" not in cell.parameters:
            continue
        records = run.records(cell.cell)
        for _, part in records.groupby("point"):
            rows = part.set_index("id").loc[ids]
            columns = {name: rows[name].to_numpy() for name in ("prediction", "score", "loss")}
            here = view_of_outcomes(columns, asked, task)
            estimates = {
                name: build(
                    home.known_confidence[half], home.correct[half], here.known_confidence[~half]
                )
                .value().value
                for name, build in METHODS.items()
            }  # fmt: skip
            estimates[HOME] = float(home.correct[half].mean())
            known = {name: value for name, value in estimates.items() if value is not None}
            found.append((float(here.correct[~half].mean()), known))
    return found


def summary(found: list[tuple[float, dict[str, float]]]) -> list[str]:
    """Returns the cells of a model's line."""
    truth = np.array([one for one, _ in found])
    line = [str(len(found)), f"{100 * truth.mean():.1f}"]
    for name in (HOME, *METHODS):
        errors = 100 * np.abs(np.array([estimates[name] for _, estimates in found]) - truth)
        line.append(f"{errors.mean():.1f} ({errors.max():.0f})")
    return line


if __name__ == "__main__":
    main()
