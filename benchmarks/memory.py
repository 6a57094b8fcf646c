"""Memory while collecting, from 1,000 to 1,000,000 samples: it must be flat.

Each size runs in a process of its own. Reading and indexing the data is done before; the growth of
the process's own resident memory (RssAnon) is sampled from the first to the last batch of the pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from _report import publish, table

SIZES = [1_000, 10_000, 100_000, 1_000_000]
FEATURES = 16
_MODEL = """
import numpy as np

WEIGHTS = np.random.default_rng(1).normal(size=({features}, 4))


def scores(frame):
    lead = frame.to_numpy() @ WEIGHTS
    powers = np.exp(lead - lead.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
"""


def own_memory() -> int:
    """Returns the bytes that are the process's own: pages mapped from files are the kernel's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("needs Linux")


def child(folder: Path, count: int) -> None:
    from crucibench.api import carry_out, prepare
    from crucibench.engine.listener import Listener
    from crucibench.engine.options import RunOptions
    from crucibench.engine.plan.plan import PlannedCell
    from crucibench.store.cells import CellFile

    resident: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            resident.append(own_memory())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)

    class Watching(Listener):
        def started(self, cell: PlannedCell, total: int) -> None:
            resident.append(own_memory())
            watcher.start()

        def advanced(self, cell: PlannedCell, samples: int) -> None:
            nonlocal left
            left -= samples
            if left <= 0:
                stop.set()

        def finished(self, cell: CellFile) -> None:
            stop.set()

    left = count
    resolved = prepare(
        models=[f"m=python:{folder / 'model.py'}:scores"],
        data=f"parquet:{folder / f'{count}.parquet'}?target=y", suites=["accuracy"],
        defaults={"replicates": 100},
    )  # fmt: skip
    begun = time.perf_counter()
    options = RunOptions(out=folder / "out", scratch=folder / "scratch", workers=0, cache=False)
    carry_out(resolved, options, Watching())
    watcher.join()
    print(json.dumps({
        "growth": max(resident) - resident[0], "before": resident[0],
        "whole": time.perf_counter() - begun,
    }))  # fmt: skip


def main() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.py").write_text(_MODEL.format(features=FEATURES))
        for count in SIZES:
            rng = np.random.default_rng(count)
            columns = {f"x{i}": rng.normal(size=count) for i in range(FEATURES)}
            columns["y"] = rng.integers(0, 4, count)
            pq.write_table(pa.table(columns), folder / f"{count}.parquet")
            done = subprocess.run(
                [sys.executable, __file__, str(folder), str(count)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append(
                (f"{count:,}", f"{found['before'] / 2**20:.0f}", f"{found['growth'] / 2**20:.0f}",
                 f"{found['whole']:.1f}")
            )  # fmt: skip
    publish(
        "memory",
        "Memory while collecting",
        [
            f"A table of {FEATURES} columns and a Python function of 4 classes. MiB resident "
            "before the pass, and by how much it grew at most while collecting; seconds of the "
            "whole run, with reading, indexing and scoring.",
            "",
            *table(["samples", "before, MiB", "growth, MiB", "whole run, s"], rows),
        ],
        "pyarrow",
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
