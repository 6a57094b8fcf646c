"""The cache of cells: a pass that was asked for more serves a request for fewer."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from crucibench.contracts.adapter import Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.records import to_table
from crucibench.contracts.scenario import Work
from crucibench.contracts.task import Modality, Task
from crucibench.passes.scenario import Pass
from crucibench.store.cell_cache import CacheKey, CellCache
from crucibench.store.tables import write_table
from crucibench.util.hashing import file_digest

SCORES = frozenset({"scores"})
MORE = frozenset({"scores", "features", "labels"})


def asked_for(*outputs: str) -> CacheKey:
    return CacheKey(identity="i", numerics="n", outputs=frozenset(outputs))


def digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


def keep(cache: CellCache, cell: Path, key: CacheKey, probe: str = "") -> bool:
    return cache.keep(key, cell, [], [probe], digests(cell), {})


class _Adapter:
    score_kind = "logits"

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.task = Task(kind="classification", modality=Modality.TABLE, classes=("a", "b", "c"))

    def predict(self, batch: Any, want: frozenset[str]) -> Answer:
        draws = np.random.default_rng(len(batch.ids))
        scores = draws.normal(size=(len(batch.ids), 3)).astype(self.kind)
        features = draws.normal(size=(len(batch.ids), 40)).astype(self.kind)
        return Answer(
            scores=scores,
            features=features if "features" in want else None,
            labels=scores.argmax(axis=1) if "labels" in want else None,
        )


def make_pass(folder: Path, outputs: frozenset[str], rows: int, kind: str = "f4") -> Path:
    """Writes what collecting a pass writes: two shards of batches, and a probe."""
    folder.mkdir(parents=True)
    scenario = Pass(name="test", role="test")
    context: Any = SimpleNamespace(adapter=_Adapter(kind), outputs=outputs)
    size = max(1, rows // 4)
    for shard in range(2):
        tables = []
        for batch in range(4):
            ids = [f"{shard}/{batch}/{row:032d}" for row in range(size)]
            samples: Any = SimpleNamespace(targets=None)
            work = Work(Batch(tuple(ids), inputs=None), samples, carry={})
            tables.append(to_table(scenario.run("all", work, context)))
        table = pa.concat_tables(tables).combine_chunks()
        write_table(folder / f"records-00-{shard:05d}.parquet", table)
    write_table(folder / "probes-repeat.parquet", to_table({"id": ["x"], "scores": [1.0]}))
    return folder


@pytest.mark.parametrize(("rows", "kind"), [(4, "f4"), (4, "f8"), (16_384, "f4"), (4, "f2")])
def test_a_pass_without_features_has_the_same_bytes_as_one_served_from_more(
    cache: CellCache, tmp_path: Path, rows: int, kind: str
) -> None:
    more = make_pass(tmp_path / "more", MORE, rows, kind)
    fewer = make_pass(tmp_path / "fewer", SCORES, rows, kind)
    assert digests(more) != digests(fewer)
    wide = asked_for(*MORE)
    keep(cache, more, wide)
    kept = cache.fetch(asked_for(*SCORES), tmp_path / "into")
    assert kept is not None and kept.files == digests(fewer)
    assert digests(tmp_path / "into") == digests(fewer)
    assert cache.fetch(wide, tmp_path / "whole") is not None
    assert digests(tmp_path / "whole") == digests(more)


def test_the_exact_entry_is_taken_before_a_larger_one_and_the_smaller_of_larger_ones(
    cache: CellCache, tmp_path: Path
) -> None:
    cell = make_pass(tmp_path / "cell", SCORES, rows=4)
    for outputs in (("scores", "features", "labels"), ("scores", "features"), ("scores",)):
        assert keep(cache, cell, asked_for(*outputs), probe=str(len(outputs)))
    for expected in (1, 2, 3):
        kept = cache.fetch(asked_for("scores"), tmp_path / "into")
        assert kept is not None and kept.probes == [str(expected)]
        gone = next(entry for entry in cache.entries() if len(entry.outputs) == expected)
        shutil.rmtree(gone.path)
    assert cache.fetch(asked_for("scores"), tmp_path / "into") is None


@pytest.mark.parametrize("more", ["scores", "values"])
def test_what_decides_the_predictions_is_never_dropped(
    cache: CellCache, tmp_path: Path, more: str
) -> None:
    cell = make_pass(tmp_path / "cell", SCORES, rows=4)
    keep(cache, cell, asked_for("labels", more))
    asked = asked_for("labels")
    assert cache.fetch(asked, tmp_path / "into") is None
    assert len(cache.entries()) == 1


def test_a_larger_entry_whose_records_are_no_table_is_a_miss(
    cache: CellCache, tmp_path: Path
) -> None:
    cell = tmp_path / "cell"
    cell.mkdir()
    (cell / "records-00-00000.parquet").write_bytes(b"not Parquet")
    keep(cache, cell, asked_for(*MORE))
    asked = asked_for(*SCORES)
    assert cache.fetch(asked, tmp_path / "into") is None
    assert not (tmp_path / "into").exists()
    assert cache.entries() == []


@pytest.mark.parametrize("asked", [(), ("artifacts/inputs",)])
def test_a_cell_with_artefacts_serves_a_request_without(
    cache: CellCache, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    cell = tmp_path / "cell"
    for name in ("records-00-00000.parquet", "artifacts/inputs-00-00000.parquet"):
        (cell / name).parent.mkdir(parents=True, exist_ok=True)
        write_table(cell / name, pa.table({"id": ["a"], "name": [name]}))
    files = {
        path.relative_to(cell).as_posix(): file_digest(path) for path in cell.rglob("*.parquet")
    }
    key = asked_for("artifacts/inputs")
    assert cache.keep(key, cell, [], [], files, {})
    kept = cache.fetch(asked_for(*asked), tmp_path / "into")
    assert kept is not None
    expected = files if asked else {name: files[name] for name in files if "records" in name}
    assert kept.files == expected
    found = {
        path.relative_to(tmp_path / "into").as_posix(): file_digest(path)
        for path in (tmp_path / "into").rglob("*.parquet")
    }
    assert found == expected
    assert not (tmp_path / "into" / "artifacts").exists() or asked
    assert cache.fetch(asked_for("artifacts/inputs", "artifacts/more"), tmp_path / "none") is None


def test_a_damaged_artefact_leaves_nothing_behind(cache: CellCache, tmp_path: Path) -> None:
    cell, name = tmp_path / "cell", "artifacts/inputs-00-00000.parquet"
    write_table(cell / name, pa.table({"id": ["a"]}))
    key = asked_for("artifacts/inputs")
    assert cache.keep(key, cell, [], [], {name: file_digest(cell / name)}, {})
    (stored,) = cache.folder.rglob("inputs-*")
    stored.write_bytes(b"")
    assert cache.fetch(key, tmp_path / "into") is None
    assert not (tmp_path / "into").exists()
