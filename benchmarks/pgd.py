"""One gradient attack of 40 steps: APGD-CE, foolbox's PGD and ART's, beside the passes alone.

    pip install --no-deps --target PEER adversarial-robustness-toolbox six tqdm
    python benchmarks/pgd.py --art PEER [--cases cnn:linf:0.1:200:1,...] [--threads 1]

A case is MODEL:NORM:EPS:SAMPLES:RESTARTS. All ask the same live module about the same images, those
that it gets right, in one batch, with as many steps and restarts; the step of both PGDs is 2.5
eps / steps (Madry et al. 2018), APGD's is its own affair. PEER is a folder of its own, of which
only packages that are not installed are taken; ART's numbers go through numpy at every step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import foolbox
import numpy as np
import torch
from _attacked import Bundled, images
from _passes import Asked, Recorded, bare, seconds
from _report import publish, table
from torch import nn

from crucibench.contracts.attack import Norm
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks.apgd import apgd
from crucibench_suites.adversarial.attacks.model import ImagePoints, ModuleOracle, frozen

STEPS = 40
STEP = 2.5 / STEPS
"""Of both PGDs, as a share of eps."""
CASES = (
    "mlp:linf:0.1:400:1,mlp:l2:0.5:400:1,cnn:linf:0.1:200:1,cnn:linf:0.1:200:5,cnn:l2:0.5:200:1,"
    "cnn-adversarial:linf:0.2:200:1,cnn-adversarial:l2:0.75:200:1,shapes-untied:linf:0.025:32:1"
)

Attack = Callable[[nn.Module, ImagePoints, int], torch.Tensor]
"""From a model, points and restarts to examples, (m, C, H, W)."""


def ours(model: nn.Module, points: ImagePoints, restarts: int) -> torch.Tensor:
    """Returns what APGD-CE finds."""
    width = max(256, len(points) * restarts)
    with frozen(model):
        oracle = ModuleOracle(model, Draws(0, "pgd"), width)
        return apgd(oracle, points, losses.log_odds, steps=STEPS, restarts=restarts).adversarial


def of_foolbox(model: nn.Module, points: ImagePoints, restarts: int) -> torch.Tensor:
    """Returns what foolbox's PGD finds."""
    make = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[points.norm]
    attack = make(steps=STEPS, rel_stepsize=STEP)
    if restarts > 1:
        attack = attack.repeat(restarts)
    asked = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, clipped, _ = attack(asked, points.x, points.y, epsilons=float(points.eps[0]))
    return clipped


def of_art(model: nn.Module, points: ImagePoints, restarts: int) -> torch.Tensor:
    """Returns what the PGD of the Adversarial Robustness Toolbox finds."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    np.random.seed(0)
    eps = float(points.eps[0])
    with torch.no_grad():
        classes = model(points.x[:1]).shape[1]
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(points.x.shape[1:]), classes, clip_values=(0, 1),
        device_type="cpu",
    )  # fmt: skip
    attack = ProjectedGradientDescent(
        classifier, norm=np.inf if points.norm == "linf" else 2, eps=eps, eps_step=STEP * eps,
        max_iter=STEPS, num_random_init=restarts, batch_size=len(points), verbose=False,
    )  # fmt: skip
    return torch.from_numpy(attack.generate(points.x.numpy(), points.y.numpy()))


def measured(
    attack: Attack, model: nn.Module, points: ImagePoints, restarts: int
) -> tuple[float, float, Asked]:
    """Returns the share broken, the least of the processor's seconds of two, and the passes.

    An example counts if it is in the box, in the ball but for rounding, and misclassified.
    """
    times = []
    for _ in range(2):
        recorded = Recorded(model)
        start = seconds()
        found = attack(recorded, points, restarts)
        times.append(seconds() - start)
    moved = (found - points.x).flatten(1)
    size = moved.abs().amax(1) if points.norm == "linf" else moved.norm(dim=1)
    with torch.no_grad():
        wrong = model(found).argmax(1) != points.y
    held = wrong & (size <= points.eps * (1 + 1e-4)) & (found >= 0).flatten(1).all(1)
    held &= (found <= 1).flatten(1).all(1)
    return float(held.float().mean()), min(times), recorded.asked


def points_of(
    name: str, norm: Norm, eps: float, samples: int
) -> tuple[nn.Module, ImagePoints, int]:
    """Returns a model, those of the images that it gets right, and how many images there were."""
    torch.manual_seed(0)
    model = Bundled(name).eval().requires_grad_(False)
    x, targets = images(name, samples)
    y = torch.from_numpy(targets)
    right = (model(x).argmax(1) == y).nonzero()[:, 0]
    radii = torch.full((len(right),), eps)
    ids = tuple(str(row) for row in right.tolist())
    return model, ImagePoints(x=x[right], y=y[right], eps=radii, ids=ids, norm=norm), len(x)


def compare(case: str) -> tuple[list[object], list[object]]:
    """Returns a line of robust accuracies and times, and one of passes."""
    name, text, radius, samples, restarts = case.split(":")
    norm: Norm = "l2" if text == "l2" else "linf"
    model, points, n = points_of(name, norm, float(radius), int(samples))
    robust, took, share, passes = [], [], [], []
    for attack in (ours, of_foolbox, of_art):
        broken, time, asked = measured(attack, model, points, int(restarts))
        alone = bare(model, points.x, asked)
        robust.append(f"{100 * (1 - broken) * len(points) / n:.1f}")
        took.append(time)
        passes.append(f"{sum(size * times for (size, _), times in asked.items()):,}")
        share.append(f"{time / alone:.2f}")
    key = [name, norm, radius, samples, restarts]
    line = [
        *key, *robust, *(f"{one:.2f}" for one in took),
        *(f"{one / took[0]:.1f}" for one in took[1:]),
    ]  # fmt: skip
    return line, [*key, *passes, *share]


def main() -> None:
    """Measures, prints and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", required=True, help="folder that ART was installed in")
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    sys.path.append(args.art)
    torch.set_num_threads(args.threads)
    lines, costs = [], []
    for case in args.cases.split(","):
        line, cost = compare(case)
        lines.append(line)
        costs.append(cost)
        print(*line, *cost[5:], flush=True)
    from art import __version__ as art_version

    head = ("model", "norm", "eps", "samples", "restarts")
    publish(
        "pgd",
        "40 steps of APGD-CE beside the PGD of foolbox and of ART",
        [
            f"The bundled models, {args.threads} thread(s), one batch, the least of two runs in "
            "seconds of the processor; ART "
            f"{art_version}. Steps of both PGDs: 2.5 eps / 40. Robust accuracy: of all samples, "
            "those that are right and that no example was found for which is in ball and box and "
            "misclassified when the model sees it again.",
            "",
            *table(
                (*head, "APGD-CE, robust %", "foolbox %", "ART %", "APGD-CE, s", "foolbox, s",
                 "ART, s", "foolbox's / ours", "ART's / ours"),
                lines,
            ),
            "",
            "How far each is from its bare cost: inputs that it asked the model about (with a "
            "gradient or without), and its time beside that of the same passes, in the same sizes, "
            "in a loop that does nothing else. APGD-CE lets samples go that are broken, and so "
            "asks about fewer; and convolutions are laid out channels last while it runs, in "
            "the bare loop they are not.",
            "",
            *table(
                (*head, "APGD-CE, inputs", "foolbox", "ART", "APGD-CE, time / bare", "foolbox",
                 "ART"),
                costs,
            ),
        ],
        "foolbox",
        "torch",
    )  # fmt: skip


if __name__ == "__main__":
    main()
