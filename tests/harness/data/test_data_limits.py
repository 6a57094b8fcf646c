"""Data at its limits: wide tables, long names, many classes, odd images and odd lines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from crucibench.data.images import decode
from crucibench.util.errors import InputError


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("width", [1_000, pytest.param(20_000, marks=pytest.mark.thorough)])
def test_wide_tables(tmp_path: Path, open_uri: Any, kind: str, width: int) -> None:
    rows = np.random.default_rng(0).integers(0, 9, (4, width))
    names = [*(f"x{at}" for at in range(width - 1)), "y"]
    if kind == "csv":
        lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
        (tmp_path / "wide.csv").write_text("\n".join(lines))
    else:
        columns = {name: pa.array(rows[:, at]) for at, name in enumerate(names)}
        pq.write_table(pa.table(columns), tmp_path / "wide.parquet")
    data = open_uri(f"{kind}:wide.{kind}?target=y")
    assert len(data.card.features) == width - 1 and data.card.counts == {"test": 4}


def test_too_many_columns(tmp_path: Path, open_uri: Any) -> None:
    (tmp_path / "wide.csv").write_text(",".join(["a"] * 100_001) + "\n")
    with pytest.raises(InputError, match=r"^wide\.csv: expected at most 100,000 columns, got "):
        open_uri("csv:wide.csv?target=y")


def test_a_hundred_thousand_classes(tmp_path: Path, open_uri: Any) -> None:
    lines = [f"{row},c{row % 100_000:06}" for row in range(300_000)]
    (tmp_path / "many.csv").write_text("\n".join(["a,y", *lines]))
    assert len(open_uri("csv:many.csv?target=y").task.classes) == 100_000


@pytest.mark.parametrize("letter", ["x", "é", "字", "😀"])
def test_names_of_255_bytes(tmp_path: Path, open_uri: Any, letter: str) -> None:
    stem = letter * (251 // len(letter.encode()))
    stem += "x" * (251 - len(stem.encode()))
    (tmp_path / f"{stem}.csv").write_text("a,y\n1,0\n2,1\n")
    assert open_uri(f"csv:{stem}.csv?target=y").card.counts == {"test": 2}
    for name, level in (("a", 0), ("b", 255)):
        (tmp_path / "d" / name).mkdir(parents=True)
        Image.new("L", (1, 1), level).save(tmp_path / "d" / name / f"{stem}.png")
    assert open_uri("imagefolder:d").card.counts == {"test": 2}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbfa,y\n1,0\n2,1\n", [1, 2]),
        (b"a,y\r\n1,0\n2,1\r3,0\r\n4,1\n", [1, 2, 3, 4]),
        (b"a,y\n1,0\n\x002,1\n", "holds a NUL byte"),
        (b"a\0,y\n1,0\n2,1\n", "its header holds a NUL byte"),
        (b"a,a,y\n1,2,0\n3,4,1\n", "column 'a' is there 2 times"),
    ],
)
def test_odd_lines(
    tmp_path: Path, open_uri: Any, content: bytes, expected: Any, refusal: Any
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    if isinstance(expected, str):
        assert expected in refusal(InputError, lambda: open_uri("csv:a.csv?target=y"))
        return
    from crucibench.contracts.capability import InputSpec

    batch = open_uri("csv:a.csv?target=y").batch("test", range(len(expected)), InputSpec())
    assert batch.inputs["a"].tolist() == expected


def test_a_huge_image_is_measured_and_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    with pytest.raises(InputError, match="expected at most 89,478,485 pixels, got 400,000,000"):
        decode(stream.getvalue(), "it")


def test_strips_of_a_large_transparent_image_join(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, (50, 7, 4), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values, "RGBA").save(stream, "PNG")
    whole, facts = decode(stream.getvalue(), "it")
    monkeypatch.setattr("crucibench.data.images._STRIP", 20)
    in_strips, _ = decode(stream.getvalue(), "it")
    assert (whole == in_strips).all() and facts.transparent
