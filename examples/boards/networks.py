"""The board of thirty published networks, from their logged predictions on CIFAR-10.1 v6.

    python examples/boards/networks.py FOLDER

FOLDER holds `cifar10.1_v6_labels.npy` and `NETWORK_predictions.json` (a class index a line) of
https://github.com/modestyachts/CIFAR-10.1 (MIT; Recht et al. 2018). Neither images nor scores are
needed: a sample is named by its place in the labels.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from _board import TABLES, publish, work_folder

CLASSES = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
]  # fmt: skip


def main(source: Path) -> None:
    """Writes the logged predictions as tables, runs them, and checks every accuracy."""
    folder = work_folder("networks")
    labels = np.load(source / "cifar10.1_v6_labels.npy")
    images = [f"v6-{number:04d}" for number in range(len(labels))]
    named = [CLASSES[label] for label in labels]
    _csv(
        folder / "labels.csv",
        ("image", "label", "picture"),
        zip(images, named, images, strict=True),
    )
    models, accuracies = [], {}
    for path in sorted(source.glob("*_predictions.json")):
        answers = np.array(json.loads(path.read_text()))
        name = path.name.removesuffix("_predictions.json")
        said = [CLASSES[answer] for answer in answers]
        _csv(folder / f"{name}.csv", ("image", "prediction"), zip(images, said, strict=True))
        models.append({"name": name, "uri": f"predictions:{name}.csv?id=image"})
        accuracies[name] = float(np.mean(answers == labels))
    publish(
        "networks",
        {
            "schema_version": 1,
            "models": models,
            "data": [
                {"name": "cifar10.1", "uri": "csv:labels.csv?target=label&id=image&input=picture"}
            ],
            "tracks": [
                {
                    "name": "networks",
                    "data": "cifar10.1",
                    "suites": ["accuracy"],
                    "models": list(accuracies),
                },
            ],
        },
        command="python examples/boards/networks.py FOLDER",
        source="CIFAR-10.1 v6, Recht et al. 2018, MIT",
    )
    with (TABLES / "networks" / "numbers.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "top-1"]
    apart = max(abs(float(row["value"]) - accuracies[row["model"]]) for row in rows)
    if len(rows) != len(accuracies) or apart > 1e-9:
        raise SystemExit(f"accuracies differ from a plain mean by up to {apart}")


def _csv(path: Path, columns: tuple[str, ...], rows: Iterable[Iterable[str]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
