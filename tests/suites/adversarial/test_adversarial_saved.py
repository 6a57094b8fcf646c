"""Saved examples: kept whole, held against the records, and the same bytes however a run went."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits

import crucibench as cb
from crucibench.cli._app import application
from crucibench.engine.ask_again import ask_again
from crucibench.engine.listener import Listener
from crucibench.engine.packing import pack_run
from crucibench.integrity.verify import verify
from crucibench.store.manifest import write_manifest
from crucibench.store.run import Run
from crucibench.store.tables import read_table, write_table

MODEL = """
import os
import time

import torch
from sklearn.datasets import load_digits


class Centroids(torch.nn.Module):
    def __init__(self):
        super().__init__()
        x, y = load_digits(return_X_y=True)
        means = torch.stack([torch.tensor(x[y == k] / 16).mean(0) for k in range(10)]).float()
        self.weight = torch.nn.Parameter(4 * means)
        self.bias = torch.nn.Parameter(-2 * (means**2).sum(1))

    def forward(self, x):
        time.sleep(float(os.environ.get("NETS_SLEEP", 0)))
        x = x.flatten(1)
        if os.environ.get("NETS_OTHER"):  # another model behind the same fingerprint
            x = x.lerp(x.round(), 0.8)
        return x @ self.weight.T + self.bias


def centroids():
    return Centroids()
