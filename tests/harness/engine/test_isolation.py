"""One bad model never takes another down: a crowd of them in one run, beside healthy ones."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.verdict import Status
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Overrides, Resolved, resolve
from crucibench.engine.run import execute
from crucibench.store.cells import CellFile
from crucibench.store.manifest import digests
from crucibench.store.run import Run
from crucibench.util.errors import InputError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits memory, looks into /proc"),
]

MODULES = {"good", "threaded", "boom", "stuck", "fickle"}
HEALTHY = ["good", "fair"]
BAD = ["raises", "nan", "quits", "exits", "faults", "hangs", "leaks", "killed"]
ODD = ["slow", "drips", "shouts", "closes", "writes", "forks", "threaded"]
TIMED = ["good", "fair", "boom", "stuck"]
LIMIT = 1536 << 20
TIMEOUT = 10.0


@dataclass
class Crowd:
    """A run of all, and one of the healthy alone."""

    run: Run
    alone: Run
    folder: Path

    def cell(self, model: str, scenario: str = "test") -> CellFile:
        (found,) = [
            file
            for file in self.run.cells.values()
            if (file.model, file.scenario) == (model, scenario)
        ]
        return found

    def log(self, model: str, scenario: str = "test") -> str:
        return self.run.layout.log(self.cell(model, scenario).cell).read_text(errors="replace")

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = self.run.layout.events.read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]


@pytest.fixture(scope="module")
def plugin(sample_plugin: Path, plugged: Any) -> Iterator[None]:
    with plugged(sample_plugin):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with models.py and 512 small images: data.npz."""
    made = tmp_path_factory.mktemp("crowd")
    shutil.copy(Path(__file__).with_name("misbehaving.py"), made / "models.py")
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 512)
    wave = np.tile([0.2, 0.8], 4)
    images = np.where(labels[:, None, None] == 1, wave[None, None, :], wave[None, :, None])
    images = np.clip(images + rng.normal(0, 0.15, (512, 8, 8)), 0, 1)
    images[:, 0, 0] = np.arange(512) / 512
    np.savez(made / "data.npz", images=images.astype(np.float32), labels=labels)
    return made


def spec(folder: Path, tracks: Mapping[str, list[str]], timeout: float = TIMEOUT) -> Resolved:
    names = dict.fromkeys(name for models in tracks.values() for name in models)
    document = {
        "models": [
            {"name": name, "uri": f"{'torch' if name in MODULES else 'python'}:models.py:{name}"}
            for name in names
        ],
        "data": [{"name": "images", "uri": "npz:data.npz"}],
        "tracks": [
            {"name": suite, "models": models, "data": "images", "suites": [suite]}
            for suite, models in tracks.items()
        ],
    }
    defaults = {"batch_size": 8, "threads": 1, "timeout": timeout, "replicates": 100}
    return resolve(document, folder, "spec", Overrides(defaults=defaults))


def carry_out(folder: Path, resolved: Resolved, out: str, workers: int, **options: Any) -> Run:
    done = execute(
        resolved,
        RunOptions(
            out=folder / out, scratch=folder / "scratch", cache=False, workers=workers, **options
        ),
        Listener(),
    )
    assert done is not None
    return done


@pytest.fixture(scope="module")
def crowd(plugin: None, folder: Path) -> Crowd:
    killer = threading.Thread(target=_kill_from_outside, args=(folder / "killed.pid",), daemon=True)
    killer.start()
    all_of_them = {"accuracy": [*HEALTHY, *BAD, *ODD], "sample": TIMED}
    resolved = spec(folder, all_of_them)
    run = carry_out(folder, resolved, "all", workers=2, memory=LIMIT)
    alone = spec(folder, {"accuracy": HEALTHY, "sample": HEALTHY})
    return Crowd(run, carry_out(folder, alone, "alone", workers=1), folder)


def _kill_from_outside(file: Path) -> None:
    while not file.is_file() or not file.read_text():
        time.sleep(0.05)
    os.kill(int(file.read_text()), signal.SIGKILL)


# -- the crowd -----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_healthy_models_give_the_same_bytes_as_alone(crowd: Crowd) -> None:
    same_as_alone(crowd, 60)


