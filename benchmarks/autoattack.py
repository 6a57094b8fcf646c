r"""Robust accuracy and time of AutoAttack, beside pyautoattack and beside the passes alone.

Both ask the same live module about the same images, one after the other in this process; the second
opinion is left out, which the published series lacks. Time is the processor's, which other work on
the machine does not stretch (of a GPU, the clock's):

    python -m venv VENV && VENV/bin/pip install --no-deps pyautoattack
    python benchmarks/autoattack.py --peer-python VENV/bin/python [--cases cnn:linf:0.1:80,...]
    python benchmarks/autoattack.py --peer-python VENV/bin/python --device cuda \
        --cases resnet18:linf:8/255:1000 --page autoattack-gpu [--precision bf16]

A case is MODEL:NORM:EPS:SAMPLES, or MODEL:NORM:EPS:SAMPLES:quick for the budgets of our own
`autoattack-quick`, to which the peer's attacks are then set too. `--go-on` leaves out cases that
stand in the table already, and keeps them. PEER-PYTHON is an interpreter in whose environment
pyautoattack is installed; only its packages' folder is used, after all others.

Models are the bundled ones, and `resnet18` (11 million weights), trained here for some steps on
`synthetic:shapes`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from statistics import median

import numpy as np
import torch
from _attacked import Bundled, images, logits_of, ours
from _passes import Recorded, bare, seconds
from _report import publish, rows_so_far, table
from _resnet import trained
from torch import nn

from crucibench.contracts.attack import Norm
from crucibench_suites.adversarial.protocol import QUICK, SECOND, STANDARD, Precision, Protocol
from crucibench_suites.adversarial.scenario import Quick, Standard
from crucibench_suites.adversarial.threat import ThreatModel

CASES = (
    "mlp:linf:0.05:200,mlp:linf:0.08:200,mlp:linf:0.1:200,mlp:l2:0.25:200,mlp:l2:0.4:200,"
    "mlp:l2:0.5:200,mlp:l1:0.7:200,mlp:l1:1:200,"
    "cnn-adversarial:linf:0.2:200,cnn-adversarial:l2:0.75:200,cnn-adversarial:l1:1.4:200,"
    "cnn:linf:0.12:200,cnn:l2:0.6:200,cnn:l1:1.3:200,"
    "shapes-untied:linf:0.025:64,shapes-untied:l2:0.7:64,shapes-untied:l1:6:64,"
    "shapes-shortcut:linf:0.03:64,shapes-shortcut:l2:0.8:64,shapes-shortcut:l1:6:64"
)
PROTOCOLS = {"standard": (STANDARD, Standard), "quick": (QUICK, Quick)}
FASTER = {"cpu": 1.5, "cuda": 4.0}
"""The budget: times the speed of pyautoattack."""
OR_BARE = 1.1
"""Or, at most: times the bare passes."""
MLP_BARE = 2.0
"""The same of the MLP, whose passes cost next to nothing."""
STEPS = 12
"""Of training the ResNet."""


def theirs(
    model: nn.Module,
    x: torch.Tensor,
    y: np.ndarray,
    norm: Norm,
    *,
    eps: float,
    protocol: Protocol,
    seed: int,
) -> float:
    """Returns pyautoattack's robust accuracy."""
    from pyautoattack import AutoAttack as Peer  # type: ignore[import-not-found]

    name = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    device = next(model.parameters()).device
    if protocol is STANDARD:
        peer = Peer(model, norm=name, eps=eps, version="standard", seed=seed, device=device)
    else:
        peer = Peer(
            model, norm=name, eps=eps, version="custom", seed=seed, device=device,
            attacks=list(protocol.attacks),
        )  # fmt: skip
        peer.apgd.n_restarts = 1
        peer.apgd.n_iter = peer.apgd_targeted.n_iter = protocol.steps
        peer.square.n_queries = protocol.queries
    # It looks for as many other classes as there are of ten, and fails on fewer.
    targets = min(logits_of(model, x[:1]).shape[1] - 1, protocol.targets)
    peer.apgd_targeted.n_target_classes = peer.fab.n_target_classes = targets
    found, _ = peer.run_standard_evaluation(x, torch.from_numpy(y), batch_size=len(x))
    return float((logits_of(model, found).argmax(1).numpy() == y).mean())


@cache
def model_of(name: str, device: str) -> nn.Module:
    """Returns a bundled model, or the ResNet."""
    torch.manual_seed(0)
    if name == "resnet18":
        return trained(device=device, steps=STEPS)
    return Bundled(name).eval().to(device)


