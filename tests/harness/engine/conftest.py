from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from crucibench.engine.executors.inline import InlineExecutor
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.run import execute
from crucibench.store.run import Run
from crucibench.store.tables import read_table

Runner = Callable[..., Run]
_VIEWS = {"report.html", "leaderboard.md", "leaderboard.csv"}


@pytest.fixture
def run_spec(with_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Runs the sample suite on stripes; keywords override parts of the spec and the options.

    Without workers the cache is used all the same, which a run of a user's is not: the sample
    models change nothing.
    """

    def run(
        *,
        models: Mapping[str, str] | None = None,
        data: str = "stripes:300",
        defaults: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        suites: tuple[str, ...] = ("sample",),
        out: str = "out",
        listener: Listener | None = None,
        workers: int = 0,
        cache: bool = False,
        **options: Any,
    ) -> Run:
        models = models or {"a": "nearest:0", "b": "nearest:1.5"}
        document = {
            "models": [{"name": name, "uri": uri} for name, uri in models.items()],
            "data": [{"name": "stripes", "uri": data}],
        }
        if settings is None and "b" in models:
            settings = {"sample.reference": "b"}
        if cache and not workers:
            monkeypatch.setattr(InlineExecutor, "caching", True)
        overrides = Overrides(defaults=defaults or {}, settings=settings or {}, suites=suites)
        resolved = resolve(document, tmp_path, "spec", overrides)
        done = execute(
            resolved,
            RunOptions(
                out=tmp_path / out,
                scratch=tmp_path / "scratch",
                workers=workers,
                cache=cache,
                **options,
            ),
            listener or Listener(),
        )
        assert done is not None
        return done

    return run


@pytest.fixture(scope="module")
def made() -> list[Any]:
    """Holds what the first test of a module that needs it makes for all of them."""
    return []


@pytest.fixture
def model(with_plugin: Path) -> Any:
    """Returns the class of the sample package's adapter."""
    from crucibench_sample.adapter import NearestMean  # type: ignore[import-not-found]

    return NearestMean


class Mortal:
    """Attempts at one run of the sample suite, each in a process that can be killed."""

    spec: Mapping[str, Any] = {
        "models": [{"name": "a", "uri": "nearest:0"}, {"name": "b", "uri": "nearest:5"}],
        "data": [{"name": "stripes", "uri": "stripes:40"}],
    }
    defaults: Mapping[str, Any] = {"batch_size": 8, "threads": 1}

    def __init__(self, plugin: Path, folder: Path) -> None:
        script = Path(__file__).with_name("mortal.py")
        # The lease of the machine is this process's own: other tests' timings do no harm here.
        settings = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(folder)}
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(plugin)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | settings,
        )  # fmt: skip

    def attempt(self, folder: Path, **more: Any) -> dict[str, Any]:
        """Runs in `folder`.

        Args:
            folder: is made if it is not there; holds results and cache.
            more: ``seconds`` after which, or the number of the ``step`` at which the process is
                killed, or finds the disk full: ``full``; see mortal.py. What else is given goes
                before what is usual.

        Returns:
            ``code``: the exit code, -9 if it was killed; ``wall``: the seconds it took; ``at``:
            the step at which it was killed; ``run`` and ``steps`` of one that got through;
            ``refused``: why it did not.
        """
        (answer,) = self.at_once((folder, more))
        return answer

    def at_once(self, *attempts: tuple[Path, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Makes several attempts at the same time."""
        commands = []
        for folder, more in attempts:
            folder.mkdir(exist_ok=True)
            usual = {
                "base": str(folder), "out": str(folder / "out"), "cache": False, "spec": self.spec,
                "scratch": str(folder / "scratch"), "defaults": self.defaults,
            }  # fmt: skip
            commands.append(usual | dict(more))
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(commands) + "\n")
        self._process.stdin.flush()
        answers: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return answers

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def mortal(sample_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    """Returns a process that has imported everything and forks one child an attempt."""
    process = Mortal(sample_plugin, tmp_path_factory.mktemp("mortal"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, Any]]:
    """Returns a function that gives all that must be the same of a run, by name.

    Timed cells, timings, logs and hidden files are not among it; metric rows and manifest are, less
    what they hold of timed cells.
    """

    def found(root: Path) -> dict[str, Any]:
        kinds = {
            path.parent.name: json.loads(path.read_text(encoding="utf-8"))["kind"]
            for path in root.glob("cells/*/cell.json")
        }
        timed = {cell for cell, kind in kinds.items() if kind == "timed"}
        kept: dict[str, Any] = {"cells": sorted(kinds)}
        for path in root.rglob("*"):
            parts = path.relative_to(root).parts
            exempt = parts[-1] in {"timing.json", "log.txt", "events.jsonl", *_VIEWS}
            hidden = any(part.startswith(".") for part in parts)
            if path.is_file() and not exempt and not hidden and not timed & set(parts):
                kept["/".join(parts)] = path.read_bytes()
        manifest = json.loads(kept["manifest.json"])
        kept["manifest.json"] = {
            name: digest for name, digest in manifest["files"].items()
            if not timed & set(name.split("/"))
        }  # fmt: skip
        rows = read_table(root / "metrics.parquet").to_pylist()
        kept["metrics.parquet"] = [repr(row) for row in rows if row["cell"] not in timed]
        return kept

    return found
