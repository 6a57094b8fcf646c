"""Each model has a process of its own: does what one does there ever reach another, or the engine?

    python benchmarks/isolation.py --saboteurs 500

In every run three healthy models stand among saboteurs of all kinds (`_saboteurs.py`). Their
records and probes, and their metric rows, are held against those of a run that they had to
themselves; then this process, which is the engine's, and all that it started are looked at.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from _healthy import state
from _report import publish, table
from _saboteurs import COUNTS
from sklearn.datasets import load_digits

from crucibench.contracts.verdict import Status
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.run import execute
from crucibench.store.run import Run
from crucibench.util.hashing import file_digest

HEALTHY = {"net": "torch", "forest": "sklearn", "witness": "python"}
SAMPLES, TIMEOUT, GRACE = 200, 12.0, 2.0
SUBREAPER = 36
"""Of `prctl`: what outlives its parents becomes a child of this process, where it is seen."""
CHECKS = {
    "records": "records and probes of the healthy are the same bytes as alone",
    "rows": "metric rows of the healthy are the same as alone",
    "engine": "the engine came to the end of the run",
    "processes": f"no process is left behind, {GRACE:g} s later",
    "state": "the engine's process is as it was (folder, environment, umask, random states, torch, "
    "signals, limits, priority, locale, paths, filters, descriptors, threads)",
}
WHENS = {
    "import": "when its file is imported", "made": "when it is made",
    "asked": "when it is asked for the first to fifth time",
}  # fmt: skip
FAILURES = {
    "ended or killed": ("the worker process", "closed its pipe"),
    "over its time": ("timeout", "longer than"),
    "refused or raised": ("",),
}


@dataclass(frozen=True)
class Saboteur:
    """One model that does harm: which kind, when (`_saboteurs.factory`), with which draws."""

    name: str
    kind: str
    when: str
    seed: int


@dataclass
class Account:
    """What became of the saboteurs, and what they did to others, by kind of sabotage."""

    made: Counter[str] = field(default_factory=Counter)
    acted: Counter[str] = field(default_factory=Counter)
    ends: dict[str, Counter[str]] = field(default_factory=dict)
    whens: Counter[str] = field(default_factory=Counter)
    disturbed: Counter[str] = field(default_factory=Counter)
    disturbances: list[tuple[str, str]] = field(default_factory=list)
    runs: int = 0
    files: int = 0
    rows: int = 0
    seconds: float = 0.0

    @classmethod
    def load(cls, file: Path | None) -> Account:
        """Returns what an earlier call has left in a file, or an empty account."""
        if file is None or not file.is_file():
            return cls()
        facts = json.loads(file.read_text(encoding="utf-8"))
        for name in ("made", "acted", "whens", "disturbed"):
            facts[name] = Counter(facts[name])
        facts["ends"] = {one: Counter(ends) for one, ends in facts["ends"].items()}
        return cls(**facts)


def drawn(count: int, seed: int) -> list[Saboteur]:
    """Returns saboteurs of all kinds, shuffled: as many of each, but of those that cost much."""
    draw = random.Random(seed)
    rare = [name for name, most in COUNTS.items() for _ in range(most)]
    usual = [name for name, most in COUNTS.items() if not most]
    kinds = rare[: count // 10] + [usual[at % len(usual)] for at in range(count)]
    found = []
    for number, name in enumerate(kinds[:count]):
        when = draw.choice(["import", "made", "1", str(draw.randint(2, 5))])
        found.append(Saboteur(f"s{number:03}", name, when, draw.randrange(1 << 30)))
    draw.shuffle(found)
    return found


class Engine:
    """Carries out runs in this process, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(Path(__file__).with_name("_saboteurs.py"), folder / "acts.py")
        shutil.copy(Path(__file__).with_name("_healthy.py"), folder / "healthy.py")
        digits = load_digits()
        images = (digits.images[:SAMPLES] / 16).astype(np.float32)
        np.savez(folder / "digits.npz", images=images, labels=digits.target[:SAMPLES])
        (folder / "shadows").mkdir()
        for name in ("numpy", "torch", "sklearn", "scipy", "zlib", "json"):
            (folder / "shadows" / f"{name}.py").write_text("raise ImportError('a shadow')")
        self.here, self.tmp = folder / "here", folder / "tmp"
        for place in (self.here, self.tmp):
            place.mkdir()
        os.chdir(self.here)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.tmp)

    def run(self, out: str, saboteurs: Sequence[Saboteur], workers: int) -> Run:
        models = [{"name": one.name, "uri": f"torch:{one.name}.py:model"} for one in saboteurs]
        for one in saboteurs:
            given = (one.name, one.kind, one.when, one.seed)
            text = f"from acts import factory\n\nmodel = factory{given!r}\n"
            (self.folder / f"{one.name}.py").write_text(text, encoding="utf-8")
        for at, (name, scheme) in enumerate(HEALTHY.items()):  # first, in the middle, last
            place = [0, len(models) // 2, len(models)][(at + len(out)) % 3]
            models.insert(place, {"name": name, "uri": f"{scheme}:healthy.py:{name}"})
        document = {
            "models": models,
            "data": [{"name": "digits", "uri": "npz:digits.npz"}],
            "defaults": {
                "threads": 1, "batch_size": 32, "replicates": 100, "timeout": TIMEOUT,
            },
        }  # fmt: skip
        resolved = resolve(document, self.folder, "spec", Overrides(suites=("accuracy",)))
        options = RunOptions(
            out=self.folder / out, scratch=self.folder / "scratch", workers=workers, cache=False,
            keep_going=True,
        )  # fmt: skip
        done = execute(resolved, options, Listener())
        assert done is not None
        return done


def records(run: Run) -> dict[str, str]:
    """Returns the digests of the healthy models' records and probes."""
    return {
        f"{cell}/{path.name}": file_digest(path)
        for cell, file in run.cells.items() if file.model in HEALTHY
        for path in sorted(run.layout.cell(cell).glob("*.parquet"))
    }  # fmt: skip


def rows(run: Run) -> list[str]:
    found = run.metrics().query(f"model in {list(HEALTHY)}")
    return sorted(found.to_json(orient="records", lines=True).splitlines())


def own_state() -> dict[str, Any]:
    """Returns what is this process's own, and must not be changed by a run."""
    gc.collect()  # what a run has left to it, mapped files among it
    return state() | {
        "random states": (
            random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist(),
        ),
        "grad mode": torch.is_grad_enabled(),
        "descriptors": sorted(
            str(one.readlink()).partition("[")[0]
            for one in Path("/proc/self/fd").iterdir() if one.is_symlink()
        ),
        "all threads": threading.active_count(),
    }  # fmt: skip


def left_behind() -> list[psutil.Process]:
    """Returns what still lives of all that was started from this process."""
    until = time.monotonic() + GRACE
    while True:
        found = []
        for one in psutil.Process().children(recursive=True):
            if one.status() == psutil.STATUS_ZOMBIE:
                one.wait()
            else:
                found.append(one)
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def one_run(
    engine: Engine, out: str, part: Sequence[Saboteur], workers: int, account: Account,
    expected: tuple[Mapping[str, str], list[str]],
) -> None:  # fmt: skip
    before, began = own_state(), time.monotonic()
    told: list[tuple[str, str]] = []
    acted = engine.folder / "acted.txt"
    acted.unlink(missing_ok=True)
    try:
        run: Run | None = engine.run(out, part, workers)
    except (Exception, KeyboardInterrupt) as error:
        run = None
        told.append(("engine", f"{type(error).__name__}: {str(error)[:300]}"))
    account.seconds += time.monotonic() - began
    for process in left_behind():
        told.append(("processes", " ".join(process.cmdline())[-120:]))
        process.kill()
    left_behind()
    after = own_state()
    told += [
        ("state", f"{name}: {before[name]!s:.200} became {after[name]!s:.200}")
        for name in before if before[name] != after[name]
    ]  # fmt: skip
    names = set(acted.read_text().split()) if acted.is_file() else set()
    for one in part:
        account.made[one.kind] += 1
        account.acted[one.kind] += one.name in names
        account.whens[one.when if one.when in {"import", "made"} else "asked"] += 1
        account.ends.setdefault(one.kind, Counter())[_end(run, one.name)] += 1
    if run is not None:
        found, expected_files = records(run), expected[0]
        keys = sorted(found.keys() | expected_files.keys())
        told += [("records", key) for key in keys if found.get(key) != expected_files.get(key)]
        account.files += len(keys)
        same = rows(run)
        told += [("rows", line) for line in sorted(set(same) ^ set(expected[1]))]
        account.rows += len(same)
    if told:
        account.disturbed.update({one.kind for one in part})
    account.disturbances += [(what, f"{out}, workers={workers}: {line}") for what, line in told]
    account.runs += 1
    for place in (engine.here, engine.tmp):
        shutil.rmtree(place)
        place.mkdir()
    os.chdir(engine.here)


def _end(run: Run | None, model: str) -> str:
    """Says how a saboteur came out of it: went through, or why not."""
    cells = [] if run is None else [file for file in run.cells.values() if file.model == model]
    reasons = [file.reason or "" for file in cells if file.status is not Status.OK]
    if cells and not reasons:
        return "went through"
    reason = reasons[0] if reasons else ""
    return next(end for end, parts in FAILURES.items() if any(part in reason for part in parts))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--saboteurs", type=int, default=500)
    parser.add_argument("--each", type=int, default=20, help="saboteurs a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="only of kinds with this in their name; publishes nothing")
    parser.add_argument("--keep", type=Path, help="a file to go on from, and to keep the count in")
    parser.add_argument("--first", type=int, help="begin with this run")
    parser.add_argument("--runs", type=int, help="no more than so many; publishes nothing")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    saboteurs = drawn(options.saboteurs, options.seed)
    saboteurs = [one for one in saboteurs if (options.kind or "") in one.kind]
    parts = [saboteurs[at : at + options.each] for at in range(0, len(saboteurs), options.each)]
    account = Account.load(options.keep)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        engine = Engine(Path(name).resolve())
        solo = engine.run("solo", [], 1)
        expected = records(solo), rows(solo)
        for file in solo.cells.values():
            if file.status is not Status.OK:
                raise RuntimeError(f"alone, {file.model} does not come through: {file.reason}")
        for number in range(options.first or account.runs, len(parts[: options.runs])):
            out = f"run-{number:02}" + "x" * (number % 3)
            one_run(engine, out, parts[number], 1 + number % 2, account, expected)
            if options.keep is not None:
                options.keep.write_text(json.dumps(vars(account)), encoding="utf-8")
            print(f"{account.runs} runs, {account.seconds:.0f} s", file=sys.stderr)
            for what, line in account.disturbances:
                print(f"  {what}: {line}", file=sys.stderr)
        os.chdir("/")
    if options.kind or options.runs or options.first:
        print(json.dumps({kind: dict(ends) for kind, ends in account.ends.items()}, indent=1))
    else:
        report(account, options.seed)


def report(account: Account, seed: int) -> None:
    count, acted = sum(account.made.values()), sum(account.acted.values())
    told = Counter(what for what, _ in account.disturbances)
    whens = ", ".join(f"{account.whens[when]} {words}" for when, words in WHENS.items())
    ends = ["went through", *FAILURES]
    publish(
        "isolation",
        "Isolation: what one model does to its process, beside healthy ones",
        [
            f"{count} saboteurs of {len(account.made)} kinds with drawn parameters (seed {seed}), "
            f"in {account.runs} runs with one worker process at a time and with two, in turns. "
            f"Each does its harm once ({whens}) and answers as well as it can from then on. In "
            "every run three healthy models stand first, in the middle and last: a torch module "
            "(distances, softmax, dropout), a forest of scikit-learn, and a function that answers "
            "with a digest of its process: environment, folder, paths, limits, signals, umask, "
            f"streams, threads, flags. Accuracy on {SAMPLES} digits, nothing cached, a timeout of "
            f"{TIMEOUT:g} s a cell. `keep_going`: a saboteur that fails inspection fails its own "
            "cells.",
            "",
            f"**{len({line.partition(',')[0] for _, line in account.disturbances})} of "
            f"{account.runs} runs disturbed.** {acted} of the saboteurs came to act. One process "
            "is the engine of run after run.",
            "",
            *table(["after each run", "held", "disturbances"], [
                [words, held, told[what]] for (what, words), held in zip(
                    CHECKS.items(),
                    (f"{account.files} files", f"{account.rows} rows",
                     *[f"{account.runs} runs"] * 3),
                    strict=True,
                )
            ]),
            "",
            *(f"- {line}" for _, line in account.disturbances),
            *([""] if told else []),
            "Left out, for any process of a user may do it to any other of his, and each is an "
            "attack rather than a slip: ending, stopping or tracing its parent or other processes "
            "that it has not started; writing into the run's folder, the cache, the folder of the "
            "models or one that modules are imported from; forging what it sends to the engine; "
            "using up the machine's memory, disk or process table. What shares a machine shares "
            "its time: a daemon that spins may do so until the run ends. All on Linux without a "
            "GPU, where processes are forked; elsewhere a daemon in a session of its own outlives "
            "the run.",
            "",
            "How the saboteurs themselves came out of it:",
            "",
            *table(["kind", "saboteurs", "acted", *ends, "in runs disturbed"], [
                [kind, made, account.acted[kind], *(account.ends[kind][end] for end in ends),
                 account.disturbed[kind]]
                for kind, made in sorted(account.made.items())
            ]),
        ],
        "torch", "numpy", "scikit-learn", "pyarrow",
    )  # fmt: skip


if __name__ == "__main__":
    main()
