"""What a GPU gains, in nine minutes: attacks, corruptions, whole commands, variants, reading.

    pip install "crucibench[gpu]" pyautoattack pillow
    python benchmarks/gpu.py                # on a machine with one NVIDIA GPU: writes gpu.md
    python benchmarks/gpu.py --rehearse     # small sizes on the CPU; writes nothing

The model is a ResNet-18 for images of 32 x 32 pixels, trained here on `synthetic:shapes`. Parts
follow each other, and the page is written after each: what had no time left is named on it. A part
that fails says why, and the next one begins. Seconds are the clock's, after the device is done.

- *Attacks*: AutoAttack beside pyautoattack, same images, same weights, same device.
- *Corruptions*: the 15 of ImageNet-C at five severities, on the device and on one CPU thread.
- *Variants*: one command, `crucibench run --suite accuracy,throughput`, for all of them: the
  clock beside the device's events, energy by the driver's counter, memory, and flipped answers.
- *Whole commands*: accuracy on images in memory and in JPEG files, beside a bare loop over a
  DataLoader with a worker a core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import publish, table
from _resnet import SLIM, shapes, trained
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).parent
VARIANTS = ("tf32", "bf16", "fp16", "channels-last", "compile", "cuda-graph", "int8")
PEER = "pyautoattack"


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Attributes:
        device: ``cuda`` or ``cpu``.
        seconds: of all parts together.
        width: of the network, in channels of its first stage.
        factory: in _resnet.py that makes it.
        steps: of training.
        attacks: as (eps, samples, protocol).
        corrupted: images of 224 pixels.
        images: of the whole command that draws them.
        files: of the one that reads them.
        timed: seconds a point of throughput.
        variants: of the model.
    """

    device: str
    seconds: float
    width: int
    factory: str
    steps: int
    attacks: tuple[tuple[str, int, str], ...]
    corrupted: int
    images: int
    files: int
    timed: float
    variants: tuple[str, ...]


FULL = Sizes(
    "cuda", 540, 64, "of_shapes", 400,
    (("8/255", 1000, "quick"), ("8/255", 1000, "standard"), ("4/255", 1000, "standard")),
    256, 50_000, 10_000, 2.0, VARIANTS,
)  # fmt: skip
SMALL = Sizes(
    "cpu", 540, SLIM, "slim_of_shapes", 2, (("8/255", 2, "quick"),), 2, 64, 40, 0.05, ("bf16",)
)


