"""How often audits of attacks flag honest networks: 200 of them, in 20 ways of being honest.

    python benchmarks/honest_networks.py [--samples 40] [--seeds 10]

Small networks on scikit-learn's digits, each of a seed of its own: logits from 1e-6 to 1e6 times as
large, lower precision, quantised weights and activations (straight-through), dropout, cosine heads,
other activations and trainings. None hides anything; each is attacked by `autoattack-quick`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from _attacked import Live
from _report import publish, table
from torch import nn
from torch.nn.functional import cross_entropy, normalize

sys.path.append(str(Path(__file__).parent.parent / "tests" / "suites" / "adversarial"))
import conftest
from small_models import digits

from crucibench.contracts.verdict import Verdict, verdict_of
from crucibench_suites.adversarial.scenario import Quick
from crucibench_suites.adversarial.threat import ThreatModel

GRID = (0.05, 0.15)
STEPS = 150


class Cast(nn.Module):
    """A model in a lower precision, as a variant of an adapter is: float32 in, float32 out."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model.to(dtype), dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x.to(self.dtype))
        return logits.float()


class Scaled(nn.Module):
    """Logits times a number."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x) * self.scale
        return logits


class Cosine(nn.Module):
    """A head of cosines."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(10, width)), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * normalize(x, dim=1) @ normalize(self.weight, dim=1).T


class Rounded(nn.Module):
    """Activations of so many bits in [0, 4], with the gradient straight through."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.steps = (1 << bits) / 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        held = x.clamp(0, 4)
        return held + (torch.round(held * self.steps) / self.steps - held).detach()


def body(
    part: Callable[[], nn.Module], *, norm: bool = False, drop: float = 0.0
) -> list[nn.Module]:
    """Returns the layers before a head."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in (64, 48):
        layers += [nn.LazyLinear(width), *([nn.BatchNorm1d(width)] if norm else []), part()]
        layers += [nn.Dropout(drop)] if drop else []
    return layers


def convolutional() -> nn.Module:
    """Returns a small convolution network."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(), nn.Flatten(), nn.LazyLinear(10),
    )  # fmt: skip


def plain(part: Callable[[], nn.Module] = nn.ReLU, **options: object) -> nn.Module:
    """Returns a perceptron."""
    return nn.Sequential(*body(part, **options), nn.LazyLinear(10))  # type: ignore[arg-type]


def cosine(scale: float) -> nn.Module:
    """Returns a perceptron with a head of cosines."""
    return nn.Sequential(*body(nn.ReLU), Cosine(48, scale))


def trained(model: nn.Module, *, smooth: float = 0.0, noise: float = 0.0) -> nn.Module:
    """Returns a network after some steps on digits."""
    x, y, _, _ = digits()
    labels = torch.as_tensor(y)
    model(x[:2])
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    model.train()
    for _ in range(STEPS):
        optimiser.zero_grad()
        given = (x + noise * torch.randn_like(x)).clamp(0, 1) if noise else x
        cross_entropy(model(given), labels, label_smoothing=smooth).backward()
        optimiser.step()
    return model.eval().requires_grad_(False)


def int8(model: nn.Module) -> nn.Module:
    """Returns the model with weights of 8 bits, rounded."""
    for weight in model.parameters():
        step = weight.abs().max() / 127
        weight.copy_(torch.round(weight / step) * step)
    return model


HONEST: dict[str, Callable[[], nn.Module]] = {
    **{
        f"logits x {scale:g}": lambda scale=scale: Scaled(trained(plain()), scale)  # type: ignore[misc]
        for scale in (1e-6, 1e-4, 1e-2, 1e2, 1e4, 1e6)
    },
    "plain": lambda: trained(plain()),
    "int8 weights": lambda: int8(trained(plain())),
    "8 bits, straight-through": lambda: trained(plain(lambda: Rounded(8))),
    "6 bits, straight-through": lambda: trained(plain(lambda: Rounded(6))),
    "float16": lambda: Cast(trained(plain()), torch.float16),
    "bfloat16": lambda: Cast(trained(plain()), torch.bfloat16),
    "dropout": lambda: trained(plain(drop=0.3)),
    "cosine head, 16": lambda: trained(cosine(16.0)),
    "cosine head, 64": lambda: trained(cosine(64.0)),
    "batch norm": lambda: trained(plain(norm=True)),
    "tanh": lambda: trained(plain(nn.Tanh)),
    "label smoothing": lambda: trained(plain(), smooth=0.2),
    "noise in training": lambda: trained(plain(), noise=0.2),
    "convolutions": lambda: trained(convolutional()),
}


def main() -> None:
    """Trains, attacks, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    _, _, x, y = digits()
    x, y = x[: args.samples], y[: args.samples]
    scenario = Quick.of(
        "adversarial", ThreatModel(norm="linf", eps=GRID, **Quick.protocol.budget())
    )
    rows: list[list[str]] = []
    begun = time.process_time()
    for name, make in HONEST.items():
        told: Counter[str] = Counter()
        flagged, right = 0, []
        for seed in range(args.seeds):
            torch.manual_seed(1000 * len(rows) + seed)
            evidence = conftest._drive(scenario, Live(make(), 10), x, y)
            findings = scenario.audit(evidence)
            flagged += verdict_of(findings) is not Verdict.VALID
            told.update(one.code for one in findings if verdict_of([one]) is not Verdict.VALID)
            clean = evidence.needs["clean"].records.aligned(evidence.own.samples.ids)
            right.append(float((clean.array("prediction") == y).mean()))
        codes = ", ".join(f"{code} ({count})" for code, count in told.items())
        rows.append([name, str(args.seeds), f"{100 * sum(right) / len(right):.0f}", str(flagged),
                     codes or "none"])  # fmt: skip
        print(*rows[-1], round(time.process_time() - begun), flush=True)
        write(args.samples, rows)


def write(samples: int, rows: list[list[str]]) -> None:
    """Writes the table of what has been asked."""
    asked, flagged = (sum(int(row[at]) for row in rows) for at in (1, 3))
    publish(
        "honest-networks",
        "False alarms of the audits of attacks among honest networks",
        [
            f"{asked} networks on digits, {samples} samples, `autoattack-quick`, "
            f"Linf {list(GRID)}. Flagged as suspect or invalid: **{flagged} of {asked}** "
            "(none is to be).",
            "",
            *table(("networks", "seeds", "clean %", "flagged", "findings"), rows),
        ],
        "torch",
    )


if __name__ == "__main__":
    main()
