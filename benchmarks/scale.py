"""What more of everything costs: rows, classes, models, cells, workers; and with which exponent.

    python benchmarks/scale.py [--rows 10000,100000,1000000,10000000] [--only rows,classes]

Every measurement is one whole command on logged predictions, as a process of its own with an empty
cache and one thread (cells: the steps of planning, in one process). An exponent is that of the
processor's seconds between neighbouring sizes, without what the smallest size takes: below 1, more
is cheaper by the piece. Each part's table replaces that part of the page.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import engine_scale
import numpy as np
import pandas as pd
from _report import FOLDER, load, publish, table
from whole_commands import COMMAND, Case, Taken, taken

ROWS = (10_000, 100_000, 1_000_000)
CLASSES = (2, 10, 100, 1_000, 10_000)
MODELS = (1, 10, 100)
CELLS = ((10, 1), (10, 10), (100, 10), (100, 100))
"""Models and data sets; 10 scenarios each."""


class Line(NamedTuple):
    """A size, what it stands for and what it took."""

    size: int
    what: str
    taken: Taken


def binary(folder: Path, n: int, names: Sequence[str]) -> None:
    """Writes a table of n rows and logged predictions of models, all of two classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    z = rng.normal(size=n) + (y - 0.5) * 2
    ids = np.arange(n)
    groups = {"sex": rng.choice(["f", "m"], n), "age": rng.choice(["young", "middle", "old"], n)}
    pd.DataFrame({"id": ids, "z": z, **groups, "y": np.where(y, "yes", "no")}).to_parquet(
        folder / "data.parquet"
    )
    for name in names:
        p = 1 / (1 + np.exp(-2 * (z + 0.3 * rng.normal(size=n))))
        pd.DataFrame({"id": ids, "no": 1 - p, "yes": p}).to_parquet(folder / f"{name}.parquet")


def run(models: Sequence[str], suites: str, out: str, rest: str = "&scores=no,yes") -> list[str]:
    """Returns the command line of a run."""
    asked = [
        word for name in models
        for word in ("--model", f"{name}=predictions:{name}.parquet?id=id{rest}")
    ]  # fmt: skip
    data = "d=parquet:data.parquet?target=y&id=id"
    if suites != "accuracy":
        data += "&groups=sex,age&features=z,sex,age"
    return [COMMAND, "run", "-q", *asked, "--data", data, "--suite", suites, "--out", out,
            "--fail-on-error", "0"]  # fmt: skip


def rows(folder: Path, sizes: Sequence[int]) -> Iterator[Line]:
    """Accuracy and bias of a model, and the comparison of two, against rows."""
    for n in sizes:
        binary(folder, n, ("a", "b"))
        for name in ("a", "b"):
            case = Case(name, run((name,), "accuracy,bias", name))
            spent = taken(case, folder)
            if name == "a":
                yield Line(n, "run, accuracy and bias", spent)
        both = ["sh", "-c", f"{COMMAND} compare a/* b/* && rm -r a b"]
        yield Line(n, "compare of two", taken(Case("compare", both, fresh=False), folder))


def classes(folder: Path, _: Sequence[int]) -> Iterator[Line]:
    """Accuracy on 20,000 rows against classes, of labels; up to 1,000 of scores, too."""
    rng, n = np.random.default_rng(0), 20_000
    for k in CLASSES:
        names = [f"c{i:05d}" for i in range(k)]
        y = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
        found = np.where(rng.random(n) < 0.7, y, rng.integers(0, k, n))
        targets = np.array(names, dtype=object)[y]
        pd.DataFrame({"id": np.arange(n), "x": rng.normal(size=n), "y": targets}).to_parquet(
            folder / "data.parquet"
        )
        pd.DataFrame({"id": np.arange(n), "p": np.array(names, dtype=object)[found]}).to_parquet(
            folder / "m.parquet"
        )
        yield Line(
            k, "labels", taken(Case("m", run(("m",), "accuracy", "m", "&prediction=p")), folder)
        )
        if k <= 1_000:
            scores = rng.normal(size=(n, k)).astype(np.float32)
            scores[np.arange(n), y] += 3
            scores = np.exp(scores)
            table_of = pd.DataFrame(scores / scores.sum(1, keepdims=True), columns=names)
            table_of.insert(0, "id", np.arange(n))
            table_of.to_parquet(folder / "m.parquet")
            asked = run(("m",), "accuracy", "m", "&scores=" + ",".join(names))
            yield Line(k, "scores", taken(Case("m", asked), folder))