def waited(device: str) -> float:
    """Returns the clock's seconds, once the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def attacks(sizes: Sizes, model: nn.Module, _: Path) -> list[str]:
    """AutoAttack beside pyautoattack."""
    import autoattack
    from _attacked import ours
    from _passes import Recorded, bare

    from crucibench_suites.adversarial.threat import ThreatModel

    rows = []
    for text, samples, name in sizes.attacks:
        protocol, scenario = autoattack.PROTOCOLS[name]
        eps = float(Fraction(text))
        x, y = shapes("test", samples)
        threat = ThreatModel(norm="linf", eps=(eps,), **protocol.budget())
        recorded = Recorded(model)
        start = waited(sizes.device)
        level, _queries = ours(scenario.of("adversarial", threat), recorded, x, y, 0)
        took = waited(sizes.device) - start
        alone = bare(model, x.to(sizes.device), recorded.asked)
        row = [text, samples, name, f"{100 * (level > 0).mean():.1f}", f"{took:.2f}"]
        try:
            start = waited(sizes.device)
            other = autoattack.theirs(model, x, y, "linf", eps=eps, protocol=protocol, seed=0)
            peer = waited(sizes.device) - start
            row += [f"{100 * other:.1f}", f"{peer:.2f}", f"{peer / took:.1f}"]
        except ImportError:
            row += [f"no {PEER} here", "", ""]
        rows.append([*row, f"{took / alone:.2f}"])
    head = ("eps", "samples", "protocol", "robust %", "s", "peer's %", "peer's s", "peer's / ours")
    return table((*head, "ours / bare passes"), rows)


def corruptions(sizes: Sizes, _: nn.Module, __: Path) -> list[str]:
    """Corruptions on the device and on one thread of the CPU."""
    from corruptions import corrupted, photographs

    from crucibench_suites.shift.corruptions.images import COMMON

    pixels = photographs(sizes.corrupted)
    rows = []
    for name in COMMON:
        took = []
        for device in (sizes.device, "cpu"):
            x = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device).float() / 255
            x = x if device == sizes.device else x[:8]
            size = 64 if device == "cuda" else 4
            with torch.inference_mode():
                for made in corrupted(name, x[:2], 0):  # what a first call prepares
                    del made
                start = waited(device)
                for begin in range(0, len(x), size):
                    for made in corrupted(name, x[begin : begin + size], begin):
                        del made
                took.append(5 * len(x) / (waited(device) - start))
        rows.append([name, f"{took[0]:,.0f}", f"{took[1]:,.0f}", f"{took[0] / took[1]:.1f}"])
    return table(("corruption", "images a second", "one CPU thread", "times"), rows)


def variants(sizes: Sizes, _: nn.Module, folder: Path) -> list[str]:
    """Variants of one model: clock, device, energy, memory, flips."""
    asked = [argument for name in sizes.variants for argument in ("--variant", name)]
    settings = {"seconds": sizes.timed, "rounds": 5, "scenarios": "[single-stream,offline]"}
    for name, value in settings.items():
        asked += ["--set", f"throughput.{name}={value}"]
    data = f"synthetic:shapes?n={min(sizes.images, 2000)}"
    found = command(sizes, folder, data, "accuracy,throughput", *asked).metrics
    head = {
        "top-1": ("accuracy/clean", "", "top-1"),
        "p50 ms": ("throughput/single-stream", "", "latency-p50"),
        "of it device": ("throughput/single-stream", "", "device-latency-p50"),
        "samples/s": ("throughput/offline", "knee", "throughput"),
        "batch": ("throughput/offline", "knee", "batch-size"),
        "J a sample": ("throughput/offline", "knee", "energy-per-sample"),
        "weights MiB": ("throughput/offline", "knee", "weights-size"),
        "memory MiB": ("throughput/offline", "batch=64", "working-memory"),
        "flips": ("throughput/variant", "", "flips"),
    }
    rows = []
    for model in ("net", *(f"net@{name}" for name in sizes.variants)):
        cells = [found.get((model, *place)) for place in head.values()]
        rows.append([model, *("" if value is None else f"{value:.4g}" for value in cells)])
    return table(("model", *head), rows)


@dataclass(frozen=True)
class Commanded:
    """What a command took and found; metrics by model, scenario, point and name."""

    seconds: float
    metrics: dict[tuple[str, str, str, str], float]


_READ = """
import json, sys
import crucibench as cb
rows = cb.load(sys.argv[1]).metrics()
rows = rows[rows["value"].notna()].fillna({"point": "", "group": ""})
rows = rows[rows["group"] == ""]
print(json.dumps([[row.model, f"{row.suite}/{row.scenario}", row.point, row.metric, row.value]
                  for row in rows.itertuples()]))
