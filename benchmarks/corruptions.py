"""The 15 corruptions of ImageNet-C at 5 severities, 224 pixels, against imagecorruptions.

    python benchmarks/corruptions.py --peer-python PEER/bin/python

The peer needs an environment of its own, in which it runs: setuptools<81, and the current numpy,
scipy, scikit-image, opencv-python-headless and imagecorruptions (without its dependencies). It asks
NumPy and scikit-image for names that are gone; two lines pass them on. It corrupts one image at one
severity a call, as it is made to be used; ours are asked for all five of a batch at once. Either
gets images in its own form: the peer bytes, channels side by side, ours float32 in [0, 1], channel
by channel. What ours gives back a model takes as it is; what the peer gives back is bytes, and so
it has two columns: for these, and until they are such floats, too. Both run on the same
photographs, turn by turn, and the fastest of the repeats counts for each corruption (other work on
the machine only ever adds time). On one thread, the default, the time is the processor's; on more,
the wall clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _report import publish, table

SIDE = 224
MEMORY = (8, 32, 128)
BATCH = 4

CLOCKS: dict[bool, Callable[[], float]] = {True: time.process_time, False: time.perf_counter}
"""By whether there is but one thread."""

_PEER = """
import json, os, sys, time, warnings
from importlib.metadata import version
warnings.simplefilter("ignore")
import cv2, numpy as np
import imagecorruptions.corruptions as peer
from imagecorruptions import corrupt
np.float_ = np.float64
blurred = peer.gaussian
def gaussian(image, sigma, multichannel=False, **more):
    return blurred(image, sigma=sigma, channel_axis=-1 if multichannel else None, **more)
peer.gaussian = gaussian
cv2.setNumThreads(int(sys.argv[2]))
images = np.load(sys.argv[1])
clock = time.process_time if sys.argv[2] == "1" else time.perf_counter
stack = ("imagecorruptions", "numpy", "scipy", "scikit-image", "opencv-python-headless", "pillow")
print(", ".join(f"{name} {version(name)}" for name in stack), flush=True)
for line in sys.stdin:
    name = line.strip()
    bare = spent = 0.0
    for image in images:
        for severity in range(1, 6):
            begun = clock()
            made = corrupt(image, severity=severity, corruption_name=name)
            bare += clock() - begun
            floats = np.ascontiguousarray(made.transpose(2, 0, 1)).astype(np.float32)
            floats *= np.float32(1 / 255)
            spent += clock() - begun
    print(json.dumps([bare, spent]), flush=True)
"""


def photographs(count: int) -> np.ndarray:
    """Returns cuts of two photographs, uint8, (count, 224, 224, 3)."""
    from sklearn.datasets import load_sample_image

    wholes = [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    rng = np.random.default_rng(0)
    cuts = []
    for place in range(count):
        whole = wholes[place % 2]
        top, left = (int(rng.integers(0, size - SIDE)) for size in whole.shape[:2])
        cuts.append(whole[top : top + SIDE, left : left + SIDE])
    return np.stack(cuts)


class Peer:
    """imagecorruptions in a process of its own, which waits for names."""

    def __init__(self, python: str, images: Path, threads: int) -> None:
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        self._process = subprocess.Popen(
            [python, "-c", _PEER, str(images), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.stack = self._process.stdout.readline().strip()

    def seconds(self, name: str) -> tuple[float, float]:
        """Returns how long all images take at all severities, as bytes and as floats."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peer died of {name}")
        bare, spent = json.loads(answer)
        return bare, spent

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def our_seconds(name: str, images: np.ndarray) -> float:
    """Returns how long all five severities of all images take."""
    import torch

    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)
    clock = CLOCKS[torch.get_num_threads() == 1]
    begun = clock()
    with torch.inference_mode():
        for start in range(0, len(tensor), BATCH):
            for made in corrupted(name, tensor[start : start + BATCH], start):
                del made
    return clock() - begun