def models(folder: Path, _: Sequence[int]) -> Iterator[Line]:
    """Accuracy of models on 1,000 rows, with the report and all claims, against models."""
    every = [f"m{number:03d}" for number in range(max(MODELS))]
    binary(folder, 1_000, every)
    for count in MODELS:
        asked = run(every[:count], "accuracy", f"of{count}")
        yield Line(count, "run, accuracy", taken(Case("models", asked), folder))


def cells(folder: Path, _: Sequence[int]) -> Iterator[Line]:
    """All steps of planning, against cells."""
    here = str(Path(engine_scale.__file__).parent)
    for count, sets in CELLS:
        code = (
            f"import sys; sys.path.insert(0, {here!r}); import engine_scale as e; "
            f"e.PLANNED_MODELS, e.PLANNED_DATA = {count}, {sets}; "
            "from pathlib import Path; e.planned(Path('.'))"
        )
        spent = taken(Case("plan", [sys.executable, "-c", code]), folder)
        yield Line(count * sets * engine_scale.PLANNED_SCENARIOS, "plan", spent)


_NET = """
import torch
from torch import nn


def net():
    torch.manual_seed(0)
    layers = []
    for inner, outer in ((3, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(inner, outer, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, 10))
"""
_CLUSTER = """
import subprocess, sys
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
for _ in range(3):
    cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
done = subprocess.run([*sys.argv[1:], "--executor", "ray", "--ray-address", cluster.address])
cluster.shutdown()
sys.exit(done.returncode)
"""


def workers(folder: Path, sizes: Sequence[int]) -> Iterator[Line]:
    """A network, accuracy and shift of 20,000 images: 1 and 2 workers; 4 on 4 Ray nodes, here."""
    rng = np.random.default_rng(0)
    np.savez(
        folder / "images.npz",
        x=rng.integers(0, 256, (20_000, 3, 32, 32), dtype=np.uint8), y=rng.integers(0, 10, 20_000),
    )  # fmt: skip
    (folder / "net.py").write_text(_NET)
    for count in (1, 2, 4):
        asked = [COMMAND, "run", "-q", "--model", "m=torch:net.py:net", "--data",
                 "d=npz:images.npz", "--suite", "accuracy,shift", "--workers", str(count),
                 "--threads", "1", "--out", f"w{count}", "--fail-on-error", "0"]  # fmt: skip
        if count == 4:
            asked = [sys.executable, "-c", _CLUSTER, *asked]
        what = "processes" if count < 4 else "on 4 Ray nodes"
        yield Line(count, what, taken(Case("workers", asked), folder))


PARTS: dict[str, Callable[[Path, Sequence[int]], Iterator[Line]]] = {
    "rows": rows, "classes": classes, "models": models, "cells": cells, "workers": workers,
}  # fmt: skip


def section(name: str, lines: Sequence[Line]) -> list[str]:
    """Returns a part of the page."""
    about = (PARTS[name].__doc__ or "").strip()
    shown, before = [], dict[str, Line]()
    for line in lines:
        exponent = ""
        last = before.get(line.what)
        if last and line.size > 1.5 * last.size and name != "workers":
            more = math.log(line.taken.cpu / last.taken.cpu)
            exponent = f"{more / math.log(line.size / last.size):.2f}"
        before[line.what] = line
        cpu, wall, peak = line.taken
        shown.append(
            (f"{line.size:,}", line.what, f"{cpu:.1f}", f"{wall:.1f}", f"{peak:,.0f}", exponent)
        )
    head = (name, "command", "processor s", "wall s", "peak MB", "exponent")
    return [f"## {name.capitalize()}", "", about, "", *table(head, shown), ""]


def standing() -> dict[str, list[str]]:
    """Returns the parts of the page that was written before."""
    path = FOLDER / "scale.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    parts = text.partition("\nMeasured on:")[0].split("\n## ")[1:]
    return {part.split("\n")[0].lower(): [*f"## {part.strip()}".splitlines(), ""] for part in parts}


def main() -> None:
    """Measures part by part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(map(str, ROWS)))
    parser.add_argument("--only", default=",".join(PARTS))
    args = parser.parse_args()
    found = standing()
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory() as place:
            lines = []
            for line in PARTS[name](Path(place), [int(n) for n in args.rows.split(",")]):
                print(name, *line, flush=True)
                lines.append(line)
        found[name] = [*section(name, lines), load(), ""]
        every = [text for part in PARTS for text in found.get(part, ())]
        publish("scale", "What more of everything costs", [TOP, "", *every], "numpy", "pandas")


TOP = (
    "One measurement each, as a process of its own. An exponent is that of the processor's seconds "
    "between neighbouring sizes."
)


if __name__ == "__main__":
    main()