def compare(case: str, device: str, precision: Precision, seed: int) -> list[object]:
    """Returns one line of the table."""
    name, text, radius, samples, *rest = case.split(":")
    norm: Norm = {"l1": "l1", "l2": "l2"}.get(text, "linf")  # type: ignore[assignment]
    eps, (protocol, scenario) = float(Fraction(radius)), PROTOCOLS[rest[0] if rest else "standard"]
    model = model_of(name, device)
    x, y = images(name, int(samples))
    threat = ThreatModel(norm=norm, eps=(eps,), **protocol.budget(norm))
    attack = scenario.of("adversarial", threat, precision=precision)
    recorded = Recorded(model)
    start = seconds(device)
    level, _ = ours(attack, recorded, x, y, seed, without={SECOND})
    own, took = float((level > 0).mean()), seconds(device) - start
    alone = bare(model, x.to(device), recorded.asked)
    start = seconds(device)
    other = theirs(model, x, y, norm, eps=eps, protocol=protocol, seed=seed)
    peer = seconds(device) - start
    clean = float((logits_of(model, x).argmax(1).numpy() == y).mean())
    return [
        name, norm, radius, samples, protocol.name.removeprefix("autoattack-"),
        f"{100 * clean:.2f}", f"{100 * own:.2f}", f"{100 * other:.2f}",
        f"{100 * (own - other):+.2f}", f"{took:.1f}", f"{peer:.1f}", f"{peer / took:.1f}",
        f"{alone:.1f}", f"{took / alone:.2f}",
    ]  # fmt: skip


HEAD = (
    *("model", "norm", "eps", "samples", "protocol", "clean %", "robust %", "peer's %"),
    *("difference", "s", "peer's s", "peer's / ours", "bare passes, s", "ours / bare"),
)


def budgets(rows: Sequence[Sequence[object]], device: str) -> str:
    """Returns a sentence on what was to be reached, and in how many cases it was."""
    speed, over = ([float(str(row[at])) for row in rows] for at in (11, 13))
    fast = sum(a >= FASTER[device] or b <= OR_BARE for a, b in zip(speed, over, strict=True))
    samples = [float(str(row[8])) * int(str(row[3])) / 100 for row in rows]
    small = [each for row, each in zip(rows, over, strict=True) if row[0] == "mlp"]
    less = sum(each <= MLP_BARE for each in small)
    return (
        f"{median(speed):.1f} times as fast in the median. Budget: at least {FASTER[device]:g} "
        f"times pyautoattack's speed, or at most {OR_BARE:g} times the bare passes, met in {fast} "
        f"of {len(rows)} cases; at most one sample above its robust accuracy, met in "
        f"{sum(round(one) <= 1 for one in samples)}, above it in "
        f"{sum(round(one) > 0 for one in samples)}; the MLP at most {MLP_BARE:g} times its bare "
        f"passes, met in {less} of {len(small)}."
    )


def main() -> None:
    """Measures and prints line by line, and writes the table after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=FASTER)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--seed", type=int, default=0, help="of both")
    parser.add_argument("--page", default="autoattack", help="of results/reference/evidence")
    parser.add_argument("--go-on", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = [args.peer_python, "-c", code]
    sys.path.append(
        subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    )
    done: dict[str, Sequence[object]] = {}
    for row in rows_so_far(args.page) if args.go_on else []:
        done[":".join(row[:4]) + (":quick" if row[4] == "quick" else "")] = row
    cases = args.cases.split(",")
    for case in cases:
        if case in done:
            continue
        done[case] = compare(case, args.device, args.precision, args.seed)
        print(*done[case], flush=True)
        write(args, [done[case] for case in cases if case in done])


def write(args: argparse.Namespace, rows: Sequence[Sequence[object]]) -> None:
    """Writes the page."""
    where = f"{args.threads} thread(s)" if args.device == "cpu" else device_name(args.device)
    models = "The bundled models"
    if any(row[0] == "resnet18" for row in rows):
        models += f", and `resnet18` after {STEPS} steps of training on `synthetic:shapes`"
    publish(
        args.page,
        "AutoAttack beside pyautoattack",
        [
            f"{models}; {where}, precision {args.precision}, seed {args.seed} on both sides; one "
            "batch of all samples for both. Seconds are the processor's (of a GPU, the clock's). "
            "Bare passes: the same forwards and backwards, in the same sizes, in a loop that does "
            "nothing else; empty where they were not measured. A pass of the MLP costs less than "
            "handling its input.",
            "",
            budgets(rows, args.device),
            "",
            *table(HEAD, rows),
        ],
        "torch",
    )


def device_name(device: str) -> str:
    """Returns what the GPU is called."""
    return torch.cuda.get_device_name(device)


if __name__ == "__main__":
    main()
