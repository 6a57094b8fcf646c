from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from crucibench.contracts.verdict import Status, Verdict
from crucibench.engine.collect import lifecycle
from crucibench.engine.executors.local import LocalExecutor
from crucibench.engine.executors.zygote import Child, can_fork
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.run import execute
from crucibench.engine.worker.tasks import Began, FactsTask, Gone, Message, Setup
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
forked = pytest.mark.skipif(not can_fork(), reason="processes are started here, not forked")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(HERE / "sharing.py", tmp_path / "sharing.py")
    return tmp_path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Returns what is recorded of the victim where nobody else is asked."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copy(HERE / "sharing.py", folder / "sharing.py")
    found = records(evaluate(folder, "victim"), "victim")
    assert found
    return found


def evaluate(
    folder: Path, models: str, *, data: str = "points", workers: int = 1, out: str = "out",
    suites: tuple[str, ...] = ("accuracy",), cache: bool = False,
) -> Run:  # fmt: skip
    document = {
        "models": [{"name": name, "uri": f"torch:sharing.py:{name}"} for name in models.split()],
        "data": [{"name": "points", "uri": f"python:sharing.py:{data}?target=label"}],
    }
    defaults = {"threads": 1, "batch_size": 32, "replicates": 100}
    resolved = resolve(document, folder, "spec", Overrides(defaults=defaults, suites=suites))
    options = RunOptions(
        out=folder / out, scratch=folder / "scratch", workers=workers, cache=cache
    )  # fmt: skip
    run = execute(resolved, options, Listener())
    assert run is not None
    return run


def records(run: Run, model: str) -> dict[str, str]:
    return {
        f"{cell}/{path.name}": file_digest(path)
        for cell, file in run.cells.items()
        if file.model == model
        for path in sorted(run.layout.cell(cell).glob("*.parquet"))
    }


def pids(folder: Path) -> dict[str, set[int]]:
    found = defaultdict(set)
    for line in (folder / "pids.txt").read_text().splitlines():
        name, pid = line.split()
        found[name].add(int(pid))
    return found


def test_what_a_models_code_changes_reaches_no_other_model(
    folder: Path, alone: dict[str, str]
) -> None:
    together = evaluate(folder, "saboteur victim other")
    assert records(together, "victim") == alone
    accuracy = together.metrics().query("metric == 'top-1'").set_index("model").value
    assert accuracy["victim"] == accuracy["other"] > 0.9 > accuracy["saboteur"]
    asked = pids(folder)
    for name in ("victim", "other", "saboteur", "data"):
        others = [asked[other] for other in asked if other != name]
        assert asked[name] and not asked[name] & set().union(*others), name
        assert os.getpid() not in asked[name]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux, pipes by number")
def test_a_process_that_may_not_write_or_hears_no_tasks_fails_its_own_cells_alone(
    folder: Path,
) -> None:
    run = evaluate(folder, "limited deaf victim")
    reasons = {(file.model, file.status): file.reason for file in run.cells.values()}
    assert reasons.keys() == {
        ("limited", Status.FAILED), ("deaf", Status.FAILED), ("victim", Status.OK),
    }  # fmt: skip
    assert "File too large" in str(reasons["limited", Status.FAILED])


