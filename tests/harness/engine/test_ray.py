"""Runs on a Ray cluster: two nodes and a head, all on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from crucibench.contracts.verdict import Status
from crucibench.engine.executors import ray_cluster
from crucibench.engine.listener import Listener
from crucibench.engine.plan.plan import PlannedCell
from crucibench.store.run import Run
from crucibench.util.errors import InputError

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.slow,
    pytest.mark.sockets,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None or os.name == "nt",
        reason="needs Ray, with clusters of several nodes",
    ),
]

_STORE = 80 * 2**20
_MODELS = """
import os
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def fair(images):
    pixels = images.numpy().astype(np.float64)[:, 0]
    lead = 20.0 * (pixels.mean(axis=1).std(axis=1) - pixels.mean(axis=2).std(axis=1))
    right = 1.0 / (1.0 + np.exp(-np.clip(lead, -50.0, 50.0)))
    return np.stack([1.0 - right, right], axis=1)


def slow(images):
    if (HERE / "slowly").exists():
        (HERE / f"pid-{os.getpid()}").touch()
        time.sleep(0.02)
    return fair(images)


def patient(frame):
    if len(frame) == 8:
        time.sleep(0.1)
    right = (frame["x"].to_numpy() % 2).astype(float)
    return np.stack([1.0 - right, right], axis=1)


def dies(images):
    if len(images) == 7:
        print("goodbye")
        os._exit(3)
    return fair(images)
