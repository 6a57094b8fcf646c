"""Whole runs: attacks by name, supplied inputs, the worst case, what is skipped, what resumes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

import crucibench as cb
from crucibench.contracts.batch import Batch
from crucibench.contracts.verdict import Status
from crucibench.engine.ask_again import ask_again
from crucibench.engine.listener import Listener
from crucibench.integrity.verify import verify
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.supplied import read_supplied

MODEL = """
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
        return x.flatten(1) @ self.weight.T + self.bias


def centroids():
    return Centroids()


def answers(x):
    with torch.no_grad():
        return Centroids()(x).softmax(1).numpy()
"""
GRID = (0.05, 0.1, 0.3)
LIMIT = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adversarial")
    (folder / "nets.py").write_text(MODEL, encoding="utf-8")
    return folder


def evaluated(folder: Path, out: str, *, model: str = "torch:{}:centroids", **settings: Any) -> Run:
    limit, batch = settings.pop("limit", LIMIT), settings.pop("batch", LIMIT)
    settings = {"eps": GRID, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SciPy, at what foolbox imports
        return cb.run(
            models={"m": model.format(folder / "nets.py")}, data="sklearn:digits",
            suites=["adversarial"], out=folder / out, workers=0, cache=False,
            settings={f"adversarial.{key}": value for key, value in settings.items()},
            defaults={"limit": limit, "replicates": 100, "batch_size": batch},
        )  # fmt: skip


def cells(run: Run) -> dict[str, Any]:
    return {file.scenario: file for file in run.cells.values() if file.suite == "adversarial"}


def values(run: Run, metric: str) -> dict[tuple[str, str], float]:
    table = run.metrics()
    table = table[table.metric == metric]
    return {(s, p): v for s, p, v in zip(table.scenario, table.point, table.value, strict=True)}


def level(run: Run, scenario: str) -> dict[str, int]:
    frame = run.cell_records(cells(run)[scenario].cell).frame()
    return dict(frame.groupby("id")["level"].min())


def clean() -> np.ndarray:
    return (load_digits().data / 16).astype(np.float32)


@pytest.fixture(scope="module")
def whole(folder: Path) -> Run:
    """A run with an attack by name, and inputs in data order, few of which can count."""
    supplied = clean()
    supplied[0::4] = 1 - supplied[0::4]  # in the box, and further away than any eps
    supplied[1::4] += 2  # out of the box
    supplied[2::4] = np.clip(supplied[2::4] + 0.01, 0, 1)  # near, and the class stays
    np.savez(folder / "theirs.npz", x_adv=supplied)
    return evaluated(
        folder, "whole", supplied=str(folder / "theirs.npz"),
        attacks="foolbox:LInfFMNAttack?steps=30",
    )  # fmt: skip


def test_every_attack_is_a_cell_and_the_worst_case_joins_them(whole: Run) -> None:
    found = cells(whole)
    names = {
        "autoattack-quick-linf", "foolbox-LInfFMNAttack-linf", "supplied-linf", "worst-case-linf"
    }  # fmt: skip
    assert set(found) == names
    assert {file.status for file in found.values()} == {Status.OK}
    assert verify(whole) == []
    robust = values(whole, "robust-accuracy")
    for eps in GRID:
        members = [robust[name, f"eps={eps}"] for name in names - {"worst-case-linf"}]
        assert robust["worst-case-linf", f"eps={eps}"] <= min(members)
    # The mean of the minima, sample by sample.
    joined: dict[str, int] = {}
    for name in names - {"worst-case-linf"}:
        for identity, broken in level(whole, name).items():
            joined[identity] = min(joined.get(identity, len(GRID)), broken)
    for at, eps in enumerate(GRID):
        expected = sum(one > at for one in joined.values()) / LIMIT
        assert robust["worst-case-linf", f"eps={eps}"] == pytest.approx(expected)
    assert robust["autoattack-quick-linf", "eps=0.3"] < 0.5


def test_supplied_inputs_are_told_apart(whole: Run) -> None:
    file = cells(whole)["supplied-linf"]
    records = whole.cell_records(file.cell)
    ids = whole.samples("digits", "test").ids
    where = {identity: row for row, identity in enumerate(ids)}
    rows = np.array([where[identity] for identity in records.ids])
    (told,) = [one for one in file.findings if one.code == "supplied-examples"]
    assert told.evidence["inputs"] == len(rows) > 5
    assert told.evidence["outside_box"] == (rows % 4 == 1).sum() > 0
    assert told.evidence["within_largest_eps"] == 0
    far = records.array("prediction") >= 0
    assert told.evidence["beyond_largest_eps"] == far.sum() > 0
    assert set(rows[far] % 4) == {0}
    expected = np.abs(1 - 2 * clean()[rows]).max(1)
    np.testing.assert_allclose(records.array("distance_linf")[far], expected[far], rtol=1e-5)
    assert set(records.array("level")) == {len(GRID)}


def test_asking_again_agrees(whole: Run, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = ask_again(whole, folder / "scratch", batches=2, listener=Listener())
    assert asked.differences == []
    assert asked.identical >= 4


def test_another_file_is_another_run(folder: Path) -> None:
    runs = []
    for darker in (1.0, 0.5):
        np.savez(folder / "other.npz", x_adv=darker * clean())
        settings = {"supplied": str(folder / "other.npz"), "eps": 1.0}
        runs.append(evaluated(folder, "twice", limit=2, **settings))
    assert runs[0].id != runs[1].id
    first, second = (cells(run)["supplied-linf"] for run in runs)
    assert first.comparison["scenario"] != second.comparison["scenario"]


IDS = ("b", "a", "c")
ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4) / 12


def _npz(path: Path) -> None:
    np.savez(path, x_adv=ARRAY.reshape(3, 1, 2, 2), ids=np.array(IDS))


def _safetensors(path: Path) -> None:
    save_file({"x_adv": ARRAY.reshape(3, 2, 2)}, path, {"ids": json.dumps(IDS)})


def _parquet(path: Path) -> None:
    pq.write_table(pa.table({"id": list(IDS), "x_adv": list(ARRAY), "other": [1, 2, 3]}), path)


@pytest.mark.parametrize(
    ("suffix", "write"), [("npz", _npz), ("safetensors", _safetensors), ("parquet", _parquet)]
)
def test_files_are_read_and_matched_by_id(tmp_path: Path, suffix: str, write: Any) -> None:
    path = tmp_path / f"theirs.{suffix}"
    write(path)
    found = read_supplied(path, suffix)
    np.testing.assert_array_equal(found.known(np.array(["a", "z"], object)), [True, False])
    batch = Batch(("a", "b"), torch.zeros(2, 1, 2, 2))
    np.testing.assert_array_equal(found.of(batch), ARRAY[[1, 0]].reshape(2, 1, 2, 2))
    with pytest.raises(InputError, match="none of its 3 ids is that of a sample"):
        found.known(np.array(["y", "z"], object))
    with pytest.raises(InputError, match=r"expected inputs of shape \(3, 1, 1\) \(channels"):
        read_supplied(path, suffix).of(Batch(("a",), torch.zeros(1, 3, 1, 1)))


def test_levels_of_bytes_are_read_as_pixels(tmp_path: Path) -> None:
    np.savez(tmp_path / "theirs.npz", x=np.array([[[[0, 51, 255]]]], dtype=np.uint8))
    found = read_supplied(tmp_path / "theirs.npz", "bytes")
    batch = Batch(("a",), torch.zeros(1, 1, 1, 3), rows=(0,))
    np.testing.assert_allclose(found.of(batch).ravel(), [0, 0.2, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.zeros((5, 64), np.float32)}, "expected 1797, one for each sample, got 5"),
        ({"x": np.zeros((1797, 64), np.int64)}, "of floats from 0 to 1 or of uint8, got int64"),
        (
            {"a": np.zeros((5, 64)), "b": np.zeros(5)},
            r"expected an array x_adv .* got \['a', 'b'\]",
        ),
        ({"x": np.zeros((2, 64)), "ids": np.array(["a", "a"])}, "each once, got 2 ids, 1 of them"),
    ],
)
def test_files_that_are_refused_before_anything_runs(folder: Path, arrays: Any, told: str) -> None:
    np.savez(folder / "bad.npz", **arrays)
    (folder / "bad.csv").write_text("a\n1\n", encoding="utf-8")
    for name, message in (
        ("bad.npz", told),
        ("nowhere.npz", "adversarial.supplied: expected a file, and there is none"),
        ("bad.csv", "bad.csv: expected one of .npz, .safetensors, .parquet"),
    ):
        with pytest.raises(InputError, match=message):
            evaluated(folder, "bad", supplied=str(folder / name))


def test_a_model_without_gradients_is_spared_those_attacks(folder: Path) -> None:
    run = evaluated(folder, "black-box", model="python:{}:answers", limit=4, queries=30)
    found = cells(run)
    file = found.pop("autoattack-quick-linf")
    assert (file.status, file.reason) == (Status.SKIPPED, "the model can't give: gradients")
    assert set(found) == {"square-linf", "hopskipjump-linf", "restore-linf", "worst-case-linf"}
    assert {file.status for file in found.values()} == {Status.OK}
    assert run.exit_code == 0


def test_norms_are_joined_sample_by_sample(folder: Path) -> None:
    run = evaluated(folder, "norms", norm=["linf", "l2"], eps=None, limit=6)
    assert verify(run) == []
    levels = [level(run, f"autoattack-quick-{norm}") for norm in ("linf", "l2")]
    found = values(run, "robust-accuracy")
    joined = [one for (name, _), one in found.items() if name == "worst-case-norms"]
    expected = [
        sum(min(one.get(i, 0) for one in levels) > at for i in levels[0]) / 6
        for at in range(len(joined))
    ]
    assert joined == pytest.approx(expected)
    assert joined[0] > joined[-1]


def test_declared_abstention_counts_in_both_ways(folder: Path) -> None:
    least = 0.95
    model = {"name": "m", "uri": f"torch:{folder / 'nets.py'}:centroids", "abstains": least}
    run = cb.run(
        {
            "models": [model], "data": [{"name": "digits", "uri": "sklearn:digits"}],
            "suites": {"adversarial": {"eps": [0.01, 0.1]}},
            "defaults": {"limit": LIMIT, "replicates": 100, "batch_size": LIMIT},
        },
        out=folder / "abstains", suites=["adversarial"], workers=0, cache=False,
    )  # fmt: skip
    assert verify(run) == []
    strict, safe = (level(run, f"{one}-linf") for one in ("autoattack-quick", "confident-errors"))
    (records,) = (run.cell_records(one.cell) for one in run.cells.values() if one.suite == "pass")
    scores = records.aligned(np.array(list(safe), dtype=object)).array("scores").astype(float)
    odds = np.exp(scores - scores.max(1, keepdims=True))
    silent = (odds / odds.sum(1, keepdims=True)).max(1) < least
    assert 0 < silent.sum() < len(silent) <= LIMIT
    # What is silent as it is counts as wrong in one, and may stay as it is in the other.
    assert set(strict) == {one for one, quiet in zip(safe, silent, strict=True) if not quiet}
    assert all(strict[one] <= safe[one] for one in strict)
    answered = LIMIT - silent.sum()
    (coverage,), (right,) = (
        values(run, one).values() for one in ("coverage", "accuracy-where-answered")
    )
    assert (coverage, right) == pytest.approx((answered / LIMIT, len(strict) / answered))
    for levels, metric in ((strict, "robust-accuracy"), (safe, "without-confident-error")):
        expected = [sum(one > at for one in levels.values()) / LIMIT for at in range(2)]
        assert list(values(run, metric).values()) == pytest.approx(expected)
        assert expected[0] > expected[1]
