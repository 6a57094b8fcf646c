"""Images per second against a plain PyTorch DataLoader, in turns; memory while reading.

The loader opens each JPEG with Pillow, makes a float tensor of it and stacks batches, with as many
worker processes as there are cores, started before the clock is. Ours takes the pixels that opening
the data set has kept, in as many threads; whole first runs are in `whole_commands.py`. Memory is
the growth of a process's own resident pages (RssAnon), each size in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _report import publish, table

BATCH = 256
FEATURES = 8


def opened(uri: str, base: Path) -> Any:
    from crucibench import registry
    from crucibench.contracts.source import DataOpening
    from crucibench.contracts.uri import parse_uri
    from crucibench.data.evalset import open_data

    parsed = parse_uri(uri)
    opening = DataOpening(name="data", uri=parsed, base=base, scratch=base / "scratch")
    return open_data(registry.sources().get(parsed.scheme)(), opening)


def read_all(data: Any) -> None:
    from crucibench.contracts.capability import InputSpec

    count = data.card.counts["test"]
    for start in range(0, count, BATCH):
        data.batch("test", range(start, min(start + BATCH, count)), InputSpec())


def write_images(folder: Path, count: int, size: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(size)
    for number in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        path = folder / f"class{number % 10}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(path, quality=90)


def loader(folder: Path, workers: int) -> Callable[[], None]:
    """Returns a function that goes once over a plain DataLoader whose workers run already."""
    import torch
    from PIL import Image

    class Plain(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
        def __init__(self) -> None:
            self.files = [str(path) for path in sorted(folder.rglob("*.jpg"))]

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            with Image.open(self.files[index]) as image:
                pixels = np.array(image.convert("RGB"))
            return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255), 0

    batches = torch.utils.data.DataLoader(
        Plain(), batch_size=BATCH, num_workers=workers, persistent_workers=True
    )

    def go() -> None:
        for _ in batches:
            pass

    go()
    return go


def seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def speed(base: Path, count: int, size: int, rounds: int) -> list[tuple[object, ...]]:
    import torch

    folder = base / f"{size}px"
    write_images(folder, count, size)
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    begun = time.perf_counter()
    data = opened(f"imagefolder:{folder}", base)
    opening = time.perf_counter() - begun
    plain = loader(folder, cores)
    read_all(data)
    rows, ratios = [], []
    for number in range(rounds):
        theirs, ours = seconds(plain), seconds(lambda: read_all(data))
        ratios.append(theirs / ours)
        rows.append(
            (f"{count:,} of {size} px", number + 1, f"{count / theirs:,.0f}",
             f"{count / ours:,.0f}", f"{theirs / ours:.2f}", f"{opening:.1f}")
        )  # fmt: skip
    rows.append(
        (f"{count:,} of {size} px", "median", "", "", f"{statistics.median(ratios):.2f}", "")
    )
    return rows


def own_memory() -> int:
    """Returns the bytes that are the process's own: pages mapped from files are the kernel's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("needs Linux")


def growth(work: Callable[[], Any]) -> tuple[Any, int]:
    """Returns what `work` does, and by how many bytes memory grew at most meanwhile."""
    before = most = own_memory()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = work()
    finally:
        done.set()
        watcher.join()
    return result, most - before


def child(uri: str, base: Path) -> None:
    import datasets  # noqa: F401 - not what grows
    import torch  # noqa: F401

    data, reading = growth(lambda: opened(uri, base))
    _, batches = growth(lambda: read_all(data))
    print(json.dumps({"opening": reading, "batches": batches, "count": data.card.counts["test"]}))


def memory(base: Path, images: list[int], rows: list[int]) -> list[tuple[object, ...]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    addresses = []
    for count in images:
        write_images(base / f"many{count}", count, 32)
        addresses.append((f"{count:,} images of 32 px", f"imagefolder:{base}/many{count}"))
    for count in rows:
        rng = np.random.default_rng(count)
        columns = {f"x{number}": rng.normal(size=count) for number in range(FEATURES)}
        columns["y"] = rng.integers(0, 4, count)
        pq.write_table(pa.table(columns), base / f"{count}.parquet")
        name = f"{count:,} rows of {FEATURES} columns"
        addresses.append((name, f"parquet:{base}/{count}.parquet?target=y"))
    found = []
    for name, uri in addresses:
        done = subprocess.run(
            [sys.executable, __file__, "--child", uri, str(base)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        grown = json.loads(done.stdout.splitlines()[-1])
        found.append((name, f"{grown['opening'] / 2**20:.0f}", f"{grown['batches'] / 2**20:.0f}"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=2, metavar=("URI", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], Path(arguments.child[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        grown = memory(base, [5_000, 50_000], [100_000, 1_000_000])
        rows = [
            *speed(base, 10_000, 64, arguments.rounds),
            *speed(base, 2_000, 224, arguments.rounds),
        ]
    publish(
        "data-loading",
        "Loading data",
        [
            f"JPEGs in a folder as float tensors, batches of {BATCH}, rounds in turn: a plain "
            "DataLoader (Pillow, one worker process a core, running already) and batches of an "
            "opened data set (one thread a core). Images a second; the ratio is ours to theirs. "
            "Budget: 0.95 x. Opening, which is done once for each content, takes digests, "
            "converts, decodes every image and keeps its pixels, of which batches are made. "
            f"Load of the machine at the end: {os.getloadavg()[0]:.1f}.",
            "",
            *table(["images", "round", "loader", "ours", "ratio", "opening once, s"], rows),
            "",
            "Memory of the process's own, MiB that it grew by at most while opening (with its "
            "index, which grows by the sample) and while going over all batches.",
            "",
            *table(["data", "opening", "batches"], grown),
        ],
        "torch", "pillow", "pyarrow",
    )  # fmt: skip


if __name__ == "__main__":
    main()
