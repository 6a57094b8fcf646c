from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crucibench.contracts.data import Samples
from crucibench.contracts.verdict import Finding, Severity, Status
from crucibench.store.cells import CellFile, Digest, FindingFile, read_cell, write_cell
from crucibench.store.find import find_run, load
from crucibench.store.layout import Layout, slug
from crucibench.store.lock import exclusive
from crucibench.store.manifest import (
    changed_views,
    differences,
    read_manifest,
    write_manifest,
)
from crucibench.store.run import Run
from crucibench.store.tables import (
    read_table,
    samples_to_table,
    table_to_samples,
    write_blocks,
    write_table,
)
from crucibench.util.errors import InputError, UnreadableError

CELL = CellFile(
    cell="a.b.pass-test.1", kind="mapped", model="a", data="b", suite="pass", scenario="test",
    version=1, role="test", points=[""], status=Status.OK, n=3,
    identity=Digest.of({"model": {"weights": "x"}}),
    findings=[FindingFile(code="c", severity=Severity.INFO, message="m", evidence={"p": 0.5})],
)  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "run")
    layout.cells.mkdir(parents=True)
    layout.spec.write_text("schema_version: 1\n")
    write_cell(layout.cell_file(CELL.cell), CELL)
    write_table(layout.shard(CELL.cell, 0, 0), pa.table({"id": ["x"], "v": [1.0]}))
    layout.timing(CELL.cell).write_text("{}")
    write_manifest(layout, "0")
    return layout


def test_a_cell_survives_its_file(layout: Layout) -> None:
    again = read_cell(layout.cell_file(CELL.cell))
    assert again == CELL
    assert again.findings[0].as_finding() == Finding(
        code="c", severity=Severity.INFO, message="m", evidence={"p": 0.5}
    )


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format_version": 2}', "[", json.dumps({"cell": 1, "unknown": 2})]
)
def test_a_damaged_cell_is_unreadable(layout: Layout, text: str) -> None:
    layout.cell_file(CELL.cell).write_text(text)
    with pytest.raises(UnreadableError, match=r"cell\.json' can't be read"):
        read_cell(layout.cell_file(CELL.cell))


def test_a_sound_run_has_no_differences_and_timings_do_not_count(layout: Layout) -> None:
    assert differences(layout) == []
    layout.timing(CELL.cell).write_text('{"seconds": 3}')
    assert differences(layout) == []


def test_every_change_is_named(layout: Layout) -> None:
    shard = layout.shard(CELL.cell, 0, 0)
    content = bytearray(shard.read_bytes())
    content[10] ^= 1
    shard.write_bytes(bytes(content))
    (layout.cell(CELL.cell) / "extra.parquet").write_bytes(b"")
    layout.spec.unlink()
    assert differences(layout) == [
        "cells/a.b.pass-test.1/extra.parquet: not in the manifest",
        "cells/a.b.pass-test.1/records-00-00000.parquet: its content has changed",
        "spec.yaml: missing",
    ]


def test_an_unfinished_run_and_another_format_are_unreadable(layout: Layout) -> None:
    manifest = json.loads(layout.manifest.read_text())
    layout.manifest.write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(UnreadableError, match="expected format 1, got 99"):
        read_manifest(layout)
    layout.manifest.unlink()
    with pytest.raises(UnreadableError, match="run the same command again to resume"):
        read_manifest(layout)
    with pytest.raises(UnreadableError, match="there is no run at"):
        load(layout.root / "nowhere")


def test_views_stand_beside_the_files_of_a_manifest(layout: Layout) -> None:
    before = read_manifest(layout)
    assert before["views"] == {} and changed_views(layout) == []
    write_table(layout.metrics, pa.table({"v": [1.0]}))
    write_manifest(layout, "0")
    after = read_manifest(layout)
    assert list(after["views"]) == ["metrics.parquet"]
    assert after["digest"] == before["digest"], "the same results have the same digest"
    write_table(layout.metrics, pa.table({"v": [2.0]}))
    assert changed_views(layout) == ["metrics.parquet"] and differences(layout) == []
    layout.metrics.unlink()
    assert changed_views(layout) == ["metrics.parquet"] and differences(layout) == []


def test_numbers_that_were_not_scored_are_refused(layout: Layout) -> None:
    run = Run(layout.root)
    write_table(layout.metrics, pa.table({"v": [1.0]}))
    write_manifest(layout, "0")
    assert run.metrics()["v"].tolist() == [1.0]
    write_table(layout.metrics, pa.table({"v": [2.0]}))
    with pytest.raises(UnreadableError, match=r"not what was scored; crucibench score .*run comp"):
        run.metrics()
    layout.manifest.unlink()
    assert run.metrics()["v"].tolist() == [2.0], "an unfinished run has no check"


@pytest.mark.parametrize("text", ["[]", '{"format_version": 1}', '{"format_version": 1, "files"'])
def test_a_damaged_manifest_is_unreadable(layout: Layout, text: str) -> None:
    layout.manifest.write_text(text)
    with pytest.raises(UnreadableError, match=r"manifest\.json' can't be read: "):
        differences(layout)


