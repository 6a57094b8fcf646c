"""Whether a planted shortcut is seen in attributions, and whether they equal captum's.

    python benchmarks/explain.py [--trainings 50]

Small CNNs are trained on shapes whose colour gives them away in 95 % of the images, and on shapes
of any colour; then on shapes whose only hint at their label is a patch in a corner. Captum and
Quantus are peers: with them installed, attributions and what is said of them are held side by side.
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
from torch.nn import functional

from crucibench.stats import student_t
from crucibench_suites.explain.methods import (
    METHODS,
    STEPS,
    Question,
    colour_share,
    curve,
    flat_baseline,
    mass_within,
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
    from captum.attr import InputXGradient, IntegratedGradients, LayerGradCam, Occlusion

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
        "grad-cam": (
            functional.interpolate(
                LayerGradCam(model, question.scores.body[6]).attribute(
                    images, target=targets, relu_attributions=True
                ),
                size=images.shape[2:], mode="bilinear",
            ).expand_as(images) / 3,
            question,
        ),
    }  # fmt: skip
    lines: list[list[object]] = []
    for name, (found, same) in theirs.items():
        own = METHODS[name](same)
        apart = ((own - found).abs().max() / found.abs().max()).item()
        lines.append([name, f"{apart:.1e}"])
    return lines


def against_quantus(question: Question) -> list[list[object]]:
    """Returns the largest difference to Quantus of what is said of the same attributions."""
    import quantus

    images, targets = question.inputs, question.targets
    # Each number is a part; 64 are taken at a time.
    parts = torch.arange(images[0].numel()).reshape(images.shape[1:])
    black = Question(question.scores, images, torch.zeros_like(images), targets, parts)
    found = METHODS["integrated-gradients"](black)
    order = found.flatten(1).argsort(dim=1, descending=True)
    steps = order.shape[1] // 64
    own = curve(black, order, insert=False, steps=steps).numpy()
    flipping = quantus.PixelFlipping(
        features_in_step=64, perturb_baseline=0.0, abs=False, normalise=False,
        disable_warnings=True, return_aggregate=False,
    )  # fmt: skip
    given = {"x_batch": images.numpy(), "y_batch": targets.numpy(), "device": "cpu"}
    after = np.array(
        flipping(question.scores, a_batch=found.numpy(), softmax=True, channel_first=True, **given)
    )
    with torch.no_grad():
        first = question.scores(images).softmax(1).gather(1, targets[:, None]).numpy()
    areas = np.trapezoid(np.concatenate([first, after], axis=1), dx=1 / steps, axis=1)
    marked = shape_regions(images)
    mass = quantus.RelevanceMassAccuracy(abs=False, normalise=False, disable_warnings=True,
                                         return_aggregate=False)  # fmt: skip
    positive = found.sum(dim=1, keepdim=True).clamp(min=0).numpy()
    theirs = np.array(
        mass(question.scores, a_batch=positive, s_batch=marked[:, None].numpy(), **given)
    )
    within = mass_within(found, marked).numpy()
    return [
        ["area under the curve of deletion (PixelFlipping)", f"{np.abs(own - areas).max():.1e}"],
        ["relevance mass (RelevanceMassAccuracy)", f"{np.abs(within - theirs).max():.1e}"],
    ]


def shape_regions(images: torch.Tensor) -> torch.Tensor:
    """Returns where shapes lie: what differs from the median colour of an image's edge."""
    edge = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]],
                     dim=2).median(dim=2).values  # fmt: skip
    return (images - edge[:, :, None, None]).abs().amax(dim=1) > 0.2


SIDE = 4
PATCHES = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]).float()


def patched(images: torch.Tensor, labels: torch.Tensor, seed: int) -> Any:
    """Returns images with a patch in a random corner, in the colour of their label, and where."""
    draws = torch.Generator().manual_seed(seed)
    found, regions = images.clone(), torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
    corners = torch.randint(0, 2, (len(images), 2), generator=draws) * (images.shape[2] - SIDE)
    for row, (top, left) in enumerate(corners.tolist()):
        found[row, :, top : top + SIDE, left : left + SIDE] = PATCHES[labels[row]][:, None, None]
        regions[row, top : top + SIDE, left : left + SIDE] = True
    return found, regions


def localised(images: torch.Tensor, classes: torch.Tensor, test: torch.Tensor, n: int) -> Any:
    """Returns how much attribution lies in the patch, of models that know it and that don't."""
    found: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    for seed in range(n):
        draws = torch.Generator().manual_seed(seed)
        random = torch.randint(0, 6, (len(images),), generator=draws)
        labels = torch.randint(0, 6, (SAMPLES,), generator=draws)
        asked_of, regions = patched(test[:SAMPLES], labels, seed + 1000)
        for kind, given in (
            ("the patch alone", (patched(images, random, seed)[0], random)),
            ("shapes without patches", (images, classes)),
        ):
            question = asked(trained(*given, seed), asked_of)
            for method in ("gradient-x-input", "integrated-gradients", "occlusion", "grad-cam"):
                gain = mass_within(METHODS[method](question), regions).numpy()
                gain = gain[np.isfinite(gain)] - (SIDE / images.shape[2]) ** 2
                lower = student_t(gain, 0.99).lower
                found.setdefault((kind, method), []).append((float(gain.mean()), lower > 0.5))
    return [
        [kind, method, f"{min(means):.2f} to {max(means):.2f}", f"{sum(flags)} of {n}"]
        for (kind, method), ((*means,), (*flags,)) in (
            (key, zip(*values, strict=True)) for key, values in found.items()
        )
    ]


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
        more = against_quantus(question) if importlib.util.find_spec("quantus") else []
        places = localised(*role(data["untied"], "train"), test, max(1, trainings * 2 // 5))
    head = ("trained on shapes", "rests-on-colour", "mean share of colour", "accuracy, any colour")
    page = [
        f"{trainings} trainings of each kind of a CNN on 2,000 shapes of 16 x 16 pixels, from "
        f"another seed each; {SAMPLES} images in which colour says nothing of the shape are "
        "explained by integrated gradients. The audit's finding is counted: mean share of colour "
        "above 0.5 at 99 %.",
        "",
        *table(head, lines),
        "",
        f"## Where it is known: a patch of {SIDE} x {SIDE} pixels",
        "",
        f"Of {max(1, trainings * 2 // 5)} CNNs each, those of the patch alone were trained on "
        "shapes with random labels, and a patch in a random corner in the colour of the label: "
        "nothing else hints at it. The others were trained on shapes without patches. Both are "
        f"asked about {SAMPLES} images with patches. Gain: positive attribution in the patch, less "
        "the patch's share of the image (0.06). The last column counts gains above 0.5 at 99 %.",
        "",
        *table(("trained on", "method", "mean gain", "in the patch"), places),
    ]
    if peers:
        page += [
            "",
            "## Peers",
            "",
            "Beside captum, on the same inputs and the last of these models, with the same "
            "baselines, steps and windows: largest difference, as a share of the largest value.",
            "",
            *table(("method", "difference"), peers),
        ]
    if more:
        page += [
            "",
            "Beside Quantus, of the same attributions by integrated gradients: largest difference. "
            "Its curve leaves out the unaltered input, which is put before it here.",
            "",
            *table(("number", "difference"), more),
        ]
    page += ["", f"CPU minutes: {(time.process_time() - start) / 60:.1f}."]
    publish("explain", "Attributions: planted shortcuts, and peers", page, "torch",
            *(["captum"] if peers else []), *(["quantus"] if more else []))  # fmt: skip


if __name__ == "__main__":
    main()
