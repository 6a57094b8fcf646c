"""Trains the models that ``crucibench demo`` evaluates, and writes them beside their definitions.

Run it from a checkout: ``python examples/train_demo_models.py``. It takes about a minute on two
cores, uses the train role of the harness's own split alone, and prints what the models do on the
test role. What is set by hand here was chosen by cross-validation on the train role. The same
versions of torch and scikit-learn on the same kind of machine give the same weights again.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import skops.io
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

import crucibench_adapters
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import EvalSet
from crucibench.contracts.source import DataOpening
from crucibench.contracts.uri import parse_uri
from crucibench.data.evalset import open_data
from crucibench.registry import sources
from crucibench.util.loading import load_factory, parse_factory

DEMO = Path(crucibench_adapters.__file__).parent / "demo"
EPS = 0.15
SHORTCUT = "synthetic:shapes?spurious=colour&strength=0.95&test_strength=0.95&n=4000"
SHAPES_EPOCHS = 10

Change = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
"""What is done to a batch of images before the model learns from it."""


def main() -> None:
    """Trains all eight, or those of one data set."""
    parser = argparse.ArgumentParser(description="Train the bundled demo models.")
    parser.add_argument("--out", type=Path, default=DEMO, help="where to write the weights")
    parser.add_argument("--only", choices=("digits", "diabetes", "shapes"), help="a data set")
    arguments = parser.parse_args()
    out, only = arguments.out, arguments.only
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # sums in one order, so that the weights are the same each time
    torch.use_deterministic_algorithms(True)
    with tempfile.TemporaryDirectory() as scratch:
        if only in {None, "digits"}:
            digits(out, opened("sklearn:digits?split=0.3", Path(scratch)))
        if only in {None, "diabetes"}:
            diabetes(out, opened("sklearn:diabetes?threshold=140&split=0.3", Path(scratch)))
        if only in {None, "shapes"}:
            shapes(out, Path(scratch))


# Digits.


def digits(out: Path, data: EvalSet) -> None:
    """Trains a CNN, a CNN against an attacker, and an MLP."""
    images, labels = role(data, "train")
    test_images, test_labels = role(data, "test")
    images, test_images = cast("torch.Tensor", images), cast("torch.Tensor", test_images)
    for name, factory, epochs, change in (
        ("cnn", "cnn", 60, moved),
        ("cnn-adversarial", "cnn", 60, moved_and_attacked),
        ("mlp", "mlp", 100, unchanged),
    ):
        model = trained(factory, images, torch.from_numpy(labels), epochs, change)
        (out / f"{name}.safetensors").write_bytes(save(model.state_dict()))
        attacked = pgd(model, test_images, torch.from_numpy(test_labels), eps=0.1, steps=20)
        clean, robust = (accuracy(model, batch, test_labels) for batch in (test_images, attacked))
        print(
            f"{name:16} digits    test accuracy {clean:.3f}, under PGD-20 at eps 0.1 {robust:.3f}"
        )


def trained(
    factory: str, images: torch.Tensor, labels: torch.Tensor, epochs: int, change: Change
) -> nn.Module:
    """Trains with AdamW and one cycle of the learning rate."""
    torch.manual_seed(0)
    model = Canonical(made(factory))
    batches = -(-len(images) // 64)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            batch = change(model.eval(), images[rows], labels[rows])
            logits = model.train()(batch)
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.model.eval()


class Canonical(nn.Module):
    """What the harness makes of a model: pixels in [0, 1] are normalised as it declares."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        declared: dict[str, Any] = getattr(model, "crucibench_input", {})
        self.mean, self.std = declared.get("mean", [0.0])[0], declared.get("std", [1.0])[0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        logits: torch.Tensor = self.model((images - self.mean) / self.std)
        return logits


def unchanged(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Leaves a batch as it is."""
    return images


def moved_and_attacked(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Moves a batch, then attacks it: adversarial training."""
    return pgd(model, moved(model, images, labels), labels)


def moved(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Moves a batch by -1, 0 or 1 pixels each way."""
    down, right = (int(step) for step in torch.randint(-1, 2, (2,)))
    padded = functional.pad(images, (1, 1, 1, 1))
    return padded[:, :, 1 + down : 9 + down, 1 + right : 9 + right]


def pgd(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float = EPS,
    steps: int = 7,
) -> torch.Tensor:
    """Returns images within `eps` of these (Linf) at which the loss is high (Madry et al. 2018)."""
    model = model if isinstance(model, Canonical) else Canonical(model)
    attacked = (images + torch.empty_like(images).uniform_(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        attacked = attacked.detach().requires_grad_()
        loss = functional.cross_entropy(model(attacked), labels)
        (slope,) = torch.autograd.grad(loss, attacked)
        step = attacked.detach() + 2.5 * eps / steps * slope.sign()
        attacked = step.clamp(images - eps, images + eps).clamp(0, 1)
    return attacked.detach()


def accuracy(model: nn.Module, images: torch.Tensor, labels: NDArray[np.int64]) -> float:
    """Returns the share of images that are labelled right."""
    with torch.no_grad():
        predicted = Canonical(model)(images).argmax(dim=1).numpy()
    return float((predicted == labels).mean())


# Shapes.


def shapes(out: Path, scratch: Path) -> None:
    """Trains a CNN where colour gives the shape away, and one where it does not.

    Both are judged where the first was trained: there its average hides that it goes by colour.
    """
    tied = opened(SHORTCUT, scratch)
    untied = opened("synthetic:shapes", scratch)
    test_images, test_labels = role(tied, "test")
    holds = (tied.samples("test").groups["shortcut"] == "holds").to_numpy(copy=True)
    for name, data in (("shapes-shortcut", tied), ("shapes-untied", untied)):
        images, labels = role(data, "train")
        model = trained("shapes_cnn", images, torch.from_numpy(labels), SHAPES_EPOCHS, unchanged)
        (out / f"{name}.safetensors").write_bytes(save(model.state_dict()))
        shares = [accuracy(model, test_images[rows], test_labels[rows])
                  for rows in (holds | True, holds, ~holds)]  # fmt: skip
        print(
            f"{name:16} shapes    test accuracy {shares[0]:.3f}, where the colour tells "
            f"{shares[1]:.3f}, where it misleads {shares[2]:.3f}"
        )


# Diabetes.


def diabetes(out: Path, data: EvalSet) -> None:
    """Trains a logistic regression, a forest and an MLP."""
    names = np.array(data.task.classes)
    frame, labels = role(data, "train")
    test_frame, test_labels = role(data, "test")
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.3))
    forest = RandomForestClassifier(60, max_depth=4, min_samples_leaf=8, random_state=0)
    for name, estimator in (("logistic", logistic), ("forest", forest)):
        estimator.fit(frame, names[labels])
        skops.io.dump(estimator, out / f"{name}.skops", compression=zipfile.ZIP_DEFLATED)
        score = estimator.score(test_frame, names[test_labels])
        print(f"{name:16} diabetes  test accuracy {score:.3f}")
    mlp = tabular(frame, labels)
    (out / "tabular-mlp.safetensors").write_bytes(save(mlp.state_dict()))
    with torch.no_grad():
        predicted = mlp(mlp.encode(test_frame)).ravel().numpy() > 0
    print(f"{'tabular-mlp':16} diabetes  test accuracy {(predicted == test_labels).mean():.3f}")


def tabular(frame: Any, labels: NDArray[np.int64]) -> Any:
    """Trains the MLP on standardised columns."""
    torch.manual_seed(0)
    model: Any = made("tabular_mlp")
    model.mean.copy_(torch.from_numpy(frame.mean().to_numpy(dtype=np.float32, copy=True)))
    model.std.copy_(torch.from_numpy(frame.std().to_numpy(dtype=np.float32, copy=True)))
    encoded, targets = model.encode(frame), torch.from_numpy(labels).float()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1.0)
    for _ in range(30):
        for rows in torch.randperm(len(frame)).split(32):
            logits = model(encoded[rows]).ravel()
            loss = functional.binary_cross_entropy_with_logits(logits, targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


# Both.


def opened(uri: str, scratch: Path) -> EvalSet:
    """Opens a data set as the harness does."""
    parsed = parse_uri(uri)
    opening = DataOpening(name="data", uri=parsed, base=DEMO, scratch=scratch)
    return open_data(sources().get(parsed.scheme)(), opening)


def role(data: EvalSet, name: str) -> tuple[Any, NDArray[np.int64]]:
    """Returns the inputs and targets of a role."""
    samples = data.samples(name)
    return data.batch(name, range(len(samples)), InputSpec()).inputs, samples.targets.copy()


def made(factory: str) -> nn.Module:
    """Makes a model as ``torch:models.py:FACTORY`` does."""
    model: nn.Module = load_factory(parse_factory(f"models.py:{factory}", DEMO))()
    return model


if __name__ == "__main__":
    main()
