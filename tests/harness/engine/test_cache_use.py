"""Cells of earlier runs in later ones: the same bytes, and no model is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.scenario import Need
from crucibench.engine.worker.worker import Worker
from crucibench.store.cell_cache import CellCache
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.util.hashing import file_digest

MODELS = {"a": "nearest:0", "net": "torch:net.py:net"}
DEFAULTS = {"batch_size": 32, "threads": 1, "replicates": 100}
ADDRESSES = {"pass/test", "sample/noise", "sample/search"}
NET = """
import torch


def net():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
"""

Runner = Callable[..., Run]


@pytest.fixture
def run(run_spec: Any, tmp_path: Path) -> Runner:
    (tmp_path / "net.py").write_text(NET)
    usual: dict[str, Any] = {
        "models": MODELS, "data": "stripes:120", "defaults": DEFAULTS, "cache": True,
    }  # fmt: skip
    return lambda **options: run_spec(**usual | options)


def asked(run: Run) -> dict[tuple[str, str], CellFile]:
    """Returns the cells that ask a model sample by sample."""
    return {
        (file.model, f"{file.suite}/{file.scenario}"): file
        for file in run.cells.values()
        if file.kind == "mapped"
    }


def hits(run: Run) -> set[tuple[str, str]]:
    """Returns which cells were taken from the cache, by events and by costs, which must agree."""
    events = map(json.loads, run.layout.events.read_text().splitlines())
    told = {event["cell"] for event in events if event["event"] == "cached"}
    found = set()
    for name, file in asked(run).items():
        timing = json.loads(run.layout.timing(file.cell).read_text())
        assert timing["cached"] == (file.cell in told) == (timing["forwards"] == 0)
        if timing["cached"]:
            found.add(name)
    return found


def tables(run: Run, file: CellFile) -> dict[str, str]:
    folder = run.layout.cell(file.cell)
    return {path.name: file_digest(path) for path in sorted(folder.glob("*-*.parquet"))}


def kept(folder: Path) -> dict[str, str]:
    files = (folder / "scratch" / "cells").rglob("*")
    return {str(path): file_digest(path) for path in files if path.is_file()}


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever asks a model about a shard or a probe fails; inspection may."""

    def asks(self: Worker, task: Any) -> Iterator[Any]:
        raise AssertionError(f"{task.cell.id} was asked")
        yield

    monkeypatch.setattr(Worker, "_probe", asks)
    monkeypatch.setattr(Worker, "_shard", asks)


def test_another_run_of_the_same_asks_nobody(run: Runner, request: pytest.FixtureRequest) -> None:
    first = run()
    assert hits(first) == set()
    request.getfixturevalue("silence")
    names = {"a": "first", "net": "second"}
    again = run(
        models={names[name]: uri for name, uri in MODELS.items()}, out="elsewhere",
        suites=("accuracy", "sample"),
    )  # fmt: skip
    # An untrained net may be found to answer as if its classes were swapped.
    assert again.exit_code in {0, 4} and again.id != first.id
    assert hits(again) == {(name, address) for name in names.values() for address in ADDRESSES}
    for (name, address), file in asked(first).items():
        other = asked(again)[names[name], address]
        assert tables(first, file) == tables(again, other) != {}
        assert file.stages == other.stages and file.probes == other.probes
        # Findings of another cell name it, and so the model.
        assert [one.model_copy(update={"cell": ""}) for one in file.findings] == [
            one.model_copy(update={"cell": ""}) for one in other.findings
        ]


