"""The second opinion on defences that mislead gradients, beside hand-written adaptive attacks.

    python benchmarks/attack_defences.py [--samples 200] [--only WORD] [--go-on]

Networks are trained on scikit-learn's digits within seconds; each defence is attacked by
`autoattack-quick`. The yardstick knows the defence: APGD with three losses and restarts on the way
through that its author would write, every example confirmed by the defended model itself. `--go-on`
keeps what stands on the page.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _attacked import Live
from _defences import BUILDING, HELD_OUT, HONEST, LOOKED_AT, Defence
from _report import publish, rows_so_far, table
from torch import nn

sys.path.append(str(Path(__file__).parent.parent / "tests" / "suites" / "adversarial"))
import conftest
from small_models import digits, train

from crucibench.contracts.verdict import Severity, verdict_of
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks.apgd import apgd, apgd_targeted
from crucibench_suites.adversarial.attacks.model import ImagePoints, ModuleOracle
from crucibench_suites.adversarial.protocol import SECOND
from crucibench_suites.adversarial.scenario import Quick
from crucibench_suites.adversarial.scoring import read_outcomes
from crucibench_suites.adversarial.threat import ThreatModel

GRID = (0.05, 0.1, 0.2)
RESTARTS, STEPS = 4, 60
ANSWERS, AVERAGED = 32, 8
"""Of a random model: those by which an image is judged, and those that an attack goes by."""


class Way(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.function(x)
        return logits


class Mean(nn.Module):
    """The mean of several answers of a random model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.model(x) for _ in range(AVERAGED)]).mean(0)


