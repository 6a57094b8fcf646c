from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import crucibench
from crucibench import registry
from crucibench.integrity.verify import verify
from crucibench.store.cells import CellFile
from crucibench.store.layout import Layout
from crucibench.store.manifest import read_manifest, write_manifest
from crucibench.store.run import Run
from crucibench.store.tables import read_table, write_table


class Planted:
    """A copy of a finished run to plant defects in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(root)

    @property
    def run(self) -> Run:
        return Run(self.root)

    def cell(self, model: str, address: str) -> CellFile:
        found = [
            file for file in self.run.cells.values()
            if (file.model, f"{file.suite}/{file.scenario}") == (model, address)
        ]  # fmt: skip
        assert len(found) == 1, f"{address} of {model}: {len(found)} cells"
        return found[0]

    def shard(self, model: str, address: str, stage: int = 0, number: int = 0) -> Path:
        return self.layout.shard(self.cell(model, address).cell, stage, number)

    def edit_table(self, path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
        write_table(path, change(read_table(path)))

    def edit_cell(self, file: CellFile, change: Callable[[dict[str, Any]], None]) -> None:
        path = self.layout.cell_file(file.cell)
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")

    def seal(self) -> None:
        """Makes the manifest say what is there, as whoever forges a run would."""
        write_manifest(self.layout, read_manifest(self.layout)["crucibench_version"])

    def found(self) -> list[str]:
        return verify(self.run)


@pytest.fixture(scope="session")
def finished(
    sample_plugin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """A finished run: a model that is sound, and one that always says the same."""
    folder = tmp_path_factory.mktemp("integrity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRUCIBENCH_CACHE", str(folder / "cache"))
        patch.syspath_prepend(str(sample_plugin))
        _forget_registries()
        run = crucibench.run(
            {
                "defaults": {"batch_size": 8, "limit": 200, "replicates": 100},
                "models": [
                    {"name": "a", "uri": "nearest:0"},
                    {"name": "b", "uri": "nearest:50"},
                ],
                "data": [{"name": "stripes", "uri": "stripes:240"}],
                "tracks": [
                    {"name": "all", "models": ["a", "b"], "data": "stripes", "suites": ["sample"]},
                    {"name": "one", "models": ["a"], "data": "stripes", "suites": ["accuracy"]},
                ],
            },
            settings={"sample.reference": "b"},
            out=folder / "results",
            workers=0,
            cache=False,
        )
    yield {"run": run.root}
    _forget_registries()


@pytest.fixture
def planted(finished: dict[str, Path], with_plugin: Path, tmp_path: Path) -> Planted:
    root = tmp_path / finished["run"].name
    shutil.copytree(finished["run"], root)
    return Planted(root)


def _forget_registries() -> None:
    for found in (registry.adapters, registry.suites, registry.sources):
        found.cache_clear()
