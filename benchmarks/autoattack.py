"""Robust accuracy and time of AutoAttack `standard`, beside pyautoattack, on the bundled models.

Both ask the same live module about the same images, one after the other in this process; time is
the processor's, which other work on the machine does not stretch:

    python benchmarks/autoattack.py --peer-python VENV/bin/python [--cases cnn:linf:0.1:80,...]

A case is MODEL:NORM:EPS:SAMPLES; `--go-on` leaves out those that stand in the table already, and
keeps them. PEER-PYTHON is an interpreter in whose environment pyautoattack is
installed; only its packages' folder is used, after all others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from _attacked import Bundled, images, ours
from _report import publish, rows_so_far, table
from torch import nn

from crucibench_suites.adversarial.protocol import STANDARD
from crucibench_suites.adversarial.scenario import Standard
from crucibench_suites.adversarial.threat import Norm, ThreatModel

CASES = (
    "mlp:linf:0.05:150,mlp:linf:0.1:150,mlp:l2:0.25:100,mlp:l2:0.5:100,"
    "cnn:linf:0.1:24,cnn:linf:0.15:60,cnn:l2:0.5:24,cnn:l2:0.75:40,"
    "cnn-adversarial:linf:0.2:32,cnn-adversarial:linf:0.3:40,"
    "cnn-adversarial:l2:0.75:24,cnn-adversarial:l2:1.0:40,"
    "shapes-untied:linf:0.02:8,shapes-untied:linf:0.03:8,"
    "shapes-untied:l2:0.3:8,shapes-untied:l2:0.5:8,"
    "shapes-shortcut:linf:0.02:8,shapes-shortcut:linf:0.03:8,"
    "shapes-shortcut:l2:0.3:8,shapes-shortcut:l2:0.5:8"
)


def theirs(model: nn.Module, x: torch.Tensor, y: np.ndarray, norm: Norm, eps: float) -> float:
    """Returns pyautoattack's robust accuracy."""
    from pyautoattack import AutoAttack as Peer  # type: ignore[import-not-found]

    name = {"linf": "Linf", "l2": "L2"}[norm]
    peer = Peer(model, norm=name, eps=eps, version="standard", seed=0, device="cpu")
    # It looks for as many other classes as there are of ten, and fails on fewer.
    with torch.no_grad():
        others = model(x[:1]).shape[1] - 1
    peer.apgd_targeted.n_target_classes = min(others, peer.apgd_targeted.n_target_classes)
    peer.fab.n_target_classes = min(others, peer.fab.n_target_classes)
    found, _ = peer.run_standard_evaluation(x, torch.from_numpy(y), batch_size=len(x))
    with torch.no_grad():
        return float((model(found).argmax(1).numpy() == y).mean())


def compare(name: str, norm: Norm, eps: float, samples: int) -> list[object]:
    """Returns one line of the table."""
    torch.manual_seed(0)
    model = Bundled(name).eval()
    x, y = images(name, samples)
    scenario = Standard.of("adversarial", ThreatModel(norm=norm, eps=(eps,), **STANDARD.budget()))
    start = time.process_time()
    level, _ = ours(scenario, model, x, y)
    own, took = float((level > 0).mean()), time.process_time() - start
    start = time.process_time()
    other = theirs(model, x, y, norm, eps)
    peer = time.process_time() - start
    return [
        name, norm, eps, samples, f"{100 * own:.2f}", f"{100 * other:.2f}",
        f"{100 * (own - other):+.2f}", f"{took:.1f}", f"{peer:.1f}", f"{peer / took:.1f}",
    ]  # fmt: skip


def main() -> None:
    """Measures and prints line by line, and writes the table after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--go-on", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = [args.peer_python, "-c", code]
    sys.path.append(
        subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    )
    done: dict[str, Sequence[object]] = {}
    for row in rows_so_far("autoattack") if args.go_on else []:
        done[":".join(row[:4])] = row
    cases = args.cases.split(",")
    for case in cases:
        if case in done:
            continue
        name, norm, eps, samples = case.split(":")
        done[case] = compare(name, norm, float(eps), int(samples))
        print(*done[case], flush=True)
        head = ("model", "norm", "eps", "samples", "robust %", "peer's %", "difference", "s",
                "peer's s", "peer's / ours")  # fmt: skip
        publish(
            "autoattack",
            "AutoAttack standard beside pyautoattack",
            [
                f"The bundled models, {args.threads} thread(s), seed 0 on both sides; one batch of "
                "all samples for both. Seconds are the processor's.",
                "",
                *table(head, [done[case] for case in cases if case in done]),
            ],
            "torch",
        )


if __name__ == "__main__":
    main()