def test_the_same_table_has_the_same_bytes_however_it_was_chunked(tmp_path: Path) -> None:
    whole = pa.table({"id": [f"{n}" for n in range(100)], "v": np.arange(100.0)})
    write_table(tmp_path / "a.parquet", whole)
    parts = pa.concat_tables([whole.slice(0, 33), whole.slice(33)]).combine_chunks()
    write_table(tmp_path / "b.parquet", parts)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    write_blocks(tmp_path / "c.parquet", [whole.slice(0, 50), whole.slice(50)])
    assert read_table(tmp_path / "c.parquet").equals(whole)


def test_samples_survive_their_table() -> None:
    samples = Samples(
        ids=np.array(["a", "b"], dtype=object),
        targets=np.array([1, 0]),
        groups=pd.DataFrame({"sex": ["1", None], "age>=50": ["yes", "no"]}, dtype=object),
        clusters=np.array(["k", "k"], dtype=object),
    )
    again = table_to_samples(samples_to_table(samples))
    assert again.ids.tolist() == ["a", "b"] and again.keys is None
    assert again.clusters is not None and again.clusters.tolist() == ["k", "k"]
    assert again.groups["sex"].tolist() == ["1", None]


def test_runs_are_found_by_path_prefix_and_latest(tmp_path: Path) -> None:
    for name, age in (("abc1", 1), ("abd2", 2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "spec.yaml").write_text("{}")
        (folder / "events.jsonl").write_text("")
        os.utime(folder / "events.jsonl", (age, age))
    assert find_run("latest", tmp_path).id == "abd2"
    assert find_run("abc", tmp_path).id == "abc1"
    assert find_run(str(tmp_path / "abc1"), tmp_path).id == "abc1"
    for name, folder, message in (
        ("ab", tmp_path, "fits several: abc1, abd2"),
        ("zz", tmp_path, r"no such folder.*runs: abc1, abd2"),
        ("latest", tmp_path / "empty", "there is no run in"),
    ):
        with pytest.raises(InputError, match=message):
            find_run(name, folder)


def test_one_process_at_a_time_writes_a_run(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom crucibench.store.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    refused = pytest.raises(InputError, match=rf"another process \(pid {holder.pid} on ")
    with refused, exclusive(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with exclusive(tmp_path):  # a killed process holds nothing
        pass


@pytest.mark.parametrize(
    ("name", "expected"), [("cnn@bf16", "cnn-bf16"), ("../x", "x"), ("ä/b", "b"), ("", "x")]
)
def test_slugs_are_safe_file_names(name: str, expected: str) -> None:
    assert slug(name) == expected


def table(rows: int = 60) -> pa.Table:
    rng = np.random.default_rng(0)
    scores = pa.array(rng.normal(size=3 * rows).astype(np.float32))
    return pa.table(
        {
            "id": [f"{number:032x}" for number in range(rows)],
            "point": ["eps=0.1", "eps=0.2"] * (rows // 2),
            "prediction": np.arange(rows, dtype=np.int32) % 7,
            "loss": rng.normal(size=rows),
            "broken": np.arange(rows) % 2 == 0,
            "scores": pa.FixedSizeListArray.from_arrays(scores, 3),
            "sex": [None if number % 5 == 0 else f"g{number % 3}" for number in range(rows)],
        }
    )


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_flipped_byte_is_an_error_or_changes_nothing(tmp_path: Path, blocks: int) -> None:
    whole, path = table(), tmp_path / "t.parquet"
    size = whole.num_rows // blocks
    write_blocks(path, [whole.slice(start, size) for start in range(0, whole.num_rows, size)])
    assert read_table(path).equals(whole)
    content = path.read_bytes()
    draw = random.Random(blocks)
    refused = 0
    for offset in range(0, len(content), 4):
        flipped = bytearray(content)
        flipped[offset] ^= draw.randint(1, 255)
        path.write_bytes(bytes(flipped))
        try:
            found = read_table(path)
        except UnreadableError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            assert found.equals(whole), f"the byte at {offset} changed what was read"
    assert refused > 0.95 * len(content) / 4


def test_a_cut_or_empty_or_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, table())
    content = path.read_bytes()
    for length in (0, 3, 8, 100, len(content) // 2, len(content) - 9, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableError, match="can't be read"):
            read_table(path)
    path.unlink()
    with pytest.raises(UnreadableError, match="can't be read"):
        read_table(path)


def test_other_programs_read_the_files_and_theirs_are_read(tmp_path: Path) -> None:
    whole, path = table(), tmp_path / "t.parquet"
    write_table(path, whole)
    assert pq.read_table(path).replace_schema_metadata(None).equals(whole)
    pq.write_table(whole, path)
    assert read_table(path).equals(whole)
    assert read_table(path, ["point", "id"]).column_names == ["point", "id"]
    with pytest.raises(UnreadableError, match="can't be read"):
        pq.write_table(whole, path)
        path.write_bytes(path.read_bytes()[:-20])
        read_table(path)


def test_the_digest_is_of_the_bytes_with_zeros_in_its_place(tmp_path: Path) -> None:
    """Any program can check it: this one does so without ours."""
    import hashlib

    path = tmp_path / "t.parquet"
    write_table(path, table())
    content = path.read_bytes()
    stated = pq.read_metadata(path).metadata[b"crucibench"].rpartition(b" ")[2]
    place = content.rindex(stated)
    zeroed = content[:place] + b"0" * 64 + content[place + 64 :]
    assert hashlib.sha256(zeroed).hexdigest().encode() == stated
