"""Samples that can't be used are counted and named, and refused or left out."""

from __future__ import annotations

import csv
import io
import json
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
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
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.util.errors import InputError

SKIP = "on_bad_sample=skip leaves such samples out"


def save(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (colour, 0, 0)).save(path)


def bomb() -> bytes:
    """A PNG of a few bytes that announces 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images of two classes, three of them bad, each in its own way."""
    for number in range(3):
        save(tmp_path / f"photos/cat/{number}.png", number)
        save(tmp_path / f"photos/dog/{number}.png", 100 + number)
    whole = (tmp_path / "photos/cat/0.png").read_bytes()
    (tmp_path / "photos/cat/0.png").write_bytes(whole[:45])
    (tmp_path / "photos/cat/1.png").write_text("no image")
    (tmp_path / "photos/dog/2.png").write_bytes(bomb())
    return tmp_path


def test_bad_images_are_counted_and_named(photos: Path, open_uri: Any) -> None:
    with pytest.raises(InputError) as caught:
        open_uri("imagefolder:photos")
    message = str(caught.value)
    assert message.startswith("3 of 6 samples of test can't be used: image 'cat/0.png' is damaged")
    assert "; image 'cat/1.png': expected an image in a known format" in message
    assert "; image 'dog/2.png': expected at most 89,478,485 pixels" in message
    assert message.endswith(SKIP)


def test_what_is_left_out_is_told_and_changes_nothing_else(photos: Path, open_uri: Any) -> None:
    data = open_uri("imagefolder:photos?on_bad_sample=skip")
    assert data.card.counts == {"test": 3}
    assert data.card.class_counts == {"test": [1, 2]}
    (note,) = data.card.notes
    assert note.startswith(
        "3 of 6 samples of test are left out (damaged image: 1, image too large: 1, no image: 1): "
    )
    facts = data.bad_samples["test"]
    assert (facts["left_out"], facts["of"], len(facts["first"])) == (3, 6, 3)
    batch = data.batch("test", range(3), InputSpec())
    assert batch.keys == ("cat/2.png", "dog/0.png", "dog/1.png")
    reds = (batch.inputs[:, 0, 0, 0] * 255).round().tolist()
    assert reds == [2.0, 100.0, 101.0]
    for name in ("cat/0", "cat/1", "dog/2"):
        (photos / f"photos/{name}.png").unlink()
    good = open_uri("imagefolder:photos")
    assert good.card.fingerprint == data.card.fingerprint
    assert good.card.notes == () and good.bad_samples == {}


