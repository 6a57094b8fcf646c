"""How often the audits of attacks flag honest models: false alarms among 40 small networks.

Two seeds of five architectures, trained plainly and adversarially on scikit-learn's digits, each in
float32 and in bfloat16, attacked by `autoattack-quick`:

    python benchmarks/attack_audits.py [--samples 60] [--norms linf,l2] [--go-on]

The table is written after each network; `--go-on` leaves out those that stand in it already.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from _attacked import Live
from _report import publish, rows_so_far, table

sys.path.append(str(Path(__file__).parent.parent / "tests" / "suites" / "adversarial"))
import conftest
from small_models import Cast, digits, train

from crucibench.contracts.attack import Norm
from crucibench.contracts.verdict import Verdict, verdict_of
from crucibench_suites.adversarial.probing.choosing import PROBE
from crucibench_suites.adversarial.scenario import Quick
from crucibench_suites.adversarial.scoring import read_outcomes
from crucibench_suites.adversarial.threat import ThreatModel

GRID: dict[Norm, tuple[float, ...]] = {"linf": (0.05, 0.1, 0.2), "l2": (0.25, 0.5, 1.0)}
ARCHITECTURES = ("linear", "mlp", "deep-mlp", "cnn", "wide-cnn")


HEAD = ("network", "training", "seed", "precision")


def main() -> None:
    """Trains, attacks, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--norms", default="linf,l2")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--go-on", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    norms = args.norms.split(",")
    _, _, x, y = digits()
    x, y = x[: args.samples], y[: args.samples]
    before = rows_so_far("attack-audits") if args.go_on else []
    done = {tuple(row[: len(HEAD)]): row[len(HEAD) :] for row in before}
    start = time.perf_counter()
    kinds = list(product(ARCHITECTURES, ("plain", "adversarial"), map(str, range(args.seeds))))
    for architecture, training, seed in kinds:
        keys = [(architecture, training, seed, precision) for precision in ("fp32", "bf16")]
        if all(key in done for key in keys):
            continue
        plain = train(architecture, int(seed), adversarial=training == "adversarial")
        # `Cast` changes the weights of the module that it is given: it comes last.
        for key in keys:
            module = plain if key[-1] == "fp32" else Cast(plain)
            if key in done:
                continue
            codes, shares, row = [], [], []
            for norm in norms:
                found, share, robust = attacked(module, x, y, norm)
                codes += [f"{norm}: {one}" for one in found]
                shares.append(share)
                row.append(robust)
            done[key] = [*row, f"{100 * max(shares):.1f}", "; ".join(codes) or "none"]
            print(*key, *done[key], round(time.perf_counter() - start), flush=True)
            write(args.samples, norms, done)


def write(samples: int, norms: list[str], done: dict[tuple[str, ...], list[str]]) -> None:
    """Writes the table of what has been asked."""
    flagged = sum(row[-1] != "none" for row in done.values())
    publish(
        "attack-audits",
        "False alarms of the audits of attacks",
        [
            f"{len(done)} honest networks on digits, {samples} samples, `autoattack-quick`, "
            f"{' and '.join(f'{norm} {list(GRID[norm])}' for norm in norms)}. "
            f"Flagged as suspect or invalid: **{flagged} of {len(done)}** (at most 2 of 40 are to "
            "be). Probes: what they cost beside the attacks, at most; rows without it were "
            "measured with an earlier version of the attacks.",
            "",
            *table(
                (*HEAD, *(f"clean and robust %, {norm}" for norm in norms), "probes %", "findings"),
                [[*key, *row] for key, row in sorted(done.items(), key=_in_order)],
            ),
        ],
        "torch",
    )  # fmt: skip


def _in_order(entry: tuple[tuple[str, ...], list[str]]) -> tuple[object, ...]:
    architecture, training, seed, precision = entry[0]
    return ARCHITECTURES.index(architecture), training != "plain", seed, precision != "fp32"


def attacked(
    module: torch.nn.Module, x: torch.Tensor, y: np.ndarray, norm: Norm
) -> tuple[list[str], float, str]:
    """Returns findings that count, the probes' share of the passes, and accuracies."""
    scenario = Quick.of("adversarial", ThreatModel(
        norm=norm, eps=GRID[norm], **scenario_budget()
    ))  # fmt: skip
    evidence = conftest._drive(scenario, Live(module, 10), x, y)
    frame = evidence.own.records.frame()
    cost = frame["forwards"] + frame["backwards"]
    probes = frame["attack"] == PROBE
    share = float(cost[probes].sum() / max(cost[~probes].sum(), 1))
    findings = scenario.audit(evidence)
    codes = [one.code for one in findings if verdict_of([one]) is not Verdict.VALID]
    outcomes = read_outcomes(scenario.series, evidence)
    robust = [outcomes.right.mean(), *(outcomes.robust(at).mean() for at in range(3))]
    return codes, share, " / ".join(f"{100 * float(one):.0f}" for one in robust)


def scenario_budget() -> dict[str, int]:
    """Returns the protocol's own budget."""
    return Quick.protocol.budget()


if __name__ == "__main__":
    main()