@pytest.mark.parametrize("alive", [True, False])
def test_two_workers_score_in_processes_and_what_dies_there_is_scored_here(
    folder: Path, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    scored: list[str] = []

    def conclude(cell: Any, *given: Any) -> Any:
        scored.append(cell.id)
        return real(cell, *given)

    real = lifecycle.conclude
    monkeypatch.setattr(lifecycle, "conclude", conclude)
    if not alive:
        monkeypatch.setattr(LocalExecutor, "aside", lambda executor, task: None)
    run = evaluate(folder, "victim", workers=2)
    assert records(run, "victim") == alone
    assert set(scored) == (set() if alive else set(run.cells))
    monkeypatch.undo()
    one = evaluate(folder, "victim", out="one")
    assert run.metrics().equals(one.metrics())


@forked
def test_a_daemon_in_a_session_of_its_own_ends_with_the_run(folder: Path) -> None:
    run = evaluate(folder, "leaver victim")
    assert {file.status for file in run.cells.values()} == {Status.OK}
    daemons = pids(folder)["daemon"]
    assert daemons
    assert not [pid for pid in daemons if Path(f"/proc/{pid}").exists() and state(pid) != "Z"]


def test_data_that_code_makes_reach_no_model_with_what_it_changes(
    folder: Path, alone: dict[str, str]
) -> None:
    run = evaluate(folder, "victim", data="poisoned")
    assert [file.status for file in run.cells.values()] == [Status.OK] * len(run.cells)
    assert list(records(run, "victim").values()) == list(alone.values())


def test_data_whose_code_ends_the_process_is_one_sentence(folder: Path, refusal: Any) -> None:
    assert "it can't be read: the worker process ended with exit code 3" in refusal(
        InputError, lambda: evaluate(folder, "victim", data="broken")
    )


@pytest.fixture
def restored(library_watch: None) -> Iterator[None]:
    kept = torch.cdist, torch.nn.Linear.forward
    yield
    torch.cdist, torch.nn.Linear.forward = kept


def test_in_one_process_a_replaced_function_is_named_and_nothing_is_kept(
    folder: Path, restored: None
) -> None:
    run = evaluate(folder, "victim replacer", workers=0, cache=True)
    assert run.cells
    for file in run.cells.values():
        finding = next(one for one in file.findings if one.code == "replaced-function")
        assert file.verdict == Verdict.INVALID
        names = {"torch.cdist", "torch.nn.modules.linear.Linear.forward"}
        assert finding.cell or set(finding.evidence["replaced"]) == names
    assert not list((folder / "scratch" / "cells").rglob("*.parquet"))


def test_in_one_process_a_run_that_stops_notes_what_was_replaced(
    folder: Path, restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listener, "started", lambda *_: signal.raise_signal(signal.SIGINT))
    # A suite that runs in the background is begun with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            evaluate(folder, "replacer", workers=0)
    finally:
        signal.signal(signal.SIGINT, before)
    (journal,) = (folder / "out").rglob(".journal")
    assert "torch.cdist" in journal.read_text()


def test_in_one_process_honest_models_are_valid(folder: Path, library_watch: None) -> None:
    run = evaluate(folder, "victim other", workers=0)
    codes = {finding.code for file in run.cells.values() for finding in file.findings}
    assert "replaced-function" not in codes
    assert run.exit_code == 0


# -- the executor --------------------------------------------------------------------------------


@pytest.fixture
def executor(folder: Path) -> Iterator[LocalExecutor]:
    found = LocalExecutor(1, 1)
    resolved = resolve(
        {"models": [{"name": "victim", "uri": "torch:sharing.py:victim"}],
         "data": [{"name": "points", "uri": "python:sharing.py:points?target=label"}]},
        folder, "spec", Overrides(),
    )  # fmt: skip
    setup = Setup(
        resolved=resolved, cards={}, scratch=folder, root=folder, device="cpu", threads=1
    )  # fmt: skip
    found.prepare(setup)
    yield found
    found.close()


def answer(executor: LocalExecutor, seconds: float = 60.0) -> Message:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for heard in executor.poll(0.1):
            if not isinstance(heard.message, Began):
                return heard.message
    raise AssertionError("nothing was heard")


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def ask_for_facts(executor: LocalExecutor) -> Any:
    executor.submit(executor.slots[0], FactsTask())
    return answer(executor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_idle_process_rests_and_is_woken(executor: LocalExecutor) -> None:
    facts = ask_for_facts(executor)
    (process,) = executor._all
    until = time.monotonic() + 10
    while state(process.pid) != "T" and time.monotonic() < until:
        time.sleep(0.01)
    assert state(process.pid) == "T"
    assert ask_for_facts(executor) == facts
    assert executor._all == [process]


@forked
def test_the_process_that_is_forked_has_one_thread(executor: LocalExecutor) -> None:
    ask_for_facts(executor)
    assert executor._zygote is not None
    pid = executor._zygote._pid
    maps = Path(f"/proc/{pid}/maps")
    # What no model of the run needs is not imported, and can be when the data is known.
    assert "libarrow" in maps.read_text() and "libtorch" not in maps.read_text()
    executor._zygote.load(["torch"])
    second = Child(lambda ends: pytest.fail("it was started without a fork"))
    executor._zygote.fork(second)
    assert second.pid > 0  # once it is there
    assert "libtorch" in maps.read_text() and "sharing" not in maps.read_text()
    second.send_signal(signal.SIGKILL)
    second.wait()
    for stream in (second.stdin, second.stdout, second.stderr):
        stream.close()
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    (process,) = executor._all
    parent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert int(parent) == pid


@forked
@pytest.mark.thorough
def test_without_it_workers_start_the_long_way(executor: LocalExecutor) -> None:
    facts = ask_for_facts(executor)
    assert executor._zygote is not None
    os.kill(executor._zygote._pid, signal.SIGKILL)
    answers = [ask_for_facts(executor) for _ in range(3)]
    # What it had forked ends with it, perhaps in the middle of a task.
    assert all(isinstance(one, Gone) or one == facts for one in answers)
    assert answers[-1] == facts


@forked
@pytest.mark.parametrize("whom", ["worker", "zygote"])
def test_nobody_is_left_when_it_is_closed(folder: Path, whom: str) -> None:
    executor = LocalExecutor(1, 1)
    executor.prepare(Setup(
        resolved=None, cards={}, scratch=folder, root=folder, device="cpu", threads=1,  # type: ignore[arg-type]
    ))  # fmt: skip
    executor.submit(executor.slots[0], FactsTask())
    answer(executor)
    assert executor._zygote is not None
    left = executor._all[0].pid if whom == "worker" else executor._zygote._pid
    executor.close()
    until = time.monotonic() + 10
    while time.monotonic() < until and Path(f"/proc/{left}").exists() and state(left) != "Z":
        time.sleep(0.05)
    assert not Path(f"/proc/{left}").exists() or state(left) == "Z"


QUIETLY = (
    "from crucibench.engine.executors.zygote import quiet_libraries\n"
    "with quiet_libraries(): import crucibench.engine.run\n"
)


@forked
@pytest.mark.parametrize("before", ["", QUIETLY, f"{QUIETLY}import torch\n"])
def test_workers_are_forks_of_a_quiet_engine_and_end_with_it(folder: Path, before: str) -> None:
    """A worker is the engine's grandchild: of one program where the engine has one thread."""
    script = (
        f"{before}import sys, time\n"
        "from pathlib import Path\n"
        "kept = open('held', 'w')\n"
        "from crucibench.engine.executors.local import LocalExecutor\n"
        "from crucibench.engine.worker.tasks import FactsTask, Setup\n"
        "e = LocalExecutor(1, 1); p = Path('.')\n"
        "e.prepare(Setup(resolved=None, cards={}, scratch=p, root=p, device='cpu', threads=1))\n"
        "e.submit('local-1', FactsTask())\n"
        "while not any(type(h.message).__name__ == 'WorkerFacts' for h in e.poll(1)): pass\n"
        "print(e._all[0].pid, flush=True); time.sleep(60)\n"
    )
    engine = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=folder
    )  # fmt: skip
    assert engine.stdout is not None
    worker = int(engine.stdout.readline())
    same = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (worker, engine.pid)]
    assert (same[0] == same[1]) == (before == QUIETLY)
    held = [str(one.readlink()) for one in Path(f"/proc/{worker}/fd").iterdir()]
    assert held and str(folder / "held") not in held
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    engine.stdout.close()
    until = time.monotonic() + 10
    while time.monotonic() < until and Path(f"/proc/{worker}").exists() and state(worker) != "Z":
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists() or state(worker) == "Z"