def corrupted(name: str, part: object, start: int) -> object:
    """Yields a batch at all five severities."""
    from crucibench.contracts.corruption import SEVERITIES, CorruptionContext
    from crucibench.util.draws import Draws
    from crucibench_suites.shift.corruptions.images import IMAGES

    ids = tuple(f"image {start + place}" for place in range(len(part)))  # type: ignore[arg-type]
    context = CorruptionContext(ids, Draws(0, f"shift/{name}"))
    return IMAGES[name].apply(part, SEVERITIES, context, "imagenet")


def own_memory() -> int:
    """Returns the bytes that are the process's own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("needs Linux")


def memory_child(count: int) -> None:
    """Prints by how much memory grew while `count` images were corrupted in batches."""
    import torch

    from crucibench_suites.shift.corruptions.images import COMMON

    torch.set_num_threads(1)
    images = photographs(BATCH)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)
    names = [name for name in COMMON if name != "glass_blur"]
    highest = 0
    with torch.inference_mode():
        for start in range(0, 32, BATCH):  # filters and textures, which are kept
            for name in names:
                for made in corrupted(name, tensor, start):  # type: ignore[attr-defined]
                    del made
        begun = own_memory()
        for start in range(0, count, BATCH):
            for name in names:
                for made in corrupted(name, tensor, start):  # type: ignore[attr-defined]
                    highest = max(highest, own_memory())
                    del made
    print(json.dumps({"growth": highest - begun}))


def memory_rows() -> list[tuple[str, str]]:
    rows = []
    for count in MEMORY:
        done = subprocess.run(
            [sys.executable, __file__, "--memory-child", str(count)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        growth = json.loads(done.stdout.splitlines()[-1])["growth"]
        rows.append((f"{count:,}", f"{growth / 2**20:.0f}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", help="of an environment with imagecorruptions")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of corruptions; nothing is written then")
    parser.add_argument("--memory-child", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory_child:
        memory_child(asked.memory_child)
        return

    import torch

    from crucibench_suites.shift.corruptions.images import COMMON

    torch.set_num_threads(asked.threads)
    images = photographs(asked.images)
    names = [name for name in COMMON if not asked.only or name in asked.only]
    calls = asked.images * 5
    rows, found = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images)
        peer = Peer(asked.peer_python, path, asked.threads) if asked.peer_python else None
        for name in names:
            our_seconds(name, images[:1])
            repeats = 1 if name == "glass_blur" else asked.repeats
            nothing = (float("nan"),) * 2
            turns = [
                (our_seconds(name, images), *(peer.seconds(name) if peer else nothing))
                for _ in range(repeats)
            ]
            found.append(np.min(turns, axis=0) / calls)
            rows.append(_row(name, found[-1]))
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
        if peer:
            peer.close()
    rows.append(_row("all", np.sum(found, axis=0)))
    by_form = np.stack(found)[:, 1:] / np.stack(found)[:, :1]
    told = [
        f"{form}: median ratio {np.median(ratios):.1f}, lowest {ratios.min():.2f}."
        for form, ratios in zip(("As bytes", "As floats"), by_form.T, strict=True)
    ]
    if asked.only:
        return
    publish(
        "corruptions",
        "Corruptions of images of 224 pixels",
        [
            f"Milliseconds an image and severity, {asked.images} photographs at severities 1 to 5, "
            f"{asked.threads} thread(s) on either side; {peer.stack if peer else 'no peer'}. "
            f"Ours work on 32-bit floats in batches of {BATCH}, all severities from one set of "
            "draws.",
            "",
            *table(
                ["corruption", "ours, ms", "imagecorruptions, ms", "ratio", "floats, ms", "ratio"],
                rows,
            ),
            "",
            " ".join(told),
            "",
            "Growth of memory while so many images go through 14 corruptions (all but glass blur), "
            f"in batches of {BATCH}, MiB:",
            "",
            *table(["images", "growth, MiB"], memory_rows()),
        ],
        "torch", "numpy", "pillow",
    )  # fmt: skip


def _row(name: str, seconds: np.ndarray) -> list[str]:
    ours, bare, floats = seconds
    sides = [f"{1e3 * ours:.2f}"]
    for theirs in (bare, floats):
        sides += [f"{1e3 * theirs:.2f}", f"{theirs / ours:.2f}"]
    return [name, *sides]


if __name__ == "__main__":
    main()
