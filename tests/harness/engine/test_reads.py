from __future__ import annotations

import json
import linecache
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.run import execute
from crucibench.store.run import Run
from crucibench.util.hashing import file_digest
from crucibench.util.native_readers import READERS
from crucibench.util.reads import Reads

MODELS = """
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn

HERE = Path(__file__).parent


@dataclass
class Settings:
    values: dict


class Signed(nn.Module):
    def __init__(self):
        super().__init__()
        self.settings = Settings(json.loads((HERE / "settings.json").read_text()))

    def forward(self, x):
        lead = self.settings.values["sign"] * x.sum(dim=1, keepdim=True)
        return torch.cat([-lead, lead], dim=1)


def make():
    return Signed()


def points():
    with (HERE / "log.txt").open("a") as stream:
        stream.write("called\\n")
    frame = pd.read_json(HERE / "points.json")
    return frame.assign(label=(frame.x > 0).map({True: "b", False: "a"}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    settings(tmp_path, 1)
    points = [{"x": (-1) ** row * (1 + row / 100)} for row in range(100)]
    (tmp_path / "points.json").write_text(json.dumps(points))
    return tmp_path


def settings(folder: Path, sign: int) -> None:
    (folder / "settings.json").write_text(json.dumps({"sign": sign}))


def evaluate(folder: Path, workers: int = 1, **options: Any) -> Run:
    document = {
        "models": [{"name": "m", "uri": "torch:models.py:make"}],
        "data": [{"name": "points", "uri": "python:models.py:points?target=label"}],
    }
    overrides = Overrides(
        defaults={"threads": 1, "batch_size": 32, "replicates": 100}, suites=("accuracy",)
    )
    resolved = resolve(document, folder, "spec", overrides)
    run = execute(
        resolved,
        RunOptions(out=folder / "out", scratch=folder / "scratch", workers=workers, **options),
        Listener(),
    )
    assert run is not None
    return run


def accuracy(run: Run) -> float:
    return float(run.metrics().query("metric == 'top-1'").value.iloc[0])


def content(run: Run) -> dict[str, str]:
    return {str(path): file_digest(path) for path in run.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_only_the_factory_reads_makes_another_run(folder: Path, workers: int) -> None:
    first = evaluate(folder, workers)
    before = content(first)
    assert accuracy(first) == 1.0
    settings(folder, -1)
    second = evaluate(folder, workers)
    assert accuracy(second) == 0.0
    assert second.root != first.root and second.id.startswith(first.id)
    assert content(first) == before, "a finished run is left as it is"
    assert evaluate(folder, workers).root == second.root
    settings(folder, 1)
    assert evaluate(folder, workers).root == first.root
    assert content(first) == before


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_file_that_a_data_factory_reads_makes_another_run(folder: Path, workers: int) -> None:
    first = evaluate(folder, workers)
    points = json.loads((folder / "points.json").read_text())
    (folder / "points.json").write_text(json.dumps(points[:60]))
    second = evaluate(folder, workers)
    assert second.root != first.root
    assert {run.cards["points"].counts["test"] for run in (first, second)} == {100, 60}


def test_what_can_not_matter_makes_none(folder: Path) -> None:
    first = evaluate(folder)
    later = time.time() + 10
    os.utime(folder / "settings.json", (later, later))
    (folder / "beside.json").write_text("{}")
    (folder / "log.txt").write_text("")
    assert evaluate(folder).root == first.root


def test_no_path_outside_is_written_whole(folder: Path) -> None:
    run = evaluate(folder)
    text = (run.root / ".reads.json").read_text()
    assert {"points.json", "settings.json"} <= set(json.loads(text)["files"]) <= {
        "models.py", "points.json", "settings.json",
    }  # fmt: skip
    assert str(folder) not in text


def test_the_docs_list_every_native_reader() -> None:
    text = (Path(__file__).parents[3] / "docs" / "cache.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for module, readers in READERS.items():
        for reader in readers:
            name = f"{module}.{reader}".removesuffix(".__init__").partition(".")[2]
            assert any(module.split(".")[0] in row and name in row for row in rows), (module, name)


def test_native_readers_are_heard(tmp_path: Path) -> None:
    code = """
    import sys
    from pathlib import Path
    from crucibench.util.reads import Reads
    with Reads(Path()) as reads:
        import pandas as pd
        frame = pd.DataFrame({"x": [1, 2]})
        pd.read_parquet("a.parquet")
        import pyarrow as pa
        import pyarrow.parquet as pq
        pq.ParquetFile("b.parquet").read()
        pq.read_table(source="c.parquet")
        pa.memory_map("d.arrow").close()
        import pyarrow.csv, pyarrow.dataset, pyarrow.feather, pyarrow.json
        pyarrow.csv.read_csv("h.csv")
        pyarrow.dataset.dataset("i.parquet")
        pyarrow.feather.read_table("j.feather")
        pyarrow.json.read_json("k.json")
        from safetensors.numpy import load_file
        load_file("e.safetensors")
        import torch
        torch.from_file("f.bin", size=2)
        import onnxruntime
        try:
            onnxruntime.InferenceSession("g.onnx")
        except Exception:
            pass
    assert pq.read_table.__module__ == "pyarrow.parquet.core"
    pq.read_table("after.parquet")
    print(*(Path(name).name for name in reads.digests()))
    """
    import pandas as pd
    from safetensors.numpy import save_file

    for name in ("a", "b", "c", "i", "after"):
        pd.DataFrame({"x": [1]}).to_parquet(tmp_path / f"{name}.parquet")
    for name in ("d.arrow", "f.bin", "g.onnx"):
        (tmp_path / name).write_bytes(bytes(16))
    pd.DataFrame({"x": [1]}).to_feather(tmp_path / "j.feather")
    for name in ("h.csv", "k.json"):
        (tmp_path / name).write_text('{"x": 1}\n')
    save_file({"w": np.ones(2)}, tmp_path / "e.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True,
        check=True, env={**os.environ, "TMPDIR": "/nowhere"},
    )  # fmt: skip
    assert done.stdout.split() == [
        "a.parquet", "b.parquet", "c.parquet", "d.arrow", "e.safetensors", "f.bin", "g.onnx",
        "h.csv", "i.parquet", "j.feather", "k.json",
    ]  # fmt: skip


def test_reads_are_those_of_the_time_between(tmp_path: Path) -> None:
    for name in ("before", "read", "written", "both", "gone"):
        (tmp_path / name).write_text(name)
    (tmp_path / "before").read_text()
    with Reads(tmp_path, tmp_path / "aside") as reads:
        (tmp_path / "read").read_bytes()
        (tmp_path / "written").write_text("anew")
        (tmp_path / "both").write_text("anew")
        (tmp_path / "both").read_text()
        (tmp_path / "gone").read_text()
        (tmp_path / "gone").unlink()
        (tmp_path / "aside").mkdir()
        (tmp_path / "aside" / "read").write_text("")
        os.close(os.open(tmp_path / "before", os.O_RDONLY))
    (tmp_path / "both").read_text()
    assert [Path(name).name for name in reads.digests()] == ["before", "read"]


def test_lines_that_a_warning_shows_are_no_reads(tmp_path: Path) -> None:
    source, data = tmp_path / "script.py", tmp_path / "data.txt"
    source.write_text("one = 1\n")
    data.write_text("read")
    with Reads(tmp_path) as reads:
        assert linecache.getline(str(source), 1) == "one = 1\n"
        data.read_text()
    assert set(reads.digests()) == {str(data)}
