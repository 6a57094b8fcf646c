import base64
import csv
import gc
import hashlib
import io
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

import crucibench as cb
from crucibench.contracts.suite import Section
from crucibench.contracts.verdict import Status
from crucibench.report.html import render_html, write_views
from crucibench.store.run import Run
from crucibench.util.errors import InputError

Attributes = list[tuple[str, str | None]]
MakeBuilder = Callable[[str], Any]
MakeRun = Callable[..., Run]

VOID = {"meta", "link", "br", "img", "input", "hr", "wbr", "col"}
LOADS = {"src", "srcset", "data", "poster", "action", "formaction", "background", "ping"}


class Page(HTMLParser):
    """Reads a page and holds it to account: every element closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack, self.ids, self.links, self.tags, self.text = [], [], [], Counter(), []
        self.attributes = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found["href"])
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in {"style", "script"}:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture(scope="module")
def html(showcase_run: Run) -> str:
    return render_html(showcase_run)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def hostile_html(hostile_run: Run) -> str:
    return render_html(hostile_run)


def test_ids_are_unique_and_every_link_within_the_page_leads_somewhere(
    page: Page, hostile_html: str
) -> None:
    for one in (page, Page(hostile_html)):
        assert [name for name, count in Counter(one.ids).items() if count > 1] == []
        inner = {link[1:] for link in one.links if link.startswith("#")}
        assert inner <= set(one.ids)
        for _, name, value in one.attributes:
            if name in {"aria-labelledby", "xlink:href"} or (name == "href" and value[:1] == "#"):
                assert value.lstrip("#") in one.ids


def test_nothing_is_loaded_and_one_script_may_run(page: Page, html: str, hostile_html: str) -> None:
    for text, one in ((html, page), (hostile_html, Page(hostile_html))):
        (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in text
        assert one.tags["script"] == 1
        assert not {"iframe", "object", "embed", "img", "form", "base"} & set(one.tags)
        for tag, name, value in one.attributes:
            assert name not in LOADS
            assert not name.startswith("on")
            if name in {"href", "xlink:href"}:
                assert value.startswith(("#", "data:text/csv;charset=utf-8,")) or (
                    tag == "link" and value == "data:,"
                )
            if name == "style":
                assert re.fullmatch(r"[-a-z0-9:;.%() #,]*", value), value
        assert "@import" not in text
        assert not re.search(r"url\((?!#)", text)
        assert "default-src 'none'" in text
        assert not re.search(r"innerHTML|eval|fetch|import\b", script)


def test_hostile_names_stay_text(hostile_html: str) -> None:
    assert hostile_html.count("<script") == hostile_html.count('<script>"use strict";') == 1
    assert "<b>bold" not in hostile_html
    assert "\u202e" not in hostile_html
    one = Page(hostile_html)
    assert "<script>alert(1)</script>" in one.words
    assert "abc\\u202egnp.exe" in one.words
    shown = re.sub(r'<pre.*?</pre>|href="data:[^"]*"', "", hostile_html, flags=re.DOTALL)
    assert "x" * 1000 not in shown
    assert len(hostile_html) < 1_500_000
    for drawn in ('class="numbers forest', 'class="warm"', "Scatter plot of"):
        assert drawn in hostile_html
    for link in one.links:
        if link.startswith("data:"):
            for row in csv.reader(io.StringIO(unquote(link.partition(",")[2]))):
                for field in row:
                    assert field[:1] not in set("=+@\t\r")
                    assert field[:1] != "-" or float(field) < 0


def test_every_number_links_to_its_definition(showcase_run: Run, html: str, page: Page) -> None:
    frame = showcase_run.metrics()
    for suite, metric in sorted(set(zip(frame["suite"], frame["metric"], strict=True))):
        anchor = f"metric-{suite}-{metric}"
        assert anchor in page.ids
        assert f"#{anchor}" in page.links
    assert len(re.findall(r'<a class="value"[^>]*href="#metric-', html)) > 60
    for words in ("The share of samples whose predicted class is right.", "Guo et al., ICML 2017"):
        assert words in page.words


def test_scorecard_holds_value_interval_n_and_verdict(page: Page) -> None:
    assert "85.0 [81.7, 87.8] n 540" in page.words
    assert re.search(r"71\.1 ✗ invalid \[67\.1, 74\.8\] n 540", page.words)
    assert re.search(r"85\.0 \? suspect \[77\.9, 90\.0\] n 133", page.words)
    assert "Models are not compared:" in page.words, "the made-up run holds no records"
    assert "skipped: its forward pass is invalid" in page.words


def test_audits_list_every_finding_with_its_evidence(page: Page) -> None:
    assert "no probability leaves [0.084, 0.232], as after a softmax applied twice" in page.words
    assert "too-few-samples" in page.words
    assert "3 notes of the audits that leave verdicts as they are" in page.words
    assert "0.1841" in page.words


def test_what_was_not_measured_is_said(page: Page) -> None:
    assert "This run speaks of accuracy and robustness alone." in page.words
    assert "ValueError: could not convert string to float: 'a'" in page.words
    assert "Traceback (most recent call last)" in page.words
    assert "noise needs images, the data is a table" in page.words
    assert "no interval: one fit" in page.words
    assert "Of the 540 samples of digits (test), noise/gaussian asked about 400." in page.words


def test_provenance_names_data_models_versions_and_digests(showcase_run: Run, page: Page) -> None:
    card = showcase_run.cards["digits"]
    for words in (
        card.fingerprint, card.citation, "CC BY 4.0", "not stated", "preset quick",
        showcase_run.manifest["digest"], "Example CPU", "2.6.0", "schema_version: 1",
    ):  # fmt: skip
        assert words in page.words


def test_each_kind_of_section_is_drawn(html: str, page: Page) -> None:
    plots = re.findall(r'<svg class="plot"[^>]*aria-label="([^"]*)"', html)
    assert len([label for label in plots if label.startswith("Reliability diagram of")]) == 6
    lines = [label for label in plots if label.startswith("Line plot of")]
    assert len(lines) == 3
    assert "accuracy against severity. cnn goes from 0.93 at 1 to 0.2 at 5" in lines[1]
    assert html.count('class="hit') == 3 * 10 + 3 * 2
    assert html.count('<i style="--s:') == 18
    for name in ("risk-coverage", "reliability", "confusion", "per-class"):
        assert any(name in value or "Risk-and-coverage" in value
                   for tag, key, value in page.attributes if key == "download")  # fmt: skip


def test_every_plot_has_its_data_as_csv(page: Page) -> None:
    files = [link for link in page.links if link.startswith("data:text/csv")]
    tables = [list(csv.reader(io.StringIO(unquote(link.partition(",")[2])))) for link in files]
    assert len(files) >= 6 + 3 + 6
    curve = next(table for table in tables if table[0][:3] == ["model", "severity", "accuracy"])
    assert curve[1][:3] == ["cnn", "1", "0.93"]


def test_plots_take_their_colours_from_the_page(html: str) -> None:
    plots = re.findall(r'<svg class="plot".*?</svg>', html, flags=re.DOTALL)
    for plot in plots:
        assert not re.search(r"#[0-9a-f]{6}", plot)
        assert "var(--line-" in plot
        assert "<metadata" not in plot
        assert "<style" not in plot


def test_tables_have_captions_and_scoped_heads(html: str) -> None:
    tables = re.findall(r"<table.*?</table>", html, flags=re.DOTALL)
    assert len(tables) > 10
    for table in tables:
        assert "<caption" in table
        assert "<th " in table
        assert all("scope=" in head for head in re.findall(r"<th[ >][^>]*", table))


def test_same_run_same_bytes(showcase_run: Run, html: str, tmp_path: Path) -> None:
    assert render_html(Run(showcase_run.root)) == html
    program = (
        "import sys; from pathlib import Path; from crucibench.store.run import Run;"
        "from crucibench.report.html import render_html;"
        "sys.stdout.buffer.write(render_html(Run(Path(sys.argv[1]))).encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(showcase_run.root)],
        capture_output=True, check=True, env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin",
                                              "MPLCONFIGDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.decode() == html


def test_views_are_written_where_the_layout_says(two_models: MakeRun) -> None:
    run = two_models("r", {"a": 150, "b": 160})
    paths = write_views(run)
    assert [path.name for path in paths] == ["report.html", "leaderboard.md", "leaderboard.csv"]
    assert all(path.is_file() and path.parent == run.root for path in paths)
    assert paths[0].read_text(encoding="utf-8") == render_html(run)


def test_garbage_is_collected_again_after_a_report_that_fails(
    two_models: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = two_models("r", {"a": 15, "b": 16})
    monkeypatch.setattr("crucibench.report.html.render_html", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_views(run)
    assert gc.isenabled()


def test_no_heavy_package_is_imported(showcase_run: Run) -> None:
    program = (
        "import sys; from pathlib import Path; from crucibench.store.run import Run\n"
        "for name in ('torch', 'datasets', 'foolbox', 'fairlearn', 'sklearn'):"
        " sys.modules[name] = None\n"
        "import crucibench.report\n"
        "assert not {'pandas', 'jinja2', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "from crucibench.report.html import render_html\n"
        "render_html(Run(Path(sys.argv[1])))\n"
        "assert 'matplotlib' not in sys.modules\n"
    )
    program = program.replace("from crucibench.store.run import Run\n", "\n", 1).replace(
        "render_html(Run(", "from crucibench.store.run import Run\nrender_html(Run("
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(showcase_run.root)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _with_section(
    builder: MakeBuilder,
    section: Section,
    frame: pd.DataFrame,
    classes: Sequence[str] = ("a", "b"),
) -> Page:
    made = builder(f"r{section.kind}")
    made.suite("accuracy", "accuracy", (), (), [section])
    made.data("digits", classes, 10)
    made.model("m", "digits")
    cell = made.cell("m", "digits", "accuracy", "clean", n=10)
    made.table(cell, section.table, frame)
    return Page(render_html(made.finish()))


def test_a_table_without_the_declared_columns_is_said(builder: MakeBuilder) -> None:
    section = Section(title="Curve", kind="line", table="t", x="eps", y="share")
    page = _with_section(builder, section, pd.DataFrame({"eps": [1.0, 2.0]}))
    assert "The table 't' has no column share." in page.words


def test_a_kind_that_nobody_registers_is_refused_with_the_nearest(builder: MakeBuilder) -> None:
    made = builder("r")
    section = Section(title="Three dimensions", kind="histograms")
    made.suite("accuracy", "accuracy", (), (), (section,))
    made.data("digits", ("a", "b"), 10)
    made.model("m", "digits")
    made.cell("m", "digits", "accuracy", "clean")
    with pytest.raises(InputError, match="'Three dimensions': unknown section kind 'histograms'; "
                       "did you mean 'histogram'"):  # fmt: skip
        render_html(made.finish())


def test_a_matrix_may_be_long_or_large(builder: MakeBuilder) -> None:
    frame = pd.DataFrame({"truth": ["a", "a", "b"], "said": ["a", "b", "b"], "n": [3, 1, 6]})
    section = Section(title="Confusion", kind="matrix", table="t", x="truth", y="said")
    page = _with_section(builder, section, frame)
    assert "a 3 1 4 b 0 6 6" in page.words
    names = [f"c{index}" for index in range(40)]
    counts = pd.DataFrame(np.eye(40, dtype=int) * 5, columns=names)
    counts.iloc[3, 7] = 2
    counts.insert(0, "true class", names)
    section = Section(title="Large", kind="matrix", table="big")
    page = _with_section(lambda name: builder(f"large{name}"), section, counts, names)
    assert "the most frequent confusions of 40 classes" in page.words
    assert "c3 c7 2" in page.words


def test_text_columns_split_a_table_into_lines_and_panels(builder: MakeBuilder) -> None:
    frame = pd.DataFrame(
        {"corruption": ["blur", "blur", "fog", "fog"], "severity": [1, 2, 1, 2],
         "accuracy": [0.9, 0.8, 0.7, np.nan]}
    )  # fmt: skip
    section = Section(title="Curves", kind="line", table="t", x="severity", y="accuracy")
    page = _with_section(builder, section, frame)
    assert "m blur" in page.words
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert labels == [
        "Line plot of accuracy against severity. m blur goes from 0.9 at 1 to 0.8 at 2; "
        "m fog goes from 0.7 at 1 to 0.7 at 1."
    ]


def test_reliability_from_counts_alone_gets_wilson_intervals(builder: MakeBuilder) -> None:
    frame = pd.DataFrame(
        {"lower": [0.0, 0.5], "upper": [0.5, 1.0], "count": [0, 20], "hits": [0, 15],
         "confidence": [np.nan, 0.9], "accuracy": [np.nan, 0.75]}
    )  # fmt: skip
    page = _with_section(builder, Section(title="R", kind="reliability", table="t"), frame)
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert labels == [
        "Reliability diagram of m : 20 samples in 1 filled bin; the largest gap is 15.0 points at "
        "confidence 0.90, where 20 samples lie."
    ]


def test_a_long_line_keeps_its_ends_and_extremes(builder: MakeBuilder) -> None:
    values = np.zeros(5000)
    values[1234] = 1.0
    frame = pd.DataFrame({"x": np.arange(5000.0), "y": values})
    section = Section(title="Spike", kind="line", table="t", x="x", y="y")
    page = _with_section(builder, section, frame)
    (link,) = [link for link in page.links if link.startswith("data:")]
    rows = list(csv.reader(io.StringIO(unquote(link.partition(",")[2]))))[1:]
    assert len(rows) <= 420
    assert ["m", "1234.0", "1.0"] in rows
    assert rows[0][1] == "0.0"
    assert rows[-1][1] == "4999.0"
    assert "Long lines are drawn through fewer points" in page.words


def test_a_line_without_points_is_left_out_and_none_at_all_is_said(builder: MakeBuilder) -> None:
    made = builder("gaps")
    section = Section(title="Curve", kind="line", table="t", x="rate", y="tail latency")
    made.suite("accuracy", "accuracy", (), (), [section])
    for data, held in (("digits", {"m": np.nan, "k": 2.0}), ("wine", {"m": np.nan})):
        made.data(data, ("a", "b"), 10)
        for model, value in held.items():
            made.model(model, data)
            cell = made.cell(model, data, "accuracy", "clean")
            frame = pd.DataFrame({"rate": [1.0], "tail latency": [value], "note": [None]})
            made.table(cell, "t", frame)
    text = render_html(made.finish())
    assert text.count("No row has both rate and tail latency.") == 1
    assert "k goes from" in text
    assert "m goes from" not in text
    assert "nan" not in re.sub(r"<[^>]*>", " ", text.partition("<body")[2]).split()


def test_many_models_differ_by_colour_and_dashes(builder: MakeBuilder) -> None:
    made = builder("many")
    section = Section(title="Curve", kind="line", table="t", x="x", y="y")
    made.suite("accuracy", "accuracy", (), (), [section])
    made.data("digits", ("a", "b"), 10)
    for index in range(10):
        made.model(f"m{index}", "digits")
        cell = made.cell(f"m{index}", "digits", "accuracy", "clean")
        made.table(cell, "t", pd.DataFrame({"x": [0.0, 1.5], "y": [0.0, float(index)]}))
    text = render_html(made.finish())
    assert len(re.findall(r'class="swatch c[01] dashed"', text)) >= 2
    assert "stroke-dasharray" in text


def test_an_unfinished_and_empty_run_still_renders(builder: MakeBuilder) -> None:
    made = builder("bare")
    made.data("digits", ("a", "b"), 10)
    made.model("m", "digits")
    run = made.finish()
    run.layout.manifest.unlink()
    (run.layout.environment / "main.json").unlink()
    page = Page(render_html(Run(run.root)))
    assert "The run holds no cell: nothing was measured." in page.words


def test_a_failed_model_that_was_never_inspected_is_still_listed(builder: MakeBuilder) -> None:
    made = builder("ghost")
    made.suite("accuracy", "accuracy", ("clean/top-1",), ())
    made.data("digits", ("a", "b"), 10)
    made.cell("ghost", "digits", "accuracy", "clean", Status.FAILED, reason="no such file", n=0)
    page = Page(render_html(made.finish()))
    assert "ghost" in page.words
    assert "no such file" in page.words


def test_a_recipe_is_a_row_with_its_trainings_and_its_variance(
    tmp_path: Path, drawn: Any, logged_run: Any
) -> None:
    run = logged_run(tmp_path, *drawn([0.6, 1.2, 0.9, 1.0, 1.3]))
    page = run.layout.report.read_text(encoding="utf-8")
    section = page.partition('id="recipes"')[2].partition("</section>")[0]
    first = section.partition("</svg>")[0]
    assert first.count("<circle") == 5
    # The bar's three parts fill its width.
    widths = re.findall(r'y="86" width="([\d.]+)"', first)
    assert len(widths) == 3 and sum(map(float, widths)) == pytest.approx(328, abs=0.3)
    assert 'id="recipes"' not in logged_without_recipe(tmp_path)


def logged_without_recipe(folder: Path) -> str:
    """Returns the report of a run without recipes."""
    models = [{"name": "one", "uri": f"predictions:{folder}/net-0.csv?id=row&scores=a,b"}]
    data = [{"name": "d", "uri": f"csv:{folder}/data.csv?target=y&id=row"}]
    run = cb.run({"models": models, "data": data}, suites=["accuracy"], out=folder / "out")
    return run.layout.report.read_text(encoding="utf-8")