@pytest.mark.thorough
def test_in_a_small_crowd_too(plugin: None, folder: Path) -> None:
    bad = {
        "raises": "RuntimeError: this is my own bug",
        "nan": "scores: 8 of 8 rows in a batch are not finite",
        "exits": "the worker process ended with exit code 3",
        "faults": "killed by SIGSEGV: a fault in native code",
    }
    run = carry_out(folder, spec(folder, {"accuracy": [*HEALTHY, *bad]}), "few", workers=2)
    alone = carry_out(folder, spec(folder, {"accuracy": HEALTHY}), "healthy", workers=1)
    crowd = Crowd(run, alone, folder)
    same_as_alone(crowd, 10)
    assert run.exit_code == 4
    for model, reason in bad.items():
        assert crowd.cell(model).status is Status.FAILED
        assert reason in crowd.cell(model).reason
        assert crowd.cell(model, "clean").status is Status.FAILED


def same_as_alone(crowd: Crowd, files: int) -> None:
    together, alone = digests(crowd.run.layout), digests(crowd.alone.layout)
    compared = [name for name in alone if name.startswith("cells/") and "rounds" not in name]
    assert len(compared) > files
    for name in compared:
        assert together[name] == alone[name], name
    rows = [
        run.metrics().query(f"model in {HEALTHY} and scenario != 'rounds'").reset_index(drop=True)
        for run in (crowd.run, crowd.alone)
    ]
    assert len(rows[0]) and rows[0].equals(rows[1])
    assert crowd.alone.exit_code == 0


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "reason", "detail", "printed"),
    [
        ("raises", "RuntimeError: this is my own bug", "in raises", "the last that I say"),
        ("nan", "scores: 8 of 8 rows in a batch are not finite", "", ""),
        ("quits", "SystemExit: I would rather not", "in quits", ""),
        ("exits", "the worker process ended with exit code 3", "goodbye", "goodbye"),
        ("faults", "killed by SIGSEGV: a fault in native code", "in faults", "in string_at"),
        ("hangs", f"longer than its timeout of {TIMEOUT:g} s", "in hangs", "one moment"),
        ("leaks", "memory ran out: ", "in leaks", "a little more"),
        ("killed", "the worker process was killed by SIGKILL", "", ""),
    ],
)
def test_a_bad_model_fails_with_a_sentence(
    crowd: Crowd, model: str, reason: str, detail: str, printed: str
) -> None:
    file = crowd.cell(model)
    assert file.status is Status.FAILED
    assert reason in file.reason and "\n" not in file.reason
    assert detail in file.detail
    if printed:
        assert printed in crowd.log(model)
    needing = crowd.cell(model, "clean")
    assert needing.status is Status.FAILED
    assert needing.reason == f"it needs pass/test, which failed: {file.reason}"


@pytest.mark.thorough
def test_a_fault_leaves_its_traceback_and_no_list_of_libraries(crowd: Crowd) -> None:
    for text in (crowd.log("faults"), crowd.cell("faults").detail):
        assert "about to read what is not mine" in text
        assert "Fatal Python error: Segmentation fault" in text
        assert "Extension modules" not in text


@pytest.mark.thorough
@pytest.mark.parametrize("model", ODD)
def test_an_odd_model_is_as_right_as_any(crowd: Crowd, model: str) -> None:
    file = crowd.cell(model)
    assert file.status is Status.OK, file.reason
    assert not {"batch-reduced"} & {finding.code for finding in file.findings}
    same = "good" if model == "threaded" else "fair"
    names = sorted(path.name for path in crowd.run.layout.cell(file.cell).glob("*.parquet"))
    assert any(name.startswith("records") for name in names)
    for name in names:
        theirs = crowd.run.layout.cell(crowd.cell(same).cell) / name
        own = crowd.run.layout.cell(file.cell) / name
        assert own.read_bytes() == theirs.read_bytes(), name


@pytest.mark.thorough
def test_a_torrent_of_text_is_kept_from_both_ends(crowd: Crowd) -> None:
    path = crowd.run.layout.log(crowd.cell("shouts").cell)
    assert 500_000 < path.stat().st_size <= 1 << 20
    assert "... left out ..." in crowd.log("shouts")
    assert crowd.log("shouts").rstrip().endswith("that was a child")


