"""Damaged Parquet files are never read as other tables."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crucibench.store.tables import read_table, write_blocks, write_table
from crucibench.util.errors import UnreadableError


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
