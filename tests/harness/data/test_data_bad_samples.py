"""Samples that can't be used are counted and named, and refused or left out."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from crucibench.contracts.capability import InputSpec
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
