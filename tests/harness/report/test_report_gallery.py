"""The gallery: samples as they are and changed, and nothing of them where it is published."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.cli._app import application
from crucibench.contracts.examples import EXAMPLES, png
from crucibench.contracts.records import to_table
from crucibench.contracts.suite import Section
from crucibench.contracts.task import Modality
from crucibench.report.html import render_html
from crucibench.report.page import Piece
from crucibench.report.sections.gallery import GAP, cells_of, changed_columns, edited, whole
from crucibench.store.run import Run
from crucibench.store.tables import write_table

MARKER = "planted-marker-7261"
SCRIPT = "<script>alert(1)</script>"
TEXT = f"{MARKER} a fine {SCRIPT} film \u202e {'x' * 10_000} \U0001f4a5"
SECTION = Section(title="Samples", kind="gallery", note="Not a fair sample.")
OUTPUTS = [f"artifacts/{EXAMPLES}"]


def _content(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _plant(made: Any, model: str, data: str, versions: Sequence[Mapping[str, Any]],
           scenario: str = "typos") -> None:  # fmt: skip
    """Adds a cell with one example, the sample ``s``, and the pass that it needs."""
    clean = made.cell(model, data, "pass", "test", kind="mapped")
    write_table(
        made.layout.shard(clean, 0, 0),
        to_table({"id": ["s"], "prediction": np.array([1], dtype=np.int32),
                  "scores": np.array([[0.0, math.log(3.0)]])}),
    )  # fmt: skip
    cell = made.cell(model, data, "shift", scenario, kind="mapped", outputs=OUTPUTS,
                     needs={"clean": clean})  # fmt: skip
    lines = [
        {
            "id": "s", "point": "", "rank": 0, "key": 0.5, "wrong": True, "by": "", "target": 1.0,
            "prediction": math.nan, "score": math.nan, "change": b"", "factor": math.nan, **version,
        }
        for version in versions
    ]  # fmt: skip
    columns = {name: [line[name] for line in lines] for name in lines[0]}
    columns["content"] = [_content(value) for value in columns["content"]]
    write_table(made.layout.artifact(cell, EXAMPLES, 0, 0), to_table(columns))


def _run(builder: Callable[[str], Any], modality: Modality, **planted: Any) -> Run:
    made = builder(f"gallery-{modality}")
    made.suite("shift", "shift", (), [], (SECTION,))
    made.data("things", ("no", f"yes {SCRIPT}"), 540, modality=modality)
    made.model("m", "things")
    _plant(made, "m", "things", **planted)
    run: Run = made.finish()
    return run


@pytest.fixture
def texts(builder: Callable[[str], Any]) -> Run:
    worse = TEXT.replace("fine", "flne")
    return _run(
        builder, Modality.TEXT,
        versions=[{"content": [TEXT]},
                  {"content": [worse], "point": "severity=1", "rank": 1, "prediction": 0.0,
                   "score": 0.25}],
    )  # fmt: skip


@pytest.fixture
def rows(builder: Callable[[str], Any]) -> Run:
    row = {"age": 41, f"sex {SCRIPT}": MARKER, "bp": 0.5, "long": "y" * 10_000}
    changed = row | {"age": None, "long": "z" * 10_000}
    return _run(
        builder, Modality.TABLE,
        versions=[{"content": row},
                  {"content": changed, "point": "severity=1", "rank": 1, "prediction": 0.0}],
    )  # fmt: skip


@pytest.fixture
def images(builder: Callable[[str], Any]) -> Run:
    picture = png(np.arange(64, dtype=np.uint8).reshape(8, 8))
    return _run(
        builder, Modality.IMAGE,
        versions=[{"content": picture},
                  {"content": picture, "point": "eps=0.1", "rank": 1, "prediction": 0.0,
                   "score": 0.4, "change": picture, "factor": 5.0, "by": "apgd-ce"}],
        scenario="auto<b>attack",
    )  # fmt: skip


def _gallery(html: str) -> str:
    (found,) = re.findall(r'<ul class="gallery".*?\n</ul>', html, re.DOTALL)
    return str(found)


def test_a_text_is_shown_with_its_edits_marked(texts: Run) -> None:
    html = render_html(texts)
    shown = _gallery(html)
    assert "<del>fine</del>" in shown
    assert "<ins>flne</ins>" in shown
    # Of two classes the records hold the probability of the second.
    assert "yes &lt;script&gt;alert(1)&lt;/script&gt;, 75 %" in shown and "no, 75 %" in shown
    assert shown.count("✓ right") == shown.count("✗ wrong") == 1
    assert "<script>alert" not in html and "\u202e" not in html and "\\u202e" in shown
    assert len(shown) < 12_000 and "Not a fair sample." in html


def test_a_row_is_shown_with_its_changed_cells_marked(rows: Run) -> None:
    shown = _gallery(render_html(rows))
    assert "<td>41</td>" in shown
    assert "<ins>missing</ins>" in shown
    assert "2 columns are as they were." in shown and MARKER not in shown
    assert "<script>" not in shown and len(shown) < 6_000


def test_an_image_is_shown_with_what_was_changed(images: Run) -> None:
    shown = _gallery(render_html(images))
    alts = re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]+)" width="96">', shown)
    assert len(alts) == 3 and len(set(alts)) == 3
    assert alts[1].endswith("eps=0.1 by apgd-ce, auto&lt;b&gt;attack: no")
    assert alts[2] == "What was changed, 5 times"


def test_a_report_without_a_gallery_holds_nothing_of_samples(texts: Run) -> None:
    assert MARKER in render_html(texts)
    without = render_html(texts, gallery=False)
    assert MARKER not in without and 'class="gallery"' not in without


@pytest.mark.sockets
def test_a_browser_shows_it_on_a_narrow_screen_too(
    browser: Any, texts: Run, rows: Run, images: Run, tmp_path: Path
) -> None:
    for name, run in (("texts", texts), ("rows", rows), ("images", images)):
        place = tmp_path / f"{name}.html"
        place.write_text(render_html(run), encoding="utf-8")
        for width in (360, 1280):
            page = browser.new_page(viewport={"width": width, "height": 800})
            troubles: list[str] = []
            page.on("console", lambda message, found=troubles: found.append(message.text))
            page.goto(place.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            drawn = "[...document.images].every(one => one.complete && one.naturalWidth === 8)"
            assert page.evaluate(drawn)
            assert troubles == []
            page.close()


def _all_text(path: Path) -> str:
    """Returns what a file holds, archives and tables unpacked."""
    return _text_of(path.name, path.read_bytes())


def _text_of(name: str, content: bytes) -> str:
    if name.endswith((".zip", ".cbz")):
        with zipfile.ZipFile(BytesIO(content)) as archive:
            return "".join(_text_of(one, archive.read(one)) for one in archive.namelist())
    if name.endswith(".parquet"):
        return str(pq.read_table(BytesIO(content)).to_pylist())
    return content.decode("utf-8", errors="replace")


def _called(*arguments: str) -> None:
    done = CliRunner().invoke(application, list(arguments))
    assert done.exit_code == 0, (arguments, done.output, done.exception)


def test_nothing_that_is_published_holds_a_sample_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["good", "bad"]
    reviews = [f"{MARKER} this film is {words[at % 2]} number {at}" for at in range(24)]
    pd.DataFrame({"text": reviews, "label": [words[at % 2] for at in range(24)]}).to_csv(
        "reviews.csv", index=False
    )
    Path("model.py").write_text(
        "import numpy as np\n"
        "def model(batch):\n"
        "    good = np.array(['good' in text for text in batch], dtype=float)\n"
        "    return np.stack([1 - good, good], axis=1) * 0.8 + 0.1\n"
    )
    _called("run", "--model", "m=python:model.py:model", "--data",
            "reviews=csv:reviews.csv?target=label&input=text", "--suite", "accuracy,shift",
            "--set", "shift.texts=[letter_deletion]", "-q")  # fmt: skip
    (root,) = [path.parent for path in Path("results").glob("*/manifest.json")]
    assert MARKER in (root / "report.html").read_text(encoding="utf-8"), "planted"
    _called("publish", "--site", "site", "--card", "cards", "--every-eval-ever", "shared",
            "--bundle", "bundle.zip", "-q")  # fmt: skip
    _called("pack", "-o", "run.cbz", "-q")
    _called("publish", "--bundle", "whole.zip", "--with-inputs", "-q")
    _called("verify", "bundle.zip")
    _called("verify", "-q")
    files = [path for folder in ("site", "cards", "shared") for path in Path(folder).rglob("*")]
    published = [path for path in files if path.is_file()]
    for path in (*published, Path("bundle.zip"), Path("run.cbz")):
        assert MARKER not in _all_text(path), path
    assert MARKER in _all_text(Path("whole.zip")), "which was asked for"
    _called("report", "-o", "bare.html", "--no-gallery", "-q")
    assert MARKER not in Path("bare.html").read_text(encoding="utf-8")
    _called("report", "bundle.zip", "-o", "bare.html", "-q")
    assert MARKER not in Path("bare.html").read_text(encoding="utf-8")


_TEXT = st.text(st.sampled_from("ab c,.\u202e<"), max_size=11)


def _joined(pieces: list[Piece], without: str) -> str:
    return "".join(piece.text for piece in pieces if piece.kind != without)


@settings(deadline=None)
@given(_TEXT, _TEXT)
def test_pieces_make_up_both_texts(before: str, after: str) -> None:
    pieces = edited(before, after)
    assert _joined(pieces, "put-in") == before
    assert _joined(pieces, "taken-out") == after
    assert edited(before, before) == [Piece(text=before)]


def test_a_changed_word_is_marked_and_what_is_far_from_it_left_out() -> None:
    assert edited("a fine film", "a flne film") == [
        Piece(text="a "), Piece(text="fine", kind="taken-out"), Piece(text="flne", kind="put-in"),
        Piece(text=" film"),
    ]  # fmt: skip
    words = [f"w{at}" for at in range(400)]
    pieces = edited(" ".join(words), " ".join([*words[:200], "NEW", *words[200:]]))
    assert [piece.kind for piece in pieces] == ["gap", "same", "put-in", "same", "gap"]
    assert pieces[0] == GAP and "w195" in pieces[1].text and "w205" in pieces[3].text
    assert sum(len(piece.text) for piece in pieces) < 200


def test_missing_texts_and_endless_words_are_shown_short() -> None:
    assert edited(None, None) == []
    assert [piece.kind for piece in edited("a", None)] == ["taken-out"]
    assert [piece.kind for piece in edited(None, "a")] == ["put-in"]
    assert whole(None) == [Piece(text="missing", kind="gap")]
    pieces = [*edited("x" * 10_000, "y" * 10_000), *whole("z" * 10_000), *whole("z " * 5_000)]
    assert all(len(piece.text) < 1500 for piece in pieces)
    many = edited(" ".join("ab" * 400), " ".join("ba" * 400))
    assert len(many) <= 81


def test_cells_of_rows_that_differ_from_the_first_are_marked() -> None:
    rows = [{"age": 41, "sex": "f", "bp": None}, {"age": 41, "sex": "f", "bp": 0.25},
            {"age": None, "sex": "f", "bp": None}]  # fmt: skip
    assert changed_columns(rows) == ["age", "bp"]
    assert cells_of("age", rows) == [
        Piece(text="41"), Piece(text="41"), Piece(text="missing", kind="put-in")
    ]  # fmt: skip
    assert cells_of("bp", rows) == [
        Piece(text="missing"), Piece(text="0.25", kind="put-in"), Piece(text="missing")
    ]  # fmt: skip