"""


def command(sizes: Sizes, folder: Path, data: str, suites: str, *more: str) -> Commanded:
    """Runs a command as a process of its own, with an empty cache."""
    out = Path(tempfile.mkdtemp(dir=folder))
    environment = dict(os.environ, CRUCIBENCH_CACHE=str(out / "cache"))
    uri = f"torch:{HERE / '_resnet.py'}:{sizes.factory}?weights={folder / 'net.safetensors'}"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "crucibench", "run", "--model", f"net={uri}", "--data", data,
         "--suite", suites, "--device", sizes.device, "--out", str(out), "-q", *more],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    took = time.perf_counter() - start
    run = next((path.parent for path in out.glob("*/manifest.json")), None)
    if done.returncode not in (0, 4) or run is None:
        raise RuntimeError(f"crucibench run ended with {done.returncode}: {done.stderr[-2000:]}")
    read = subprocess.run(
        [sys.executable, "-c", _READ, str(run)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Commanded(took, {tuple(row[:4]): row[4] for row in json.loads(read.stdout)})


def whole(sizes: Sizes, model: nn.Module, folder: Path) -> list[str]:
    """Whole commands, beside bare loops."""
    photos = folder / "photos"
    write_files(photos, sizes.files)
    rows = []
    for name, data, count, bare in (
        ("drawn while read", f"synthetic:shapes?n={sizes.images}", sizes.images, in_memory),
        ("JPEG files", f"imagefolder:{photos}", sizes.files, from_files),
    ):
        took = command(sizes, folder, data, "accuracy").seconds
        start = waited(sizes.device)
        bare(sizes, model, photos)
        loop = waited(sizes.device) - start
        rows.append([name, f"{count:,}", f"{took:.1f}", f"{loop:.1f}", f"{took / loop:.1f}"])
    return table(("images", "n", "whole command, s", "bare loop, s", "times"), rows)


def write_files(folder: Path, count: int) -> None:
    """Writes drawn shapes as JPEG files, a folder a class."""
    from PIL import Image

    x, y = shapes("test", count)
    pixels = (255 * x).round().byte().permute(0, 2, 3, 1).numpy()
    for number, (picture, label) in enumerate(zip(pixels, y, strict=True)):
        path = folder / f"class{label}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=95)


def in_memory(sizes: Sizes, model: nn.Module, _: Path) -> None:
    """Draws all images, asks about them, and keeps the predictions."""
    x, _labels = shapes("test", sizes.images)
    with torch.inference_mode():
        for part in x.split(256):
            model(part.to(sizes.device, non_blocking=True)).argmax(1).cpu()


class Files(torch.utils.data.Dataset[torch.Tensor]):
    """JPEG files as float tensors."""

    def __init__(self, folder: Path) -> None:
        self.files = [str(path) for path in sorted(folder.rglob("*.jpg"))]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        from PIL import Image

        with Image.open(self.files[index]) as image:
            pixels = np.array(image.convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255)


def from_files(sizes: Sizes, model: nn.Module, folder: Path) -> None:
    """Reads all files with a worker a core, asks about them, and keeps the predictions."""
    batches = torch.utils.data.DataLoader(
        Files(folder), batch_size=256, num_workers=os.cpu_count() or 1,
        pin_memory=sizes.device == "cuda", multiprocessing_context="spawn",
    )  # fmt: skip
    with torch.inference_mode():
        for part in batches:
            model(part.to(sizes.device, non_blocking=True)).argmax(1).cpu()


PARTS: tuple[tuple[str, Callable[[Sizes, nn.Module, Path], list[str]]], ...] = (
    ("Attacks", attacks),
    ("Variants", variants),
    ("Whole commands", whole),
    ("Corruptions", corruptions),
)


def main() -> None:
    """Measures part by part, and writes the page after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="small sizes on the CPU")
    parser.add_argument("--peer", type=Path, help=f"the folder of packages that has {PEER}")
    args = parser.parse_args()
    sizes = SMALL if args.rehearse else FULL
    if sizes.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --rehearse needs none")
    if args.peer:
        sys.path.append(str(args.peer))
    begin, lines = time.monotonic(), []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = trained(device=sizes.device, steps=sizes.steps, width=sizes.width)
        weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(weights, folder / "net.safetensors")
        for title, part in PARTS:
            found = [f"## {title}", "", *measured(part, sizes, model, folder, begin), ""]
            lines += found
            if args.rehearse:
                print("\n".join(found))
            else:
                write(sizes, lines, time.monotonic() - begin)


def measured(part: Any, sizes: Sizes, model: nn.Module, folder: Path, begin: float) -> list[str]:
    """Returns the lines of a part, or why it has none."""
    if time.monotonic() - begin > sizes.seconds:
        return ["Not measured: no time was left."]
    start = time.monotonic()
    try:
        lines = part(sizes, model, folder)
    except Exception as error:  # what the other parts find is kept
        traceback.print_exc()
        if sizes is SMALL:
            raise
        return [f"Not measured: {type(error).__name__}: {error}"]
    return [*lines, "", f"{time.monotonic() - start:.0f} s."]


def write(sizes: Sizes, lines: list[str], seconds: float) -> None:
    """Writes the page."""
    name = torch.cuda.get_device_name()
    top = f"One {name}, CUDA {torch.version.cuda}; {seconds:.0f} s so far or in all. A ResNet-18 "
    top += f"for 32 x 32 pixels after {sizes.steps} steps of training."
    publish("gpu", "On a GPU", [top, "", *lines], "torch", "numpy")


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