def test_many_are_counted_and_a_few_named(tmp_path: Path, open_uri: Any) -> None:
    for number in range(10):
        save(tmp_path / f"photos/{'ab'[number % 2]}/{number}.png", number)
    for number in range(7):
        (tmp_path / f"photos/{'ab'[number % 2]}/{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"^7 of 10 samples .*; and 4 more; on_bad_sample=skip"):
        open_uri("imagefolder:photos")
    assert open_uri("imagefolder:photos?on_bad_sample=skip").card.counts == {"test": 3}


def test_nothing_left_is_an_error_even_so(tmp_path: Path, open_uri: Any) -> None:
    for name in ("a/1.png", "b/1.png"):
        save(tmp_path / "photos" / name, 1)
        (tmp_path / "photos" / name).write_text("x")
    with pytest.raises(InputError, match=r"^2 of 2 samples of test can't be used"):
        open_uri("imagefolder:photos?on_bad_sample=skip")
    (tmp_path / "bad.csv").write_text("a,y\n1\n2\n")
    with pytest.raises(InputError, match=r"^2 of 2 samples of test can't be used: bad\.csv: a row"):
        open_uri("csv:bad.csv?target=y&on_bad_sample=skip")


def test_rows_of_a_csv(tmp_path: Path, open_uri: Any, refusal: Any) -> None:
    (tmp_path / "rows.csv").write_bytes(
        b"a,t,y\n1,one,p\n2,two,q,more\n3,caf\xe9,q\n4,four,\n5,five,q\n"
    )
    assert refusal(InputError, lambda: open_uri("csv:rows.csv?target=y")).startswith(
        "2 of 5 samples of test can't be used: rows.csv: a row has 4 values, expected 3: "
    )
    data = open_uri("csv:rows.csv?target=y&on_bad_sample=skip")
    assert data.card.counts == {"test": 2}
    (note,) = data.card.notes
    assert note.startswith("3 of 5 samples of test are left out (row of another length: 1, ")
    assert "undecodable row: 1" in note and "target missing: 1" in note
    assert data.batch("test", range(2), InputSpec()).inputs["a"].tolist() == [1, 5]


def test_an_open_quote_is_not_lost_silently(tmp_path: Path, open_uri: Any) -> None:
    rows = "".join(f"{number},p\n" for number in range(50))
    (tmp_path / "open.csv").write_text(f'a,y\n1,p\n2,q\n"3,q\n{rows}')
    with pytest.raises(InputError, match=r"over 5\d lines \(is a quote left open\?\)"):
        open_uri("csv:open.csv?target=y")


def test_missing_targets_and_texts(open_live: Any) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": ["a", None, "b", None]})
    data = open_live(frame, target="y", on_bad_sample="skip")
    assert data.card.counts == {"test": 2} and data.task.classes == ("a", "b")
    assert data.card.notes == (
        "2 of 4 samples of test are left out (target missing: 2): row 1: the target 'y' is "
        "missing; row 3: the target 'y' is missing",
    )
    numbers = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0.5, float("inf"), 0.25]})
    values = open_live(numbers, target="y", on_bad_sample="skip").samples("test").targets
    assert values.tolist() == [0.5, 0.25]
    texts = pd.DataFrame({"t": ["one", None, "three"], "y": ["a", "a", "b"]})
    kept = open_live(texts, target="y", input="t", on_bad_sample="skip")
    assert kept.batch("test", range(2), InputSpec()).inputs == ["one", "three"]


def test_minus_one_is_no_label(open_live: Any) -> None:
    features = datasets.Features(
        a=datasets.Value("int64"), label=datasets.ClassLabel(names=["n", "p"])
    )
    rows = {"a": [1, 2, 3], "label": [1, -1, 0]}
    data = datasets.Dataset.from_dict(rows, features=features)
    with pytest.raises(InputError, match=r"1 of 3 values is -1 \(no label\) \(test row 1"):
        open_live(data)
    assert open_live(data, on_bad_sample="skip").samples("test").targets.tolist() == [1, 0]


def test_a_split_leaves_them_out_of_both(open_live: Any) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0), "y": ["a", "b", None, "b"] * 10})
    data = open_live(frame, target="y", split="0.5", on_bad_sample="skip")
    assert sum(data.card.counts.values()) == 30
    clean = open_live(frame.dropna(), target="y", split="0.5")
    assert clean.card.ids_digest == data.card.ids_digest


def test_an_unknown_choice(open_uri: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,y\n1,p\n2,q\n")
    with pytest.raises(InputError, match=r"option on_bad_sample: 'skipp'; did you mean 'skip'\?"):
        open_uri("csv:a.csv?target=y&on_bad_sample=skipp")


def test_the_spec_goes_before_the_address(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,a\n")
    (tmp_path / "m.py").write_text("def scores(frame):\n    return frame\n")
    document = {
        "models": [{"name": "m", "uri": "python:m.py:scores"}],
        "data": [{
            "name": "a", "uri": "csv:a.csv?target=y&on_bad_sample=error", "on_bad_sample": "skip",
        }],
    }  # fmt: skip
    resolved = resolve(document, tmp_path, "spec", Overrides())
    assert resolved.data["a"].uri.query["on_bad_sample"] == "skip"


# Text of any length and encoding comes back as it was; what has no bounds is refused.

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
