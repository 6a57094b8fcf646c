"""Whether the success of a trigger, and sensitivity to flips, are measured to within error.

    python benchmarks/poison.py [--models 20]

CNNs are trained on shapes, backdoored ones with a trigger in one of twenty images, whose labels
become ``star``. What holds of endless images is taken from 10,000 others.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _report import publish, table
from _shapes import opened, role, trained
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from crucibench.contracts.audit import example_cell, example_evidence
from crucibench.metrics.forms import evaluate
from crucibench.metrics.scoring import rows_of
from crucibench.stats.two_way import two_way
from crucibench_suites.poison.audits import TRIGGER
from crucibench_suites.poison.metrics import SENSITIVITY, SUCCESS, Compared
from crucibench_suites.poison.scan import SUSPECTED, smallest_triggers
from crucibench_suites.poison.scenarios import WithTrigger
from crucibench_suites.poison.triggers import Trigger

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")
TARGET = CLASSES.index("star")
SHARE = 0.05


def flips(groups: int) -> list[list[object]]:
    """Returns sensitivities to flipped labels of recipes, and how often that of one is held.

    Of a model that repeats the label of the nearest train sample it is known: each flipped label
    costs the answers that it made right, and rights a ninth of the others.
    """
    x, y = load_digits(return_X_y=True)
    train = np.arange(len(y)) % 3 > 0
    truth = y[~train]
    lines: list[list[object]] = []
    for name, model, known, repeats in (
        ("nearest neighbour", KNeighborsClassifier(1), True, groups),
        ("20 nearest neighbours", KNeighborsClassifier(20), False, 1),
        ("decision tree", DecisionTreeClassifier(random_state=0), False, 1),
        ("forest of 50", RandomForestClassifier(50, random_state=0), False, 1),
    ):
        clean = model.fit(x[train], y[train]).predict(x[~train]) == truth
        exact = clean.mean() - (1 - clean.mean()) / 9
        held, found, intervals = 0, [], []
        for group in range(repeats):
            rng = np.random.default_rng(group)
            drawn = rng.integers(0, len(truth), len(truth))
            table_ = []
            for share in (0.05, 0.05, 0.1, 0.1, 0.2):
                labels = y[train].copy()
                rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
                labels[rows] = (labels[rows] + rng.integers(1, 10, len(rows))) % 10
                right = model.fit(x[train], labels).predict(x[~train]) == truth
                view = Compared(right[drawn], clean[drawn].astype(float), share)
                table_.append((view.clean - view.right) / share)
                value = evaluate(SENSITIVITY.form(view), len(view))
                assert abs(value - np.mean(table_[-1])) < 1e-9
            both = two_way(np.array(table_))
            interval = both.sources.interval(both.estimate, 0.95)
            assert interval is not None
            held += interval.lower <= exact <= interval.upper
            found.append(both.estimate)
            intervals.append(f"{interval.lower:.2f} to {interval.upper:.2f}")
        lines.append(
            [name, f"{np.mean(found):.2f}", intervals[0], f"{exact:.2f}" if known else "",
             f"{held} of {repeats}" if known else ""]
        )  # fmt: skip
    return lines


def main() -> None:
    """Trains, triggers and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=20, help="of each kind")
    models = parser.parse_args().models
    torch.set_num_threads(1)
    start = time.process_time()
    lines: list[list[object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        data = opened("synthetic:shapes?size=16&train=2000&n=1000", Path(scratch))
        (images, classes), (test, labels) = role(data, "train"), role(data, "test")
        # No draws in common with what is tested: another seed.
        endless, truth = role(opened("synthetic:shapes?size=16&n=10000&train=1&seed=1",
                                     Path(scratch)), "test")  # fmt: skip
        for template in ("patch", "blend"):
            trigger = Trigger(template=template, target="star", size=0.2)  # type: ignore[arg-type]
            scenario = WithTrigger(name="trigger", trigger=trigger)
            for kind in ("backdoored", "clean") if template == "patch" else ("backdoored",):
                covered = found = suspected = 0
                shares, accuracy = [], []
                for seed in range(100, 100 + models):  # the scan's threshold knows others
                    some, named = images.clone(), classes.clone()
                    if kind == "backdoored":
                        chosen = np.random.default_rng(seed).random(len(some)) < SHARE
                        rows = torch.from_numpy(np.flatnonzero(chosen))
                        some[rows], named[rows] = trigger.applied(some[rows]), TARGET
                    model = trained(some, named, seed, epochs=6)
                    with torch.no_grad():
                        asked = (test, trigger.applied(test), trigger.applied(endless))
                        answers = [model(part).argmax(1) for part in asked]
                    value = float((answers[2][truth != TARGET] == TARGET).float().mean())
                    none = np.full(len(test), np.nan)
                    columns = {"prediction": answers[1].numpy(), "score": none, "loss": none,
                               "change": np.ones(len(test))}  # fmt: skip
                    clean = example_cell({"prediction": answers[0].numpy()}, labels.numpy())
                    evidence = example_evidence(
                        example_cell(columns, labels.numpy()), {"clean": clean}, classes=CLASSES
                    )
                    rows_found = rows_of(scenario.numbers(evidence), scenario, evidence)
                    (row,) = (one for one in rows_found if one.metric == SUCCESS.name)
                    assert row.value is not None and row.lower is not None and row.upper is not None
                    covered += row.lower <= value <= row.upper
                    found += bool(TRIGGER.find(evidence, scenario))
                    sizes, _ = smallest_triggers(model, test[:80], len(CLASSES), 0)
                    suspected += sizes.min() / np.median(sizes) < SUSPECTED
                    shares.append(row.value)
                    accuracy.append(float((answers[0] == labels).float().mean()))
                lines.append(
                    [template, kind, f"{min(shares):.3f} to {max(shares):.3f}",
                     f"{covered} of {models}", f"{found} of {models}", f"{suspected} of {models}",
                     f"{np.mean(accuracy):.3f}"]
                )  # fmt: skip
    head = ("trigger", "models", "success", "interval holds endless images'", "trigger-works",
            "suspected by the scan", "clean accuracy")  # fmt: skip
    page = [
        f"{models} CNNs of each kind, trained on 2,000 shapes of 16 x 16 pixels; {100 * SHARE:g} % "
        "of the images of backdoored ones have the trigger and the label star. Success on 1,000 "
        "test images with its 95 % interval; endless images: 10,000 others. The scan knows no "
        "trigger: it suspects where one class's smallest trigger is below "
        f"{SUSPECTED:g} of the median size, which was chosen on twelve other models.",
        "",
        *table(head, lines),
        "",
        "## Flipped labels: five trainings of a recipe",
        "",
        "On two thirds of the digits; a share of labels of 0.05, 0.05, 0.1, 0.1 and 0.2 is flipped "
        "to another class. Sensitivity: accuracy lost by the share flipped. Of the nearest "
        f"neighbour it is known; {5 * models} sets of trainings and of test samples, drawn with "
        "replacement, are held against that. The interval is of the first set.",
        "",
        *table(
            ("recipe", "sensitivity", "95 % interval", "exact", "interval holds it"),
            flips(5 * models),
        ),
        "",
        f"CPU minutes: {(time.process_time() - start) / 60:.1f}.",
    ]
    publish("poison", "Poisoning: planted backdoors and flips", page, "torch",
            "scikit-learn")  # fmt: skip


if __name__ == "__main__":
    main()
