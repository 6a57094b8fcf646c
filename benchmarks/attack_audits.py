"""How often the audits of attacks flag honest models: false alarms among 40 small networks.

Two seeds of five architectures, trained plainly and adversarially on scikit-learn's digits, each in
float32 and in bfloat16, attacked by `autoattack-quick`:

    python benchmarks/attack_audits.py [--samples 60] [--norms linf,l2]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from _report import publish, table
from autoattack import Live

sys.path.append(str(Path(__file__).parent.parent / "tests" / "suites" / "adversarial"))
import conftest
from small_models import Cast, digits, train

from crucibench.contracts.verdict import Verdict, verdict_of
from crucibench_suites.adversarial.outcomes import read_outcomes
from crucibench_suites.adversarial.probing import PROBE
from crucibench_suites.adversarial.scenario import Quick
from crucibench_suites.adversarial.threat import Norm, ThreatModel

GRID: dict[Norm, tuple[float, ...]] = {"linf": (0.05, 0.1, 0.2), "l2": (0.25, 0.5, 1.0)}
ARCHITECTURES = ("linear", "mlp", "deep-mlp", "cnn", "wide-cnn")


def main() -> None:
    """Trains, attacks, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--norms", default="linf,l2")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    _, _, x, y = digits()
    x, y = x[: args.samples], y[: args.samples]
    lines, flagged, shares, start = [], 0, [], time.perf_counter()
    for architecture in ARCHITECTURES:
        for adversarial in (False, True):
            for seed in range(args.seeds):
                plain = train(architecture, seed, adversarial=adversarial)
                # `Cast` changes the weights of the module that it is given.
                for model, precision in ((plain, "fp32"), (None, "bf16")):
                    module = Cast(plain) if model is None else model
                    codes, row = [], []
                    for norm in args.norms.split(","):
                        found, share, robust = attacked(module, x, y, norm)
                        codes += [f"{norm}: {one}" for one in found]
                        shares.append(share)
                        row.append(robust)
                    flagged += bool(codes)
                    training = "adversarial" if adversarial else "plain"
                    said = "; ".join(codes) or "none"
                    lines.append([architecture, training, seed, precision, *row, said])
                    print(*lines[-1], round(time.perf_counter() - start), flush=True)
    norms = args.norms.split(",")
    publish(
        "attack-audits",
        "False alarms of the audits of attacks",
        [
            f"{len(lines)} honest networks on digits, {args.samples} samples, `autoattack-quick`, "
            f"{' and '.join(f'{norm} {list(GRID[norm])}' for norm in norms)}. "
            f"Flagged as suspect or invalid: **{flagged} of {len(lines)}**. Probes cost "
            f"{100 * float(np.mean(shares)):.1f} % of the attacks on average, "
            f"{100 * float(np.max(shares)):.1f} % at most.",
            "",
            *table(
                ("network", "training", "seed", "precision",
                 *(f"clean and robust %, {norm}" for norm in norms), "findings"),
                lines,
            ),
        ],
        "torch",
    )  # fmt: skip


def attacked(
    module: torch.nn.Module, x: torch.Tensor, y: np.ndarray, norm: Norm
) -> tuple[list[str], float, str]:
    """Returns findings that count, the probes' share of the passes, and accuracies."""
    scenario = Quick.of("adversarial", ThreatModel(
        norm=norm, eps=GRID[norm], **scenario_budget()
    ))  # fmt: skip
    evidence = conftest._drive(scenario, Live(module), x, y)
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
