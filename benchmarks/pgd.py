"""One gradient attack of 40 steps: APGD-CE beside foolbox's PGD, and both beside a bare loop.

    python benchmarks/pgd.py [--cases cnn:linf:0.1:200,...] [--threads 1]

A case is MODEL:NORM:EPS:SAMPLES. The bare loop makes as many forward and backward passes as an
attack would that lets no sample go: 40 of the whole batch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import foolbox
import torch
from _attacked import Bundled, images
from _report import publish, table
from torch import nn

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks.apgd import apgd
from crucibench_suites.adversarial.attacks.model import Oracle, Points, frozen
from crucibench_suites.adversarial.threat import Norm

STEPS = 40
CASES = (
    "mlp:linf:0.1:200,mlp:l2:0.5:200,cnn:linf:0.1:200,cnn:l2:0.5:200,cnn-adversarial:linf:0.2:200"
)


def ours(model: nn.Module, points: Points) -> float:
    """Returns the share that APGD-CE breaks."""
    with frozen(model):
        found = apgd(Oracle(model, Draws(0, "pgd")), points, losses.log_odds, steps=STEPS)
    return float(found.broken.float().mean())


def theirs(model: nn.Module, points: Points) -> float:
    """Returns the share that foolbox's PGD breaks, in its settings of its own."""
    make = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[points.norm]
    fmodel = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = make(steps=STEPS)
    *_, success = attack(fmodel, points.x, points.y, epsilons=float(points.eps[0]))
    return float(success.float().mean())


def bare(model: nn.Module, points: Points) -> float:
    """Makes the passes and nothing else."""
    for _ in range(STEPS):
        x = points.x.clone().requires_grad_()
        logits = model(x)
        torch.autograd.grad(nn.functional.cross_entropy(logits, points.y, reduction="sum"), x)
    return 0.0


def timed(run: Callable[[], float]) -> tuple[float, float]:
    """Returns what a call returns, and the least of the processor's seconds of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        found = run()
        times.append(time.process_time() - start)
    return found, min(times)


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lines = []
    for case in args.cases.split(","):
        name, text, eps, samples = case.split(":")
        norm: Norm = "l2" if text == "l2" else "linf"
        torch.manual_seed(0)
        model = Bundled(name).eval().requires_grad_(False)
        x, targets = images(name, int(samples))
        y = torch.from_numpy(targets)
        right = (model(x).argmax(1) == y).nonzero()[:, 0]
        radii = torch.full((len(right),), float(eps))
        ids = tuple(str(row) for row in right.tolist())
        points = Points(x=x[right], y=y[right], eps=radii, ids=ids, norm=norm)
        broken, took = timed(lambda: ours(model, points))  # noqa: B023
        other, peer = timed(lambda: theirs(model, points))  # noqa: B023
        _, loop = timed(lambda: bare(model, points))  # noqa: B023
        lines.append(
            [name, norm, eps, len(points), f"{100 * broken:.1f}", f"{100 * other:.1f}",
             f"{took:.2f}", f"{peer:.2f}", f"{loop:.2f}", f"{peer / took:.1f}",
             f"{took / loop:.2f}"]
        )  # fmt: skip
        print(*lines[-1], flush=True)
    head = ("model", "norm", "eps", "samples", "APGD-CE breaks %", "foolbox's PGD %", "s",
            "foolbox's s", "bare loop's s", "foolbox's / ours", "ours / bare")  # fmt: skip
    publish(
        "pgd",
        "40 steps of APGD-CE beside foolbox's PGD",
        [
            f"The bundled models, {args.threads} thread(s), one batch, the least of three runs in "
            "seconds of the processor. APGD-CE lets samples go that are broken; foolbox's PGD and "
            "the bare loop keep all to the end.",
            "",
            *table(head, lines),
        ],
        "foolbox",
        "torch",
    )


if __name__ == "__main__":
    main()
