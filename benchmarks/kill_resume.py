"""Runs of the command line that are killed again and again, and are in the end what they should be.

    python benchmarks/kill_resume.py --kills 200

The sample plug-in of the tests (a scenario of each kind, two models) and the accuracy suite run in
one worker process. The engine is killed with SIGKILL at a random instant: in turns of the time that
a whole run takes, and of the time that it takes from its first line in the log. The same command is
given again in the same folder, until it gets through. Then the run is held against one that nobody
killed, file by file, and the next one begins.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from _report import publish, table

PLUGIN = Path(__file__).parent.parent / "tests" / "sample_plugin"
SPEC = {
    "models": [{"name": "a", "uri": "nearest:0"}, {"name": "b", "uri": "nearest:2"}],
    "data": [{"name": "stripes", "uri": "stripes:600"}],
    "defaults": {"batch_size": 8, "threads": 1},
}
BEGINNING = "starting, reading the data, inspecting"
PHASES = {
    "started": "writing spec, environment and samples",
    "cell-started": "a cell begins",
    "probe": "collecting: after a probe",
    "shard": "collecting: after a shard",
    "timed": "timing ends",
    "score": "a cell is scored",
    "cell": "between cells; metric rows; manifest",
    "finished": "report and leaderboard",
}
VIEWS = {"timing.json", "log.txt"}


@dataclass
class Account:
    """What happened.

    Attributes:
        phases: of each kill.
        through: runs that got through, after so many kills each.
        unequal: what differed from the whole run.
        tasks: shards and probes that were collected, over all attempts.
        again: of these, how many had been collected before.
        unnoted: files that were whole when the kill came, but not in the journal yet.
        orphans: workers that outlived their engine by two seconds.
        longest: seconds after which the last worker of a killed engine was gone.
    """

    phases: Counter[str] = field(default_factory=Counter)
    through: list[int] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    tasks: int = 0
    again: int = 0
    unnoted: int = 0
    orphans: int = 0
    longest: float = 0.0

    @property
    def kills(self) -> int:
        return sum(self.phases.values())

    @classmethod
    def load(cls, file: Path | None) -> Account:
        """Returns what an earlier call has left in a file, or an empty account."""
        if file is None or not file.is_file():
            return cls()
        facts = json.loads(file.read_text(encoding="utf-8"))
        return cls(**{**facts, "phases": Counter(facts["phases"])})

    def add(self, other: Account) -> None:
        self.phases += other.phases
        self.through += other.through
        self.unequal += other.unequal
        self.tasks += other.tasks
        self.again += other.again
        self.unnoted += other.unnoted
        self.orphans += other.orphans
        self.longest = max(self.longest, other.longest)


class Command:
    """The command, in folders of its own."""

    def __init__(self, work: Path) -> None:
        self.work = work
        plugin = work / "plugin"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
                *("--disable-pip-version-check", "--no-build-isolation"),
                *("--target", str(plugin), str(PLUGIN)),
            ],
            check=True,
        )
        sys.path.insert(0, str(plugin))
        (work / "spec.yaml").write_text(json.dumps(SPEC), encoding="utf-8")
        self._settings = {
            **os.environ, "PYTHONPATH": str(plugin), "CRUCIBENCH_CACHE": str(work / "scratch"),
        }  # fmt: skip

    def start(self, out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "crucibench", "run", "spec.yaml", "--out", out),
                *("--suite", "sample,accuracy", "--set", "sample.reference=b", "--workers", "1"),
                *("--no-cache", "--quiet", "--format", "json"),
            ],
            cwd=self.work, env=self._settings, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def root(self, out: str) -> Path | None:
        return next((path for path in (self.work / out).glob("*") if path.is_dir()), None)


def results(root: Path) -> Mapping[str, Any]:
    """Returns what must be the same: digests of all files, and metric rows, but of timed cells."""
    from crucibench.store.run import Run

    run = Run(root)
    timed = {name for name, file in run.cells.items() if file.kind == "timed"}
    files: dict[str, Any] = {
        name: digest for name, digest in run.manifest["files"].items()
        if not timed & set(name.split("/"))
    }  # fmt: skip
    rows = run.metrics()
    return files | {"metrics.parquet": rows[~rows.cell.isin(timed)].to_csv()}


def log(root: Path | None) -> list[dict[str, Any]]:
    path = None if root is None else root / "events.jsonl"
    events: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path is not None and path.is_file() else ():
        with suppress(ValueError):  # a kill may tear a line
            events.append(json.loads(line))
    return events


def phase(events: list[dict[str, Any]], before: int) -> str:
    """Says what a killed attempt was at: the last that its log tells."""
    if len(events) <= before:
        return BEGINNING
    last = events[-1]
    return PHASES.get(last.get("kind") or last["event"], last["event"])


def unnoted(root: Path | None) -> int:
    """Returns how many files of records lie there that the journals do not vouch for."""
    count = 0
    for cell in () if root is None else root.glob("cells/*"):
        journal = cell / ".journal"
        noted: set[str] = set()
        for line in journal.read_bytes().splitlines() if journal.is_file() else ():
            noted |= json.loads(line.partition(b" ")[2] or b"{}").get("files", {}).keys()
        timed_or_mapped = journal.is_file()
        count += timed_or_mapped * sum(
            path.name not in noted for path in cell.glob("records-*.parquet")
        )
    return count


def kill(running: subprocess.Popen[bytes], account: Account) -> None:
    try:
        workers = psutil.Process(running.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        workers = []
    running.send_signal(signal.SIGKILL)
    killed = time.perf_counter()
    running.wait()
    while alive := [one for one in workers if _lives(one)]:
        if time.perf_counter() - killed > 2:
            account.orphans += len(alive)
            break
        time.sleep(0.002)
    account.longest = max(account.longest, time.perf_counter() - killed if workers else 0.0)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Instants:
    """When to kill.

    Attributes:
        draw: draws.
        whole: seconds that a run takes.
        work: seconds from its first line in the log.
    """

    draw: random.Random
    whole: float
    work: float

    def wait(self, running: subprocess.Popen[bytes], began: Callable[[], bool], kill: int) -> bool:
        """Waits for the instant; returns False if the process ended before it."""
        seconds = self.draw.uniform(0, self.whole if kill % 2 else self.work)
        while kill % 2 == 0 and not began() and running.poll() is None:
            time.sleep(0.005)
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False


def one_run(command: Command, out: str, instants: Instants, account: Account, most: int) -> None:
    """Kills a run, up to `most` times, until it gets through."""
    kills = 0
    while True:
        before = len(log(command.root(out)))
        running = command.start(out)
        if kills < most and instants.wait(
            running, lambda told=before: len(log(command.root(out))) > told, account.kills
        ):
            kill(running, account)
            kills += 1
            account.phases[phase(log(command.root(out)), before)] += 1
            account.unnoted += unnoted(command.root(out))
            continue
        if running.wait():
            raise RuntimeError(f"{out}: a resumed run ended with exit code {running.returncode}")
        account.through.append(kills)
        return


def count_tasks(root: Path, account: Account) -> None:
    tasks = Counter(
        (event["cell"], event["kind"], event.get("stage"), event.get("shard"))
        for event in log(root)
        if event["event"] == "task" and event["kind"] in {"probe", "shard"}
    )
    account.tasks += sum(tasks.values())
    account.again += sum(tasks.values()) - len(tasks)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a file to go on from, and to keep the count in")
    parser.add_argument("--minutes", type=float, help="begin no more kills after so long")
    options = parser.parse_args()
    account = Account.load(options.keep)
    with tempfile.TemporaryDirectory() as name:
        command = Command(Path(name))
        from crucibench.api import verify

        command.start("warm").wait()
        begun = time.perf_counter()
        if command.start("whole").wait():
            raise RuntimeError("the run that nobody kills does not end well")
        seconds = time.perf_counter() - begun
        whole = command.root("whole")
        assert whole is not None
        expected = results(whole)
        times = [event["time"] for event in log(whole)]
        draw = random.Random(f"{options.seed} {account.kills}")
        instants = Instants(draw, seconds, times[-1] - times[0])
        shards = len(list(whole.glob("cells/*/records-*.parquet")))
        ends = time.monotonic() + 60 * (options.minutes or 1e6)
        while account.kills < options.kills and time.monotonic() < ends:
            out = f"run-{len(account.through)}"
            one = Account()
            one_run(command, out, instants, one, options.kills - account.kills)
            root = command.root(out)
            assert root is not None
            found = results(root)
            one.unequal += [
                f"{out}: {key}" for key in sorted(expected.keys() | found.keys())
                if expected.get(key) != found.get(key)
            ]  # fmt: skip
            one.unequal += [f"{out}: {sentence}" for sentence in verify(root)]
            if not (root / "report.html").is_file():
                one.unequal.append(f"{out}: report.html is missing")
            count_tasks(root, one)
            account.add(one)
            if options.keep is not None:
                options.keep.write_text(json.dumps(vars(account)), encoding="utf-8")
            shutil.rmtree(root.parent)
            print(f"{account.kills} kills, {len(account.through)} runs", file=sys.stderr)
            report(account, instants, shards)  # now and again: it takes long


def report(account: Account, instants: Instants, shards: int) -> None:
    runs = len(account.through)
    facts = [
        ("kills", account.kills),
        ("runs that got through", f"{runs}, after up to {max(account.through)} kills each"),
        ("of these, equal to the whole run, and sound to `verify`",
         runs - len({line.partition(":")[0] for line in account.unequal})),
        ("differing files, rows or sentences of `verify`", len(account.unequal)),
        ("shards and probe sets collected, over all attempts", f"{account.tasks:,}"),
        ("of these, collected before and noted in the log: work repeated", account.again),
        ("records whole on disk, but not yet in the journal, when the kill came", account.unnoted),
        ("workers that outlived their engine by two seconds", account.orphans),
        ("the last worker of a killed engine was gone after, at most, s", f"{account.longest:.2f}"),
    ]  # fmt: skip
    order = [BEGINNING, *PHASES.values()]
    phases = sorted(account.phases.items(), key=lambda one: order.index(one[0]))
    publish(
        "kill-resume",
        "Runs that are killed and resumed",
        [
            "`crucibench run` with one worker: two models, the sample plug-in of the tests (a "
            f"scenario of each kind) and the accuracy suite, {shards} files of records. Nobody "
            f"kills it: {instants.whole:.1f} s, {instants.work:.1f} s of these from its first line "
            "in the log. SIGKILL to the engine at an instant drawn evenly from the one or the "
            "other time, in turns; the same command again until it gets through; then every file "
            "of the manifest and every metric row is held against the run that nobody killed. "
            "Timed cells are left out: their times are others each time.",
            "",
            *table(["what", "count"], facts),
            "",
            "What an attempt had last told its log when it was killed:",
            "",
            *table(["phase", "kills"], phases),
            *[f"- {line}" for line in account.unequal],
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
