"""Whether a planted shortcut is seen in attributions, and whether they equal captum's.

    python benchmarks/explain.py [--trainings 50]

Small CNNs are trained on shapes whose colour gives them away in 95 % of the images, and on shapes
of any colour. Captum is a peer: with it installed, attributions are held side by side.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import publish, table
from _shapes import opened, role, trained
from torch import nn

from crucibench.stats import student_t
from crucibench_suites.explain.methods import (
    METHODS,
    STEPS,
    Question,
    colour_share,
    flat_baseline,
    parts_of,
)

SAMPLES = 50


def asked(model: Any, images: torch.Tensor) -> Question:
    """Returns the question that a cell of the suite asks."""
    with torch.no_grad():
        targets = model(images).argmax(dim=1)
    return Question(model, images, flat_baseline(images), targets, parts_of(images.shape[1:]))


class Centred(nn.Module):
    """Scores less their mean over classes, which is what the suite attributes."""

    def __init__(self, scores: Any) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns them, shape (N, K)."""
        found = self.scores(images)
        centred: torch.Tensor = found - found.mean(dim=1, keepdim=True)
        return centred


def against_captum(question: Question) -> list[list[object]]:
    """Returns for each method the largest difference to captum, as a share of the largest value."""
    from captum.attr import InputXGradient, IntegratedGradients, Occlusion

    images, targets = question.inputs, question.targets
    model = Centred(question.scores)
    black = Question(question.scores, images, torch.zeros_like(images), targets, question.parts)
    side = images.shape[2] // 8
    window = (images.shape[1], side, side)
    theirs = {
        "gradient-x-input": (
            InputXGradient(model).attribute(images.clone(), target=targets), black
        ),
        "integrated-gradients": (
            IntegratedGradients(model).attribute(
                images, question.baselines, target=targets, n_steps=STEPS, method="riemann_middle"
            ),
            question,
        ),
        "occlusion": (
            Occlusion(model).attribute(
                images, window, strides=window, baselines=0, target=targets
            ) / np.prod(window),
            black,
        ),
    }  # fmt: skip
    lines: list[list[object]] = []
    for name, (found, same) in theirs.items():
        own = METHODS[name](same)
        apart = ((own - found).abs().max() / found.abs().max()).item()
        lines.append([name, f"{apart:.1e}"])
    return lines


def main() -> None:
    """Trains, explains and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=50, help="of each kind")
    trainings = parser.parse_args().trainings
    torch.set_num_threads(1)
    start = time.process_time()
    lines: list[list[object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        data = {
            "shortcut": opened(
                "synthetic:shapes?spurious=colour&size=16&train=2000", Path(scratch)
            ),
            "untied": opened("synthetic:shapes?size=16&train=2000", Path(scratch)),
        }
        test, labels = role(data["untied"], "test")
        for kind, source in data.items():
            images, classes = role(source, "train")
            flagged, shares, accuracy = 0, [], []
            for seed in range(trainings):
                model = trained(images, classes, seed)
                with torch.no_grad():
                    accuracy.append(float((model(test).argmax(1) == labels).float().mean()))
                question = asked(model, test[:SAMPLES])
                share = colour_share(question, METHODS["integrated-gradients"]).numpy()
                flagged += student_t(share[np.isfinite(share)], 0.99).lower > 0.5
                shares.append(float(np.nanmean(share)))
            lines.append(
                [kind, f"{flagged} of {trainings}", f"{min(shares):.2f} to {max(shares):.2f}",
                 f"{np.mean(accuracy):.3f}"]
            )  # fmt: skip
        peers = against_captum(question) if importlib.util.find_spec("captum") else []
    head = ("trained on shapes", "rests-on-colour", "mean share of colour", "accuracy, any colour")
    page = [
        f"{trainings} trainings of each kind of a CNN on 2,000 shapes of 16 x 16 pixels, from "
        f"another seed each; {SAMPLES} images in which colour says nothing of the shape are "
        "explained by integrated gradients. The audit's finding is counted: mean share of colour "
        "above 0.5 at 99 %.",
        "",
        *table(head, lines),
    ]
    if peers:
        page += [
            "",
            "Beside captum, on the same inputs and the last of these models, with the same "
            "baselines, steps and windows: largest difference, as a share of the largest value.",
            "",
            *table(("method", "difference"), peers),
        ]
    page += ["", f"CPU minutes: {(time.process_time() - start) / 60:.1f}."]
    publish("explain", "Attributions: a planted shortcut, and captum", page, "torch",
            *(["captum"] if peers else []))  # fmt: skip


if __name__ == "__main__":
    main()