def test_a_pass_with_more_serves_a_request_for_less(
    run: Runner, run_spec: Any, with_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_sample.suite import SampleSuite, Search  # type: ignore[import-not-found]

    plain = SampleSuite.scenarios
    more = Need(alias="clean", cell="pass/test", outputs=frozenset({"scores", "features"}))

    def greedy(self: Any, request: Any) -> Any:
        found = plain(self, request)
        return [Search(needs=(more,)) if isinstance(one, Search) else one for one in found]

    only = {"net": MODELS["net"]}
    with monkeypatch.context() as patched:
        patched.setattr(SampleSuite, "scenarios", greedy)
        first = run(models=only, out="greedy")
    assert "features" in first.records(asked(first)["net", "pass/test"].cell)
    second = run(models=only, out="modest")
    assert hits(second) == {("net", address) for address in ADDRESSES}
    fresh = run(models=only, out="fresh", cache=False)
    assert "features" not in second.records(asked(second)["net", "pass/test"].cell)
    for name, file in asked(fresh).items():
        assert tables(fresh, file) == tables(second, asked(second)[name])


@pytest.mark.parametrize(
    "change",
    [{"threads": 2}, {"batch_size": 16}, {"seed": 1}, {"limit": 100}],
    ids=lambda change: next(iter(change)),
)
def test_what_moves_floats_or_samples_is_asked_anew(run: Runner, change: dict[str, Any]) -> None:
    run()
    again = run(defaults=DEFAULTS | change, out="other")
    assert again.exit_code == 0 and hits(again) == set()


def test_cells_of_timings_and_of_models_nobody_can_tell_apart_are_not_kept(
    run: Runner, tmp_path: Path, with_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_sample.adapter import NearestMean  # type: ignore[import-not-found]

    monkeypatch.setattr(NearestMean, "fingerprint", lambda self: None)
    run()
    entries = CellCache(tmp_path / "scratch" / "cells").entries()
    assert {(entry.model, entry.scenario) for entry in entries} == {
        ("net", address) for address in ADDRESSES
    }
    assert hits(run(out="again")) == {("net", address) for address in ADDRESSES}


def test_a_random_models_answers_are_not_kept(
    run: Runner, tmp_path: Path, with_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_sample.adapter import NearestMean

    honest, rng = NearestMean._predict, np.random.default_rng(0)

    def random(self: Any, batch: Any, want: Any) -> Any:
        outputs = honest(self, batch, want)
        return type(outputs)(scores=outputs.scores + rng.normal(0, 2, outputs.scores.shape))

    monkeypatch.setattr(NearestMean, "_predict", random)
    first = run()
    marked = {
        address for (model, address), file in asked(first).items()
        if model == "a" and "non-deterministic-output" in {one.code for one in file.findings}
    }  # fmt: skip
    assert marked == {"pass/test", "sample/search"}
    # The noise, which no finding marks, is that of the same model.
    assert hits(run(out="again")) == {("net", address) for address in ADDRESSES}


def test_without_a_cache_nothing_is_read_or_kept(run: Runner, tmp_path: Path) -> None:
    run(cache=False)
    assert not (tmp_path / "scratch" / "cells").exists()
    run(out="filled")
    before = kept(tmp_path)
    times = {path: Path(path).stat().st_mtime_ns for path in before}
    again = run(out="again", cache=False)
    assert hits(again) == set()
    assert kept(tmp_path) == before
    assert {path: Path(path).stat().st_mtime_ns for path in before} == times


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("records-*", _cut),
        ("records-*", _flip),
        ("probes-*", Path.unlink),
        ("entry.json", _cut),
        pytest.param("records-*", Path.unlink, marks=pytest.mark.thorough),
        pytest.param("probes-*", _cut, marks=pytest.mark.thorough),
        pytest.param("probes-*", _flip, marks=pytest.mark.thorough),
        pytest.param("entry.json", _flip, marks=pytest.mark.thorough),
        pytest.param("entry.json", Path.unlink, marks=pytest.mark.thorough),
    ],
)
def test_a_damaged_entry_is_computed_again(
    run: Runner, tmp_path: Path, damage: Callable[[Path], None], pattern: str
) -> None:
    only = {"a": MODELS["a"]}
    first = run(models=only)
    cells = tmp_path / "scratch" / "cells"
    hurt = {path.parent: path for path in cells.glob(f"*/*/*/{pattern}")}
    assert hurt
    for path in hurt.values():
        damage(path)
    unhurt = len(CellCache(cells).entries()) - len(hurt)
    second = run(models=only, out="second")
    assert len(hits(second)) == (unhurt if pattern == "probes-*" else 0)
    for name, file in asked(first).items():
        assert tables(first, file) == tables(second, asked(second)[name])
    third = run(models=only, out="third")
    assert hits(third) == {("a", address) for address in ADDRESSES}