"""
GRID = (0.1, 0.3)
N = 10
SCENARIO = "autoattack-quick-linf"


def images() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return (x[:N] / 16).astype(np.float32), y[:N]


def evaluated(folder: Path, out: str, **asked: Any) -> Run:
    settings: dict[str, Any] = {"eps": list(GRID), "save_adversarials": True}
    settings |= asked.pop("settings", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cb.run(
            models={"m": f"torch:{folder / 'nets.py'}:centroids"},
            data=f"npz:{folder / 'digits.npz'}", suites=["adversarial"], out=folder / out,
            workers=int(asked.get("cache", False)), cache=asked.pop("cache", False),
            settings={f"adversarial.{key}": value for key, value in settings.items()},
            defaults={"batch_size": 4, "threads": 1}, **asked,
        )  # fmt: skip


def cell_of(run: Run) -> str:
    (cell,) = [name for name, file in run.cells.items() if file.scenario == SCENARIO]
    return cell


def saved(run: Run) -> list[Path]:
    return run.layout.artifacts(cell_of(run), "adversarials")


def frame_of(run: Run) -> pd.DataFrame:
    return pd.concat([read_table(path).to_pandas() for path in saved(run)], ignore_index=True)


def cells(run: Run) -> dict[str, str]:
    """The digests of all that was collected; where it was differs."""
    files = run.manifest["files"].items()
    return {name: digest for name, digest in files if name.startswith("cells/")}


def keys(run: Run) -> list[str]:
    metrics = run.metrics()
    return list(metrics[metrics["scenario"] == SCENARIO]["comparison_key"])


def differences(run: Run, folder: Path) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ask_again(run, folder / "scratch", listener=Listener()).differences


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    (folder / "nets.py").write_text(MODEL, encoding="utf-8")
    x, y = images()
    np.savez(folder / "digits.npz", images=x.reshape(N, 8, 8), labels=y)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRUCIBENCH_CACHE", str(folder / "cache"))
        return evaluated(folder, "whole", cache=True)


def test_every_broken_sample_has_an_example_that_breaks_it(run: Run, folder: Path) -> None:
    records = run.cell_records(cell_of(run)).frame()
    levels = records.groupby("id")["level"].min()
    broken = levels[levels < len(GRID)]
    examples = frame_of(run)
    assert len(broken) > 2
    assert set(examples["id"]) == set(broken.index)
    # Held against the data and the model by hand: centroids are a linear model.
    x, y = load_digits(return_X_y=True)
    row = {identity: at for at, identity in enumerate(run.samples("digits", "test").ids)}
    means = np.stack([(x[y == k] / 16).mean(0) for k in range(10)])
    best = dict.fromkeys(broken.index, len(GRID))
    for example in examples.itertuples():
        at = row[example.id]
        moved = np.abs(example.x_adv.astype(np.float64) - images()[0][at]).max()
        assert example.x_adv.min() >= 0
        assert example.x_adv.max() <= 1
        logits = 4 * means @ example.x_adv - 2 * (means**2).sum(1)
        assert logits.argmax() != y[at] or np.ptp(np.sort(logits)[-2:]) < 1e-4
        level = int(np.searchsorted(GRID, moved, side="left"))
        assert example.point == f"eps={GRID[level]}"
        best[example.id] = min(best[example.id], level)
    assert best == broken.to_dict()


def test_a_run_agrees_with_its_examples_and_packs_none(run: Run, folder: Path) -> None:
    assert verify(run) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = ask_again(run, folder / "scratch", listener=Listener())
    assert (asked.differences, asked.kept) == ([], len(frame_of(run)))
    with zipfile.ZipFile(pack_run(run, folder / "run.crucibench")) as pack:
        assert not [name for name in pack.namelist() if "artifact" in name]
        assert not [name for name in pack.namelist() if b"x_adv" in pack.read(name)]


def test_without_the_flag_nothing_is_kept_and_a_file_of_examples_can_be_supplied(
    run: Run, folder: Path
) -> None:
    first = saved(run)[0]
    bare = evaluated(folder, "bare", settings={"save_adversarials": False, "supplied": str(first)})
    assert not saved(bare)
    (file,) = [file for file in bare.cells.values() if file.scenario == "supplied-linf"]
    evidence = file.findings[0].evidence
    assert evidence["within_largest_eps"] == evidence["inputs"] == read_table(first).num_rows
    ours, theirs = (
        {name: digest for name, digest in one.manifest["files"].items() if "quick" in name}
        for one in (run, bare)
    )
    records = [name for name in theirs if "records-" in name]
    assert records
    assert all(ours[name] == theirs[name] for name in records)
    assert set(keys(run)) == set(keys(bare))


def _with(table: pa.Table, inputs: np.ndarray) -> pa.Table:
    column = table.column("x_adv")
    flat = pa.array(np.ascontiguousarray(inputs, dtype=np.float32).reshape(-1))
    made = pa.FixedSizeListArray.from_arrays(flat, column.type.list_size)
    return table.set_column(table.column_names.index("x_adv"), "x_adv", made)


def _inputs(table: pa.Table) -> np.ndarray:
    return np.stack(table.column("x_adv").to_pylist())


def _renamed(table: pa.Table, column: str, value: str) -> pa.Table:
    at = table.column_names.index(column)
    return table.set_column(at, column, pa.array([value] * table.num_rows))


Change = Callable[[pa.Table], pa.Table]

TAMPERED: list[dict[str, Change]] = [
    {
        "not at the distances in the records": lambda table: _with(
            table, np.clip(_inputs(table) + 1e-4, 0, 1)
        ),
        "nothing that the records say": lambda table: _renamed(table, "attack", "square"),
    },
    {
        "not within [0, 1]": lambda table: _with(table, _inputs(table) + 2),
        "fall at another radius": lambda table: table.slice(1),
    },
    {"filed under another radius": lambda table: _renamed(table, "point", "eps=0.07")},
]


@pytest.mark.parametrize("number", range(len(TAMPERED)))
def test_tampered_examples_are_told(run: Run, folder: Path, number: int) -> None:
    changes = TAMPERED[number]
    copy = Run(shutil.copytree(run.root, run.root.parent / f"copy-{number}"))
    paths = saved(copy)[: len(changes)]
    assert len(paths) == len(changes)
    for path, change in zip(paths, changes.values(), strict=True):
        write_table(path, change(read_table(path)))
    names = [path.relative_to(copy.root).as_posix() for path in paths]
    assert verify(copy) == [f"{name}: its content has changed" for name in names]
    write_manifest(copy.layout, "0")
    assert verify(Run(copy.root)) == []
    found = differences(Run(copy.root), folder)
    for told in changes:
        assert any(told in sentence for sentence in found), found


def test_examples_that_are_gone_are_told(run: Run, folder: Path) -> None:
    copy = Run(shutil.copytree(run.root, run.root.parent / "gone"))
    for path in saved(copy):
        path.unlink()
    write_manifest(copy.layout, "0")
    (told,) = differences(Run(copy.root), folder)
    assert "by the records than by the saved examples" in told


def test_another_model_does_not_bear_them_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETS_OTHER", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = CliRunner().invoke(application, ["verify", str(run.root), "--with-model"])
    assert result.exit_code == 1
    told = " ".join(result.stdout.split())
    assert "saved examples are classified rightly" in told
    assert "fall at another radius by the records than by the saved examples" in told


def test_without_the_suite_there_is_nothing_to_save() -> None:
    told = ["run", "--model", "a:b", "--data", "c:d", "--suite", "bias", "--save-adversarials"]
    result = CliRunner().invoke(application, told)
    assert result.exit_code == 2
    assert "--save-adversarials goes with --suite adversarial" in result.stderr


@pytest.mark.parametrize("keeps", [True, False])
def test_the_cache_serves_what_was_kept_with_examples(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    monkeypatch.setenv("CRUCIBENCH_CACHE", str(folder / "cache"))
    settings = {"save_adversarials": keeps}
    found = evaluated(folder, f"again-{keeps}", cache=True, settings=settings)
    timing = json.loads(found.layout.timing(cell_of(found)).read_text(encoding="utf-8"))
    assert timing["cached"]
    assert bool(saved(found)) is keeps
    assert found.layout.artifacts(cell_of(found), "examples"), "for the report, in either case"
    assert verify(found) == []
    if keeps:
        assert cells(found) == cells(run)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX does")
@pytest.mark.thorough
def test_killed_within_an_attack_it_comes_to_the_same_bytes(run: Run, folder: Path) -> None:
    """Two workers are killed with the engine, and one process finishes what they began."""
    command = [
        *(sys.executable, "-m", "crucibench", "run", "--suite", "adversarial"),
        *("--model", f"m=torch:{folder / 'nets.py'}:centroids"),
        *("--data", f"npz:{folder / 'digits.npz'}", "--save-adversarials"),
        *("--set", f"adversarial.eps={list(GRID)}", "--batch-size", "4", "--threads", "1"),
        *("--workers", "2", "--no-cache", "--out", str(folder / "killed")),
    ]
    process = subprocess.Popen(
        command, env={**os.environ, "NETS_SLEEP": "0.02"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        _wait(folder / "killed", 2, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    assert code == -signal.SIGKILL
    assert not list((folder / "killed").glob("*/manifest.json"))
    journal = next((folder / "killed").glob("*/cells/*autoattack*/.journal")).read_text()
    resumed = evaluated(folder, "killed")
    assert any("artifacts/" in name for name in resumed.manifest["files"])
    assert cells(resumed) == cells(run)
    assert len(list((folder / "killed").iterdir())) == 1
    costs = json.loads(resumed.layout.timing(cell_of(resumed)).read_text(encoding="utf-8"))
    assert costs["tasks"] > journal.count('"records-') >= 2


def _wait(out: Path, shards: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until so many shards of the attack are done, and the next is under way."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert process.poll() is None, "it got through"
        journals = list(out.glob("*/cells/*autoattack*/.journal"))
        if journals and journals[0].read_text().count('"records-') >= shards:
            time.sleep(0.05)
            return
        time.sleep(0.01)
    raise AssertionError("the attack did not begin")
