"""A process that has imported everything and forks a child for each attempt at a run.

    python mortal.py PLUGIN

Reads a JSON line with a list of attempts, which are made at once, and answers with one. Each child
does a run in itself, without workers, and is killed by its parent after some seconds, or by itself
at the k-th step that it takes on the file system. A step is anything that could be half done: a
file or folder before it is synced, with its last bytes missing, before and after it gets its name,
before it is removed; a line of the log, written by half. Nothing is synced to disk: a kill does not
need it. Instead of being killed, a child can find the disk full from that step on.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(plugin: str) -> None:
    sys.path.insert(0, plugin)
    import torch

    torch.set_num_threads(1)
    import crucibench.engine.executors.inline
    import crucibench.engine.run  # noqa: F401

    # Python warns of threads that are there at a fork; those of NumPy's libraries survive it.
    warnings.simplefilter("ignore", DeprecationWarning)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        children = [Child(command) for command in json.loads(line)]
        found = [child.end() for child in children]
        for answer in found:
            for name in answer.pop("modules", ()):
                _import(name)
        print(json.dumps(found), file=answers, flush=True)


def _import(name: str) -> None:
    # What one child has imported, the next ones need not.
    try:
        importlib.import_module(name)
    except Exception:
        print(f"not imported: {name}", file=sys.stderr)


class Child:
    """One attempt."""

    def __init__(self, command: dict[str, Any]) -> None:
        self._seconds = command.get("seconds")
        self._begun = time.perf_counter()
        self._told, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._told)
            code = 70
            try:
                code = _run(command, writing)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(writing)

    def end(self) -> dict[str, Any]:
        if self._seconds is not None:
            time.sleep(max(0.0, self._begun + self._seconds - time.perf_counter()))
            os.kill(self._pid, signal.SIGKILL)
        with os.fdopen(self._told) as stream:
            told = stream.read()
        _, status = os.waitpid(self._pid, 0)
        wall = time.perf_counter() - self._begun
        answer: dict[str, Any] = {"code": os.waitstatus_to_exitcode(status), "wall": wall}
        for line in told.splitlines():
            answer |= json.loads(line)
        return answer


def _run(command: dict[str, Any], told: int) -> int:
    from crucibench.engine.executors.inline import InlineExecutor
    from crucibench.engine.listener import Listener
    from crucibench.engine.options import RunOptions, RunPart
    from crucibench.engine.parts import merge
    from crucibench.engine.resolve.resolve import Overrides, resolve
    from crucibench.engine.run import execute
    from crucibench.engine.score.rescore import rescore
    from crucibench.store.run import Run
    from crucibench.util.errors import CrucibenchError

    InlineExecutor.caching = True  # every step is to be taken in this process, the cache's too
    steps = Steps(command.get("step"), command.get("full"), told)
    steps.watch()
    known = set(sys.modules)
    resolved = resolve(
        command["spec"], Path(command["base"]), "spec",
        Overrides(
            defaults=command["defaults"], suites=("sample",),
            settings={"sample.reference": "b"} if len(command["spec"]["models"]) > 1 else {},
        ),
    )  # fmt: skip
    options = RunOptions(
        out=Path(command["out"]), scratch=Path(command["scratch"]), workers=0,
        cache=command["cache"], fresh=command.get("fresh", False),
        part=RunPart(*command["part"]) if "part" in command else None,
    )  # fmt: skip
    if "unseen" in command:
        _overlook(Path(command["unseen"]))
    try:
        if "merge" in command:
            run = merge([Path(part) for part in command["merge"]], options.out)
        elif "score" in command:
            run = rescore(Run(Path(command["score"])))
        else:
            run = execute(resolved, options, Listener())
    except CrucibenchError as error:
        steps.tell(refused=str(error))
        return 2
    except OSError as error:
        name = f": {error.filename}" if error.filename else ""
        steps.tell(refused=f"{error.strerror or error}{name}")  # as the command line tells it
        return 74
    assert run is not None
    steps.tell(run=str(run.root), steps=steps.taken, modules=sorted(set(sys.modules) - known))
    return run.exit_code


def _overlook(path: Path) -> None:
    """Lets the first look miss a file, as if it were made right after it."""
    honest = Path.is_file
    looks: list[Path] = []

    def is_file(self: Path) -> bool:
        if self.resolve() == path.resolve():
            looks.append(self)
            return len(looks) > 1 and honest(self)
        return honest(self)

    Path.is_file = is_file  # type: ignore[method-assign]


class Steps:
    """Counts what this process does to the file system, and ends it at the step that it is told."""

    def __init__(self, last: int | None, full: str | None, told: int) -> None:
        """Takes the step, and what fills the disk there if the process is to live on.

        That is the name of a file, written until the disk is full, or "" for a limit on the size of
        files.
        """
        self.taken: list[str] = []
        self._last = last
        self._full = full
        self._told = told

    def tell(self, **facts: Any) -> None:
        content = json.dumps(facts).encode() + b"\n"
        while content:
            content = content[os.write(self._told, content) :]

    def step(self, what: str, tear: Callable[[], object] = lambda: None) -> None:
        """One step; `tear` leaves behind what a kill in the midst of it would."""
        if len(self.taken) == self._last:
            self.tell(at=what)
            if self._full is None:
                tear()
                os.kill(os.getpid(), signal.SIGKILL)
            fill(self._full)
        self.taken.append(what)

    def watch(self) -> None:
        """Puts the steps into the functions through which everything is written."""
        from crucibench.store.events import Events
        from crucibench.util import doors

        def fsync(descriptor: int) -> None:
            name = _name(Path(f"/proc/self/fd/{descriptor}").readlink())
            if name != "a folder":
                self.step(f"torn {name}", lambda: _tear(descriptor))
            self.step(f"unsynced {name}")

        def two(verb: str, honest: Callable[..., None]) -> Callable[..., None]:
            def renamed(old: Any, new: Any, **rest: Any) -> None:
                self.step(f"before the {verb} of {_name(new)}")
                honest(old, new, **rest)
                self.step(f"after the {verb} of {_name(new)}")

            return renamed

        def one(verb: str, honest: Callable[..., None]) -> Callable[..., None]:
            def done(path: Any, *rest: Any, **more: Any) -> None:
                self.step(f"before the {verb} of {_name(path)}")
                honest(path, *rest, **more)

            return done

        def save(path: Path, content: bytes) -> None:
            honest_save(path, content)
            if path.suffix == ".npy":  # others are synced
                self.step(f"torn {_name(path)}", lambda: os.truncate(path, len(content) // 2))

        def add(events: Any, event: str, **facts: Any) -> None:
            honest_add(events, event, **facts)
            self.step(
                f"torn event {event}",
                lambda: os.truncate(events.path, events.path.stat().st_size - 9),
            )

        honest_save, honest_add = doors.write_bytes, Events.add
        os.fsync = fsync
        os.replace, os.rename = two("replacement", os.replace), two("renaming", os.rename)
        os.unlink, os.rmdir = one("removal", os.unlink), one("removal", os.rmdir)
        os.mkdir = one("making", os.mkdir)
        doors.write_bytes, Events.add = save, add


def fill(file: str) -> None:
    """Fills the disk on which `file` is, or lets no file become larger than it is soon."""
    if not file:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
        return
    with contextlib.suppress(OSError), Path(file).open("ab", buffering=0) as stream:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while stream.write(b"\0" * size):
                    pass


def _tear(descriptor: int) -> None:
    # The end of what was written, half of a small file and the last line's half of a journal.
    size = os.fstat(descriptor).st_size
    os.truncate(f"/proc/self/fd/{descriptor}", max(size // 2, size - 20))


def _name(path: Any) -> str:
    """Returns what a file is: its name, less the digits and digests that tell it from others."""
    path = Path(os.fspath(path))
    name = path.name
    if path.is_dir() and not name.startswith(".stage"):
        return "a folder"
    if name.startswith(".") and name.endswith(".tmp"):
        name = f"temporary {name[1:].rpartition('.')[0].rpartition('.')[0]}"
    for head in ("records", "probes", "carry"):
        if head in name:
            return f"{name.partition(head)[0]}{head}"
    return name if len(name) < 32 else "a folder"


if __name__ == "__main__":
    main(sys.argv[1])