def yardstick(defence: Defence, x: torch.Tensor, y: np.ndarray) -> list[float]:
    """Returns robust accuracy at each radius by an attack that knows the defence."""
    labels = torch.from_numpy(y)
    ids = tuple(str(row) for row in range(len(x)))
    random = defence.family.startswith("random")
    answers = ANSWERS if random else 1
    way = Mean(defence.model) if random else Way(defence.way)
    oracle = ModuleOracle(way, Draws(0, "yardstick"))

    def wrong(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Returns the share of answers that are wrong."""
        with torch.no_grad():
            asked = [defence.model(images).argmax(1) != labels[rows] for _ in range(answers)]
        return torch.stack(asked).double().mean(0)

    everyone = torch.arange(len(x))
    rate, worst = wrong(x, everyone), x.clone()
    found = []
    for eps in GRID:
        for restart in range(RESTARTS):
            for attack in (losses.log_odds, losses.dlr, losses.margin, None):
                rows = (rate < 1).nonzero()[:, 0]
                if not len(rows):
                    break
                points = ImagePoints(
                    x=x[rows], y=labels[rows], eps=torch.full((len(rows),), eps * (1 - 1e-6)),
                    ids=tuple(ids[row] for row in rows.tolist()), norm="linf",
                )  # fmt: skip
                name = f"{eps}/{restart}"
                if attack is None:
                    one = apgd_targeted(oracle, points, steps=STEPS, targets=9, name=name)
                else:
                    one = apgd(oracle, points, attack, steps=STEPS, name=name)
                for images in (one.adversarial, one.reached):
                    told = wrong(images, rows)
                    better = told > rate[rows]
                    rate[rows[better]], worst[rows[better]] = told[better], images[better]
        # Of many answers the luckiest is not chosen: the worst image is asked about anew.
        found.append(1 - float(wrong(worst, everyone).mean()))
    return found


def attacked(module: nn.Module, x: torch.Tensor, y: np.ndarray) -> tuple[list[float], Any, float]:
    """Returns robust accuracy at each radius, findings, and the cost of the second opinion."""
    threat = ThreatModel(norm="linf", eps=GRID, **Quick.protocol.budget())
    scenario = Quick.of("adversarial", threat)
    torch.manual_seed(0)
    evidence = conftest._drive(scenario, Live(module, 10), x, y)
    outcomes = read_outcomes(scenario.series, evidence)
    frame = evidence.own.records.frame()
    cost = frame["forwards"] + frame["backwards"]
    second = frame["attack"] == SECOND
    share = float(cost.sum() / max(cost[~second].sum(), 1))
    robust = [float(outcomes.robust(at).mean()) for at in range(len(GRID))]
    return robust, scenario.audit(evidence), share


def main() -> None:
    """Attacks, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--only", default="")
    parser.add_argument("--go-on", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    _, _, x, y = digits()
    x, y = x[: args.samples], y[: args.samples]
    nets = [train("mlp", seed) for seed in range(5)]
    rows = rows_so_far("attack-defences") if args.go_on else []
    known = {row[0] for row in rows}
    for name, make in {**BUILDING, **LOOKED_AT, **HELD_OUT}.items():
        if args.only in name and name not in known:
            defence = make(nets)
            defence.model.eval()
            when = "held out" if name in HELD_OUT else "while building"
            when = "held out, then looked at" if name in LOOKED_AT else when
            truth = yardstick(defence, x, y)
            rows.append([name, defence.family, when, *_attacked(defence.model, x, y, truth)])
            write(args.samples, rows)
    for name, honest in HONEST.items():
        if args.only in name and name not in known:
            rows.append([name, "honest", "", *_attacked(honest(nets).eval(), x, y, None)])
            write(args.samples, rows)


def _attacked(
    module: nn.Module, x: torch.Tensor, y: np.ndarray, truth: list[float] | None
) -> list[str]:
    robust, findings, share = attacked(module, x, y)
    codes = [one.code for one in findings if one.severity is not Severity.INFO]
    verdict = verdict_of(findings)
    apart = 0.0 if truth is None else max(np.subtract(robust, truth))
    fit = "yes" if apart <= 0.01 + 1e-9 else "flagged" if verdict != "valid" else "no"
    told = [shown(robust), "" if truth is None else shown(truth), fit, str(verdict)]
    print(*told, codes, flush=True)
    return [*told, f"{share:.2f}", ", ".join(codes) or "none"]


def write(samples: int, rows: list[list[str]]) -> None:
    """Writes the table of what has been asked."""
    rows = sorted(rows, key=lambda row: row[1] == "honest")
    defended = [row for row in rows if row[1] != "honest"]
    honest = [row for row in rows if row[1] == "honest"]
    later = [row for row in defended if row[2] == "held out"]
    costs = sorted(float(row[7]) for row in defended)
    publish(
        "attack-defences",
        "The second opinion on defences that mislead gradients",
        [
            f"{len(defended)} defences of {len({row[1] for row in defended})} families on a "
            f"network for digits, {samples} samples, Linf {list(GRID)}, `autoattack-quick`, beside "
            f"an attack written for each: {counted(defended)}. Of these {len(later)} were written "
            "when nothing of the second opinion was changed any more: "
            f"{counted(later)}. Of {len(honest)} "
            f"honest networks {sum(row[6] != 'valid' for row in honest)} flagged. Passes beside "
            "those without a second opinion: "
            f"{costs[len(costs) // 2]:.2f} times in the median. For random models the yardstick "
            "is the share of right answers to the worst image, asked anew.",
            "",
            *table(
                (
                    "model", "family", "written", "robust %", "yardstick %", "within a point",
                    "verdict", "passes", "findings",
                ),
                rows,
            ),
        ],
        "torch",
    )  # fmt: skip


def counted(rows: list[list[str]]) -> str:
    """Returns how many defences were settled, and how."""
    fits, flagged, neither = (
        sum(row[5] == how for row in rows) for how in ("yes", "flagged", "no")
    )
    return (
        f"{fits} within a point of it or below at every radius, {flagged} others flagged, "
        f"{neither} neither"
    )


def shown(robust: list[float]) -> str:
    """Returns accuracies in per cent."""
    return " / ".join(f"{100 * one:.0f}" for one in robust)


if __name__ == "__main__":
    main()
