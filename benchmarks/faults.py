"""Every door of a small run fails once; the same command again must end as if nothing had been.

    python benchmarks/faults.py --keep faults.jsonl --cases 1000

Two models without torch, accuracy and bias, two worker processes. One run notes every point
at which it changes the disk or starts a process (`_faulty.py`). Each case is a run in folders of
its own with one fault at one point, forked from a process that has imported everything, and the
same command again: first each point has one fault, drawn; then the others, in a drawn order.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# As in the process that workers are forked from: one thread, whatever is imported.
os.environ |= {
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}  # fmt: skip

from _faulty import Faults, kinds_of
from _report import publish, table

import crucibench.engine.run
from crucibench.cli import main as crucibench
from crucibench.engine.worker.replaced import LibraryWatch
from crucibench.util.processes import _children, adopt_orphans, end_children

MODELS = """
import numpy as np

def plain(frame):
    score = 1 / (1 + np.exp(-frame["a"].to_numpy(float)))
    return np.stack([1 - score, score], axis=1)

def other(frame):
    score = 1 / (1 + np.exp(-frame["a"].to_numpy(float) - frame["b"].to_numpy(float)))
    return np.stack([1 - score, score], axis=1)
"""
COMMAND = (
    *("crucibench", "run", "--model", "plain=python:models.py:plain"),
    *("--model", "other=python:models.py:other"),
    *("--data", "csv:data.csv?target=y&groups=g&features=a,b", "--suite", "accuracy,bias"),
    *("--workers", "2", "--batch-size", "32", "--threads", "1", "--device", "cpu", "--no-cache"),
    *("--out", "results", "--quiet", "--format", "json"),
)
SECONDS = 120.0
"""After so long a run counts as hung."""
ORPHAN_SECONDS = 5.0


def prepare(folder: Path) -> None:
    """Makes the folders of a case."""
    draw = random.Random(0)
    rows = ["a,b,g,y"]
    for number in range(160):
        a, b = draw.gauss(0, 1), draw.gauss(0, 1)
        rows.append(f"{a:.6f},{b:.6f},{'uv'[number % 2]},{int(a + b + draw.gauss(0, 1) > 0)}")
    for name in ("work", "home", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "work/models.py").write_text(MODELS, encoding="utf-8")
    (folder / "work/data.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def run(folder: Path, faults: Faults, learn: Path | None = None) -> tuple[int | None, str, int]:
    """Runs the command in a fork.

    Returns:
        Its exit code, below 0 for a signal and None if it hung; what it printed on stderr; and how
        many processes it left.
    """
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            signal.alarm(0)
            os.chdir(folder / "work")
            os.environ |= {
                "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"),
                "CRUCIBENCH_CACHE": str(folder / "cache"),
            }  # fmt: skip
            tempfile.tempdir = None
            for number, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
            faults.install()
            sys.argv = list(COMMAND)
            if learn is not None:  # what workers import, too
                sys.argv[sys.argv.index("--workers") + 1] = "0"
            crucibench()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 70
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            if learn is not None:
                learn.write_text("\n".join(sys.modules), encoding="utf-8")
            os._exit(code)
    code_or_none = _end_of(pid)
    until = time.monotonic() + ORPHAN_SECONDS
    while (left := _living()) and time.monotonic() < until:
        time.sleep(0.01)
    end_children(2.0)
    said = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
    return code_or_none, said, len(left)


def _end_of(pid: int) -> int | None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _living() -> list[int]:
    """Returns the processes that the run has left; what has ended is taken in."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return _children()


def outcome(folder: Path) -> str:
    """Returns a digest of the manifest of the only run there, "" without one."""
    found = list((folder / "work/results").glob("*/manifest.json"))
    return hashlib.sha256(found[0].read_bytes()).hexdigest() if len(found) == 1 else ""


def outside(folder: Path) -> list[str]:
    """Returns what a run has left beside its results and the cache."""
    allowed = {"work", "home", "tmp", "stdout", "stderr", "work/models.py", "work/data.csv"}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return sorted(
        name for name in found - allowed
        if not name.startswith(("work/results", "cache")) and name != "reached"
    )  # fmt: skip


def case(work: Path, point: str, kind: str, whole: str) -> dict[str, Any]:
    """Returns what became of one fault."""
    folder = work / "case"
    shutil.rmtree(folder, ignore_errors=True)
    prepare(folder)
    marker = folder / "reached"
    faults = Faults(folder, point=point, kind=kind, marker=marker)
    first, said, orphans = run(folder, faults)
    reached = marker.exists()
    again, said_again, more = run(folder, Faults(folder))
    wrong = []
    if first in {70, None} or again not in {0} or "Traceback" in said:
        wrong.append(f"exit codes {first}, {again}: {(said + said_again)[-1500:]}")
    if outcome(folder) != whole:
        wrong.append("the manifest differs")
    if orphans + more:
        wrong.append(f"{orphans + more} orphans")
    if left := outside(folder):
        wrong.append(f"left outside: {left}")
    return {"point": point, "kind": kind, "reached": reached, "first": first, "wrong": wrong}


