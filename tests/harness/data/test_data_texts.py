"""Text of any length and encoding comes back as it was; what has no bounds is refused."""

from __future__ import annotations

import csv
import io
import json
import resource
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from crucibench.contracts.capability import InputSpec
from crucibench.data.ids import text_digests
from crucibench.data.images import decode
from crucibench.data.texts import text_array, text_values
from crucibench.util.errors import InputError

SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ANY = st.text(max_size=40)
"""Lone surrogates, NUL, marks of direction and emoji are among them."""

HARD = [
    "plain",
    "\ufeffwith a mark",
    "nul \0 inside",
    "\u202eright to left\u202c",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "e\u0301 is not \u00e9",
    'quotes "", commas, and\nlines\r\n',
    "x" * 100_000,
]


def kept(data: Any) -> list[str]:
    return list(data.batch("test", range(data.card.counts["test"]), InputSpec()).inputs)


@SETTINGS
@given(st.lists(ANY | st.none(), min_size=1))
def test_any_text_goes_into_arrow_and_back(texts: list[str | None]) -> None:
    array = text_array(texts)
    assert array.type == pa.large_string() and len(array) == len(texts)
    assert text_values(array) == texts


@SETTINGS
@given(
    st.lists(st.text(st.characters() | st.characters(categories=["Cs"])), min_size=2, max_size=6)
)
def test_any_text_of_the_users_survives(open_live: Any, texts: list[str]) -> None:
    labels = ["p", "q"] * (len(texts) // 2) + ["p"] * (len(texts) % 2)
    data = open_live((texts, labels))
    assert kept(data) == texts
    assert len({name.partition("-")[0] for name in data.samples("test").ids}) == len(set(texts))


def test_a_text_with_a_surrogate_leaves_other_ids_as_they_are() -> None:
    alone = text_digests([["a", "b"]])
    assert text_digests([["a", "\ud800", "b"]])[[0, 2]].tolist() == alone.tolist()


@SETTINGS
@given(
    st.lists(ANY.map(lambda text: text.encode("utf-8", "replace").decode()), min_size=2, max_size=5)
)
def test_a_csv_of_any_text(tmp_path: Path, open_uri: Any, texts: list[str]) -> None:
    # A row of one empty column is no row to CSV, and its line ends are the file's own.
    texts = ["|" + text.replace("\0", "") for text in texts]
    stream = io.StringIO(newline="")
    rows = csv.writer(stream)
    rows.writerows([["text", "y"], *((text, "pq"[row % 2]) for row, text in enumerate(texts))])
    (tmp_path / "a.csv").write_bytes(stream.getvalue().encode())
    assert kept(open_uri("csv:a.csv?target=y&input=text")) == texts


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_declared_encodings(tmp_path: Path, open_uri: Any, encoding: str) -> None:
    stream = io.StringIO(newline="")
    hard = [text for text in HARD if "\0" not in text]
    rows = [["text", "y"], *((text, "pq"[row % 2]) for row, text in enumerate(hard))]
    csv.writer(stream).writerows(rows)
    (tmp_path / "a.csv").write_bytes(stream.getvalue().encode(encoding))
    data = open_uri(f"csv:a.csv?target=y&input=text&encoding={encoding}")
    assert kept(data) == hard
    assert data.card.counts == {"test": len(hard)}


def test_an_encoding_that_is_not_the_files(tmp_path: Path, open_uri: Any) -> None:
    (tmp_path / "a.csv").write_bytes("text,y\none,p\ntwo,q\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"^a\.csv is not utf-8; say encoding="):
        open_uri("csv:a.csv?target=y&input=text")
    (tmp_path / "b.csv").write_bytes(b"text,y\none,p\n\xff\xfe\xfd,q\n")
    with pytest.raises(InputError, match=r"^b\.csv is not ascii; say encoding="):
        open_uri("csv:b.csv?target=y&input=text&encoding=ascii")


def test_parquet_of_hard_texts(tmp_path: Path, open_uri: Any) -> None:
    import pyarrow.parquet as pq

    labels = ["p", "q"] * (len(HARD) // 2)
    pq.write_table(pa.table({"text": HARD, "y": labels}), tmp_path / "a.parquet")
    assert kept(open_uri("parquet:a.parquet?target=y&input=text")) == HARD


def test_several_csv_files(tmp_path: Path, open_uri: Any) -> None:
    for part in (1, 2):
        (tmp_path / f"part-{part}.csv").write_text(f"a,y\n{part},p\n{part + 10},q\n")
    data = open_uri("csv:part-*.csv?target=y")
    assert data.batch("test", range(4), InputSpec()).inputs["a"].tolist() == [1, 11, 2, 12]
    (tmp_path / "part-3.csv").write_text("b,y\n1,p\n")
    with pytest.raises(
        InputError, match=r"^part-3\.csv and part-1\.csv have different columns: a, b"
    ):
        open_uri("csv:part-*.csv?target=y")
    with pytest.raises(InputError, match=r"^no file is called 'none-\*\.csv'"):
        open_uri("csv:none-*.csv?target=y")


def test_several_npz_files(tmp_path: Path, open_uri: Any) -> None:
    for part in (1, 2):
        X = np.full((4, 2), part, dtype=np.float32) + np.arange(4)[:, None] * 10
        np.savez(tmp_path / f"part-{part}.npz", X=X.astype(np.float32), y=np.arange(4) % 2)
    data = open_uri("npz:part-*.npz")
    assert data.card.counts == {"test": 8}
    values = data.batch("test", range(8), InputSpec()).inputs["x0"].tolist()
    assert values == [1, 11, 21, 31, 2, 12, 22, 32]


def test_an_npz_bomb(tmp_path: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crucibench.util.untrusted.archive.FREE", 1 << 20)
    np.savez_compressed(
        tmp_path / "a.npz", X=np.zeros((4 << 20, 2), dtype=np.float32), y=np.zeros(4 << 20)
    )
    with pytest.raises(InputError, match=r"^a\.npz: X\.npy: expected at most .* bytes of "):
        open_uri("npz:a.npz")


def test_an_npz_header_that_lies(tmp_path: Path, open_uri: Any) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", stream.getvalue())
        archive.writestr("y.npy", stream.getvalue())
    with pytest.raises(
        InputError, match=r"^a\.npz: array 'X': expected .* it is shorter than its header"
    ):
        open_uri("npz:a.npz")


HUGE = """
import resource, sys
from pathlib import Path
from crucibench.contracts.source import DataOpening
from crucibench.contracts.uri import parse_uri
from crucibench.data.sources.tables import CsvFiles
from crucibench.data.evalset import open_data
from crucibench.data.sources.tables import CsvSource
from crucibench.util.errors import InputError

base = Path(sys.argv[1])
uri = parse_uri("csv:huge.csv?target=y&on_bad_sample=skip")
opening = DataOpening(name="d", uri=uri, base=base, scratch=base / "cache")
import datasets
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_data(CsvSource(), opening)
except InputError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts kibibytes")
def test_a_cell_of_a_hundred_megabytes(tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("w") as stream:
        stream.write("a,y\n1,p\n2,q\n")
        for _ in range(100):
            stream.write("x" * (1 << 20))
        stream.write(",p\n3,q\n")
    done = subprocess.run(
        [sys.executable, "-c", HUGE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    message, grown = done.stdout.splitlines()
    assert message == "huge.csv has a row longer than 16 MiB"
    assert int(grown) < 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


def test_json_of_a_shard_keeps_its_surrogates(tmp_path: Path, open_uri: Any) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number, text in enumerate(HARD):
            content = json.dumps({"t": text + "\ud83d", "y": "pq"[number % 2]}).encode()
            member = tarfile.TarInfo(f"{number}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = open_uri("tar:a.tar?input=t&target=y")
    assert kept(data) == [text + "\ud83d" for text in HARD]


# Data at its limits: wide tables, long names, many classes, odd images and odd lines.


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