ONLY_FORKS = (
    "from crucibench.engine.executors import zygote\n"
    "zygote.subprocess = None\n"
    "from crucibench.cli import main\n"
    "main()\n"
)


@forked
def test_a_command_forks_its_workers_and_imports_nothing_that_only_models_need(
    folder: Path,
) -> None:
    (folder / "points.csv").write_text("x,y,label\n" + "1,2,a\n-1,0,b\n" * 40)
    model, data = "torch:sharing.py:victim", "csv:points.csv?target=label"
    command = [sys.executable, "-X", "importtime", "-c", ONLY_FORKS, "run", "-q"]
    done = subprocess.run(
        [*command, "--model", model, "--data", data, "--suite", "accuracy"], cwd=folder,
        env={**os.environ, "CRUCIBENCH_CACHE": str(folder), "CRUCIBENCH_WORKERS": "1"},
        capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert list(folder.glob("results/*/manifest.json")), done.stderr
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    imported = {name.partition(".")[0] for name in names}
    assert "numpy" in imported
    needless = {"torch", "sklearn", "datasets", "matplotlib", "foolbox", "transformers"}
    assert sorted(imported & needless) == []


@pytest.mark.thorough
def test_a_process_that_never_begins_its_next_task_is_ended(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = ask_for_facts(executor)
    (process,) = executor._all
    process.tasks = 2  # as if a model had been asked in it
    monkeypatch.setattr(process, "wake", lambda: None)  # it stays held
    monkeypatch.setattr("crucibench.engine.executors.local._BEGIN_SECONDS", 0.5)
    deaf = ask_for_facts(executor)
    assert isinstance(deaf, Gone) and "did not begin its task" in deaf.reason
    monkeypatch.undo()
    assert ask_for_facts(executor) == facts