"""
_DEFAULTS = {"batch_size": 8, "threads": 1}


class Nodes:
    """A cluster: a head that does no work, and nodes for a worker each.

    Attributes:
        address: where it is.
        second: the node that tests may remove.
    """

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._before = set(psutil.Process().children(recursive=True))
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": _STORE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self._add()
        self.second = self._add()

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=_STORE)

    def lose(self) -> None:
        """Lets a node vanish, as if its power had gone."""
        self._cluster.remove_node(self.second, allow_graceful=False)

    def add(self) -> None:
        self.second = self._add()

    def close(self) -> None:
        children = psutil.Process().children(recursive=True)
        started = [one for one in children if one not in self._before]
        self._cluster.shutdown()
        # Ray's own agents notice late that their node is gone.
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch, short_folder() as folder:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", str(folder))
        nodes = Nodes()
        yield nodes
        nodes.close()


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Yields a folder for Ray, whose sockets need short paths."""
    with tempfile.TemporaryDirectory(prefix="cb", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _left(processes: list[psutil.Process]) -> list[str]:
    """Returns the processes that are there after a moment."""
    psutil.wait_procs(processes, timeout=10)
    alive = [one for one in processes if one.is_running() and one.status() != "zombie"]
    return [one.name() for one in alive]


@pytest.fixture
def models(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Returns a function that gives the addresses of models of this file, by name."""
    (tmp_path / "models.py").write_text(_MODELS)
    return lambda *names: {name: f"python:models.py:{name}" for name in names}


@pytest.fixture
def on_ray(run_spec: Any, nodes: Nodes) -> Callable[..., Run]:
    """Runs on the cluster; nothing is left of it there."""

    def run(**options: Any) -> Run:
        before = set(psutil.Process().children(recursive=True))
        usual = {"executor": "ray", "workers": 2, "ray_address": nodes.address, "out": "ray"}
        run: Run = run_spec(**(usual | options))
        after = psutil.Process().children(recursive=True)
        ours = [one for one in after if one not in before and "crucibench" in _words(one)]
        assert _left(ours) == []
        return run

    return run


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _events(run: Run, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in run.layout.events.read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_the_records_are_those_of_a_local_run(
    run_spec: Any, on_ray: Any, contents: Callable[[Path], dict[str, Any]]
) -> None:
    """All kinds of scenarios, from a plug-in that only the driver's sys.path has."""
    local, run = run_spec(out="local", defaults=_DEFAULTS), on_ray(defaults=_DEFAULTS)
    assert {file.status for file in run.cells.values()} == {Status.OK}
    assert contents(run.root) == contents(local.root)
    (started,) = _events(run, "started")
    assert (started["executor"], started["workers"]) == ("ray", 2)
    assert {task["worker"] for task in _events(run, "task") if "worker" in task} == {
        "ray-1", "ray-2",
    }  # fmt: skip


class _Losing(Listener):
    """Takes a node away once both work, brings another, and hurries nobody until that works."""

    def __init__(self, nodes: Nodes, folder: Path) -> None:
        self._nodes = nodes
        self._folder = folder
        self._lost = False

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        processes = len(list(self._folder.glob("pid-*")))
        if processes == 2 and not self._lost:
            self._lost = True
            self._nodes.lose()
            self._nodes.add()
        elif processes == 2:
            time.sleep(0.2)


def test_a_lost_node_loses_nothing(
    run_spec: Any,
    on_ray: Any,
    nodes: Nodes,
    models: Any,
    contents: Any,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spec = {"models": models("slow"), "defaults": _DEFAULTS}
    local = run_spec(out="local", **spec)
    (tmp_path / "slowly").touch()
    run = on_ray(listener=_Losing(nodes, tmp_path), **spec)
    assert {file.status for file in run.cells.values()} == {Status.OK}
    assert contents(run.root) == contents(local.root)
    (lost,) = _events(run, "worker")
    assert lost["state"] == "lost" and "gone" in lost["reason"]
    assert capfd.readouterr() == ("", ""), "standard output is for data"
    after = [task for task in _events(run, "task") if task["time"] > lost["time"]]
    assert {task["worker"] for task in after if "worker" in task} == {"ray-1", "ray-2"}


def test_a_model_that_ends_its_process_fails_its_own_cells(
    run_spec: Any, on_ray: Any, models: Any
) -> None:
    both = {"a": "nearest:0", **models("dies")}
    spec = {"suites": ("accuracy",), "defaults": {**_DEFAULTS, "batch_size": 7}}
    local = run_spec(out="local", models={"a": both["a"]}, **spec)
    run = on_ray(models=both, **spec)
    assert {file.status for file in run.cells.values() if file.model == "a"} == {Status.OK}
    shards = list(local.root.glob("cells/*/*.parquet"))
    assert shards
    for path in shards:
        assert (run.root / path.relative_to(local.root)).read_bytes() == path.read_bytes()
    failed = [file for file in run.cells.values() if file.status is Status.FAILED]
    assert {file.model for file in failed} == {"dies"}
    (whole,) = [file for file in failed if (file.suite, file.scenario) == ("pass", "test")]
    assert "exit code 3" in whole.reason
    assert "goodbye" in run.layout.log(whole.cell).read_text()
    crashes = _events(run, "worker")
    assert crashes and {crash["state"] for crash in crashes} == {"crashed"}


def test_a_node_with_other_versions_is_named(
    on_ray: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = ray_cluster.worker_facts
    monkeypatch.setattr(ray_cluster, "worker_facts", lambda d: {**honest(d), "torch": "0.4"})
    with pytest.raises(InputError, match=r"^node .+: torch is [\d.]+\S* there and 0.4 here"):
        on_ray(defaults=_DEFAULTS)
    assert not (tmp_path / "ray").exists()


def test_more_workers_than_fit_are_refused(on_ray: Any) -> None:
    with pytest.raises(InputError, match=r"workers: .* room for 2 of 1 CPUs each, got 3"):
        on_ray(workers=3, defaults=_DEFAULTS)
    with pytest.raises(InputError, match=r"threads: expected at most 1, .*got 2"):
        on_ray(defaults={"threads": 2})


def _text(out: Path) -> str:
    """Returns the events of the run in a folder, if it has begun."""
    return "".join(path.read_text() for path in out.glob("*/events.jsonl"))


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="sends a signal to a process group")
def test_ctrl_c_lets_workers_finish(tmp_path: Path, models: Any) -> None:
    """On a cluster of the run's own: Ctrl-C reaches all of its processes."""
    rows = "\n".join(f"{n},{n % 3},{n % 2}" for n in range(160))
    (tmp_path / "data.csv").write_text(f"x,z,y\n{rows}\n")
    command = [
        sys.executable, "-m", "crucibench", "run", "--model", "python:models.py:patient",
        "--data", "csv:data.csv?target=y", "--suite", "accuracy", "--executor", "ray",
        "--workers", "1", "--threads", "1", "--batch-size", "8", "--out", "out",
    ]  # fmt: skip
    models("patient")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with short_folder() as short:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment | {"RAY_TMPDIR": str(short)}, text=True,
            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # A shell makes what it runs in the background deaf to Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )  # fmt: skip
        until = time.monotonic() + 240
        while "probe" not in _text(tmp_path / "out") and time.monotonic() < until:
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        names = [_words(one) for one in family]
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=240)
        assert process.returncode == 130, stderr
        assert not any(word in stderr for word in ("Traceback", "Ray", "raylet")), stderr
        assert any("raylet" in name for name in names)
        assert _left(family) == []
        assert list(short.iterdir()) == []
    kinds = [json.loads(line) for line in _text(tmp_path / "out").splitlines()]
    assert [line["event"] for line in kinds][-1] == "interrupted"
    assert "worker" not in {line["event"] for line in kinds}
    assert any(line.get("kind") == "shard" for line in kinds), "what was under way is kept"