@contextlib.contextmanager
def warm() -> Iterator[tuple[Path, list[str], str, float]]:
    """Imports what a run needs; yields a folder, the points of a run, its manifest's digest and
    the seconds that it takes.
    """
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.dont_write_bytecode = True
    adopt_orphans()
    # Ten thousand names after each shard: it is about what models replace, not about faults.
    LibraryWatch.replaced = lambda self: ()  # type: ignore[method-assign, misc]
    for name in [name for name in os.environ if "proxy" in name.lower() or "CRUCI" in name]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as made:
        work = Path(made).resolve()
        for name in ("learn", "whole", "twice"):
            prepare(work / name)
        code, said, _ = run(work / "learn", Faults(work / "learn"), work / "modules")
        if code:
            raise RuntimeError(f"the run does not end well: {code}: {said}")
        for name in (work / "modules").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        begun = time.perf_counter()
        run(work / "whole", Faults(work / "whole", noted=work / "points"))
        seconds = time.perf_counter() - begun
        run(work / "twice", Faults(work / "twice"))
        if not outcome(work / "whole") or outcome(work / "whole") != outcome(work / "twice"):
            raise RuntimeError("two runs that nobody breaks differ")
        points = list(dict.fromkeys((work / "points").read_text(encoding="utf-8").splitlines()))
        yield work, points, outcome(work / "whole"), seconds


def order(points: list[str], seed: int) -> list[tuple[str, str]]:
    """Returns all pairs of a point and a fault: first one of each point, then the others."""
    draw = random.Random(seed)
    firsts = [(point, draw.choice(kinds_of(point))) for point in points]
    chosen = set(firsts)
    others = [(p, kind) for p in points for kind in kinds_of(p) if (p, kind) not in chosen]
    draw.shuffle(firsts)
    draw.shuffle(others)
    return firsts + others


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a file to go on from; the page is of all in it")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no more after so long")
    parser.add_argument("--only", default="", help="what a point and its fault must match")
    parser.add_argument("--no-page", action="store_true", help="print what went wrong, as JSON")
    options = parser.parse_args()
    done: list[dict[str, Any]] = []
    if options.keep is not None and options.keep.is_file():
        lines = options.keep.read_text(encoding="utf-8").splitlines()
        done = [json.loads(line) for line in lines]
    known = {(one["point"], one["kind"]) for one in done}
    with warm() as (work, points, whole, seconds):
        ends = time.monotonic() + 60 * options.minutes
        for point, kind in order(points, options.seed):
            if len(done) >= options.cases or time.monotonic() > ends:
                break
            if (point, kind) in known or not re.search(options.only, f"{point}: {kind}"):
                continue
            before = _cpu()
            found = case(work, point, kind, whole) | {"cpu": 0.0}
            found["cpu"] = round(_cpu() - before, 2)
            done.append(found)
            if options.keep is not None:
                with options.keep.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(found) + "\n")
            for line in found["wrong"]:
                print(f"{point} / {kind}: {line}", file=sys.stderr, flush=True)
    if options.no_page:
        print(json.dumps(done))
    else:
        page(done, points, seconds)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def page(done: list[dict[str, Any]], points: list[str], seconds: float) -> None:
    """Writes the page."""
    reached = [one for one in done if one["reached"]]
    codes = Counter((one["kind"], one["first"]) for one in reached)
    kinds = sorted({kind for kind, _ in codes})
    shown = sorted({code for _, code in codes}, key=str)
    doors = Counter(one["point"].split()[1] for one in reached)
    wrong = [one for one in done if one["wrong"]]
    facts = [
        ("points of a whole run", f"{len(points):,}"),
        ("cases", f"{len(done):,}"),
        ("in which the fault happened", f"{len(reached):,}"),
        ("points that had a fault", f"{len({one['point'] for one in reached}):,}"),
        ("of the second commands, ended with 0 and an equal manifest",
         sum(not one["wrong"] for one in reached)),
        ("cases with exit code 70, a hang, an orphan, another manifest or a file elsewhere",
         len(wrong)),
        ("CPU hours", f"{sum(one['cpu'] for one in done) / 3600:.2f}"),
    ]  # fmt: skip
    publish(
        "faults",
        "A run whose system fails it once",
        [
            "`crucibench run` of two Python models, the accuracy and the bias suite and two worker "
            f"processes: {seconds:.1f} s where nothing fails. Each case is that run "
            "with one fault at one call that writes, syncs, renames, removes, forks or connects "
            "processes, in the engine, the process that is forked, or a worker; then the same "
            "command again, without a fault. Points of a worker are not always reached: who does "
            "which shard is not fixed. The first 140 cases found one mistake: an error while the "
            "cache of data is written ended with 2, as if the data could not be read. It ends "
            "with 74 now, and the four cases that showed it were run again.",
            "",
            *table(["what", "count"], facts),
            "",
            "How the first command ended (below 0: by that signal), by fault:",
            "",
            *table(
                ["fault", *map(str, shown)],
                [[kind, *(codes[kind, code] for code in shown)] for kind in kinds],
            ),
            "",
            "By door:",
            "",
            *table(["door", "cases"], doors.most_common()),
            *[f"- {one['point']}, {one['kind']}: {one['wrong'][0][:300]}" for one in wrong],
        ],
    )


if __name__ == "__main__":
    main()