@pytest.mark.thorough
def test_what_is_printed_at_closed_doors_is_nowhere_else(crowd: Crowd) -> None:
    assert "behind a closed door" in crowd.log("closes")
    assert "garbage" in crowd.log("writes")
    tables = crowd.run.root.rglob("*.parquet")
    assert not any(b"garbage" in path.read_bytes() for path in tables)


@pytest.mark.thorough
def test_a_worker_worn_by_a_leak_is_exchanged(crowd: Crowd) -> None:
    worn = [event["reason"] for event in crowd.events("worker") if event["state"] == "worn"]
    assert worn and all("memory" in reason or "allocate" in reason for reason in worn)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["exits.pid", "forks.pid"])
def test_no_child_of_a_model_is_left(crowd: Crowd, name: str) -> None:
    status = Path("/proc") / (crowd.folder / name).read_text() / "status"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        assert "State:\tZ" in status.read_text()


@pytest.mark.thorough
def test_a_cohort_is_timed_again_without_those_who_stop_it(crowd: Crowd) -> None:
    rounds = {model: crowd.cell(model, "rounds") for model in TIMED}
    assert rounds["good"].status is rounds["fair"].status is Status.OK
    frames = [crowd.run.records(rounds[model].cell) for model in HEALTHY]
    assert all(list(frame["round"]) == list(range(6)) for frame in frames)
    begun = np.concatenate([frame["begun"].to_numpy() for frame in frames])
    order = np.argsort(begun) // 6
    assert list(order) == [0, 1] * 6, "their rounds are A B A B"
    assert rounds["boom"].status is rounds["stuck"].status is Status.FAILED
    assert "SIGSEGV" in rounds["boom"].reason and "timeout" in rounds["stuck"].reason
    assert "boom" in crowd.log("boom", "rounds") and "in forward" in rounds["boom"].detail
    assert "in forward" in rounds["stuck"].detail
    for model in ("boom", "stuck"):
        assert crowd.cell(model, "noise").status is Status.OK
        assert crowd.cell(model, "search").status is Status.OK


@pytest.mark.thorough
def test_the_exit_code_tells(crowd: Crowd) -> None:
    assert crowd.run.exit_code == 4
    failed = {file.model for file in crowd.run.cells.values() if file.status is Status.FAILED}
    assert failed == {*BAD, "boom", "stuck"}


# -- inspection ----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_who_fails_inspection_fails_alone(folder: Path) -> None:
    resolved = spec(folder, {"accuracy": ["early_fault", "fair", "early_hang"]}, timeout=8.0)
    run = carry_out(folder, resolved, "early", workers=2, keep_going=True)
    found = {file.model: file for file in run.cells.values() if file.scenario == "inspection"}
    assert "killed by SIGSEGV" in found["early_fault"].reason
    assert "not even the first batch" in found["early_fault"].detail
    assert "in early_fault" in found["early_fault"].detail
    assert found["early_hang"].reason == (
        "it did not open and answer a probe batch within the timeout of 8 s"
    )
    assert "in early_hang" in found["early_hang"].detail
    others = [file for file in run.cells.values() if file.model == "fair"]
    assert len(others) == 2 and {file.status for file in others} == {Status.OK}
    assert run.exit_code == 4


def test_a_crash_in_inspection_is_a_mistake_of_the_spec(folder: Path) -> None:
    resolved = spec(folder, {"accuracy": ["fair", "early_fault"]})
    with pytest.raises(InputError) as caught:
        carry_out(folder, resolved, "refused", workers=1)
    assert str(caught.value) == (
        "spec: model 'early_fault' on 'images': it can't be opened: the worker process was killed "
        "by SIGSEGV: a fault in native code"
    )
    assert "in early_fault" in str(caught.value.detail)
    assert not (folder / "refused").exists()


def test_a_factory_that_makes_another_model_each_time_is_found_out(folder: Path) -> None:
    # Two models are kept open at once: the first has to be opened again.
    resolved = spec(folder, {"accuracy": ["fickle", *HEALTHY]})
    run = carry_out(folder, resolved, "fickle", workers=0)
    file = next(file for file in run.cells.values() if file.model == "fickle")
    assert file.status is Status.FAILED
    assert "is not the one that was inspected when the run began (other: weights)" in file.reason
