"""Rows of a leaderboard: model cards, seeds, marks, retired rows, filters; HTML and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crucibench.contracts.metric import MetricInfo
from crucibench.report import leaderboard_text
from crucibench.report.gaps import MissingResults, by_reason
from crucibench.report.leaderboard import leaderboard
from crucibench.report.leaderboard_text import PREAMBLE, latex, latex_text
from crucibench.report.site.write import leaderboard_page
from crucibench.report.terminal import print_leaderboard
from crucibench.spec.notes import Notes, read_notes
from crucibench.store.run import Run
from crucibench.util.errors import InputError

TOP1 = MetricInfo(id="top-1", name="Accuracy", direction="higher", lower=0.0, upper=1.0,
                   definition="The share of right predictions.")  # fmt: skip
HITS = {"s0": 150, "s1": 156, "s2": 159, "other": 170}

Make = Callable[..., Run]


@pytest.fixture
def make(builder: Callable[[str], Any]) -> Make:
    """Returns a maker of runs of models with cards and groups of seeds."""

    def made(
        name: str = "run1",
        hits: Mapping[str, int] = HITS,
        cards: Mapping[str, Mapping[str, Any]] | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> Run:
        run = builder(name)
        run.suite("accuracy", "accuracy", ("clean/top-1",), (TOP1,))
        run.data("digits", ("a", "b"), 200, uri="hf:me/digits?split=test")
        for model, count in hits.items():
            said = {"card": (cards or {}).get(model, {}), "group": (groups or {}).get(model, "")}
            run.model(model, "digits", **said)
            cell = run.cell(model, "digits", "accuracy", "clean", n=200)
            run.share(cell, "top-1", count, 200, model=model, data="digits", suite="accuracy",
                      scenario="clean")  # fmt: skip
        found: Run = run.finish()
        return found

    return made


def _shown(run: Run, **options: Any) -> dict[str, str]:
    """Returns a board in every format."""
    board = leaderboard([run], **options)
    console = Console(file=io.StringIO(), width=300, record=True)
    print_leaderboard(console, board)
    return {
        "table": console.export_text(), "md": leaderboard_text.markdown(board),
        "csv": leaderboard_text.csv(board), "json": leaderboard_text.json_text(board),
        "html": leaderboard_page(board), "latex": latex(board),
    }  # fmt: skip


def test_rows_carry_the_fields_of_their_cards(make: Make) -> None:
    card = {"authors": ["Ada", "Bo"], "paper": "arXiv 1", "licence": "MIT", "trained_on": ["web"]}
    run = make(cards={"s0": card, "s1": {"license": "BSD-3-Clause", "note": "unseen"}})
    for form, text in _shown(run).items():
        for words in ("Ada, Bo", "MIT", "web"):
            assert words in text, form
        assert "unseen" not in text, form
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(_shown(run)["csv"]))}
    assert rows["s0"]["authors"] == "Ada, Bo"
    assert rows["s1"]["licence"] == "BSD-3-Clause"
    assert rows["other"]["paper"] == ""


@pytest.mark.parametrize("entry", ["digits", "me/digits", "hf:me/digits", " ME/Digits "])
def test_a_test_set_found_in_trained_on_marks_the_row(make: Make, entry: str) -> None:
    run = make(cards={"s0": {"trained_on": ["web", entry]}, "s1": {"trained_on": ["digits-train"]}})
    (board,) = leaderboard([run]).boards
    marked = {line.label: line.about.trained_on_test for line in board.lines}
    assert marked == {"s0": entry, "s1": "", "s2": "", "other": ""}
    shown = _shown(run)
    for form in ("table", "md", "html"):
        assert shown[form].count("‡") >= 2, form
        assert "was trained on" in shown[form], form
    assert r"$\ddagger$" in shown["latex"]
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(shown["csv"]))}
    assert (rows["s0"]["trained_on_test"].strip(), rows["s1"]["trained_on_test"]) == (
        entry.strip(), "",
    )  # fmt: skip


def test_retired_rows_stay_after_all_others_with_their_reason(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "notes.yaml"
    path.write_text(
        "rows:\n"
        "  - {model: other, data: digits, withdrawn: scored on the wrong split}\n"
        "  - {model: s2, run: run, superseded: a longer training, by: s3}\n"
        "  - {model: s0, run: another, withdrawn: of another run}\n"
    )
    run = make(cards={"s1": {"withdrawn": "weights were lost"}})
    notes = read_notes(path)
    (board,) = leaderboard([run], notes=notes).boards
    assert [line.label for line in board.lines] == ["s0", "other", "s2", "s1"]
    assert [str(line.about.retired) for line in board.lines[1:]] == [
        "withdrawn: scored on the wrong split", "superseded by s3: a longer training",
        "withdrawn: weights were lost",
    ]  # fmt: skip
    for form, text in _shown(run, notes=notes).items():
        for words in ("scored on the wrong split", "a longer training", "weights were lost"):
            assert words in text, form
    # Without the notes, the best is the best.
    assert leaderboard([run]).boards[0].lines[0].label == "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: [{model: a}]", "expected one of withdrawn and superseded"),
        ("rows: [{model: a, withdrawn: x, superseded: y}]", "expected one of withdrawn"),
        ("rows: [{model: a, withdrawn: x, by: b}]", "'by' goes with superseded"),
        ("rows: [{modle: a, withdrawn: x}]", "did you mean 'model'"),
        ("- a", "expected a mapping"),
    ],
)
def test_mistakes_in_notes_are_sentences(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "notes.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_notes(path)


def test_seeds_show_the_spread_between_them(make: Make) -> None:
    run = make(groups={"s0": "cnn", "s1": "cnn", "s2": "cnn", "other": "alone"})
    (board,) = leaderboard([run]).boards
    (spread,) = board.spreads
    values = [HITS[name] / 200 for name in ("s0", "s1", "s2")]
    assert (spread.group, spread.seeds) == ("cnn", 3)
    assert spread.mean == pytest.approx(statistics.fmean(values))
    assert spread.deviation == pytest.approx(statistics.stdev(values))
    assert (spread.lowest, spread.highest) == (0.75, 0.795)
    numbers = {line.label: line.entries[board.sorted_by].number for line in board.lines}
    halves = [(n.upper - n.lower) / 2 for s in ("s0", "s1", "s2") if (n := numbers[s])]
    assert spread.half_width == pytest.approx(statistics.fmean(halves))
    for form in ("table", "md", "html", "latex"):
        assert "SD between seeds" in _shown(run)[form], form
    (seeds,) = json.loads(_shown(run)["json"])["boards"][0]["seeds"]
    assert seeds["column"] == "accuracy/clean/top-1"
    # A row that no longer counts is no seed either.
    notes = Notes.model_validate({"rows": [{"model": "s2", "withdrawn": "bug"}]})
    assert leaderboard([run], notes=notes).boards[0].spreads[0].seeds == 2


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (["model=s*"], {"s0", "s1", "s2"}),
        (["model!=s*"], {"other"}),
        (["top-1>=0.78"], {"s1", "s2", "other"}),
        (["top-1>=0.78", "top-1<0.84"], {"s1", "s2"}),
        (["group=cnn", "accuracy/clean/top-1 > 156/200"], {"s2"}),
        (["licence=mit"], set()),
        (["licence=MIT"], {"s0"}),
        (["run=run*"], {"s0", "s1", "s2", "other"}),
    ],
)
def test_filters(make: Make, filters: list[str], kept: set[str]) -> None:
    groups = {"s0": "cnn", "s1": "cnn", "s2": "cnn"}
    run = make(cards={"s0": {"licence": "MIT"}}, groups=groups)
    (board,) = leaderboard([run], filters=filters).boards
    assert {line.label for line in board.lines} == kept


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("model", "expected NAME=PATTERN"),
        ("modle=a", "did you mean 'model'"),
        ("top-1>=many", "expected a number after >="),
        ("top-9>=1", "unknown column 'top-9'"),
    ],
)
def test_mistakes_in_filters_are_sentences(make: Make, condition: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        leaderboard([make()], filters=[condition])


class _Tags(HTMLParser):
    """Notes the tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_hostile_names_stay_text_in_html(hostile_run: Run) -> None:
    page = leaderboard_page(leaderboard([hostile_run]))
    tags = _Tags(page).found
    assert [tag for tag, _ in tags].count("script") == 1, "its own alone"
    assert not [tag for tag, _ in tags if tag in {"img", "b", "iframe"}]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert "\u202e" not in page and "x" * 700 not in page
    (policy,) = [a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and "script-src 'sha256-" in policy


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (r"a_b & 50% $x$ #1 {y} ~ ^", None),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("é", r"\'{e}"),
        ("👩", r"\texttt{U+1F469}"),
        ("--", "{-}{-}"),
        ("[x]", "{[}x{]}"),
    ],
)
def test_latex_text_is_no_command(text: str, escaped: str | None) -> None:
    found = latex_text(text)
    if escaped is not None:
        assert found == escaped
    # What is left after known escapes has no special character.
    rest = re.sub(r"\\(text\w+|[%$&#_{}'`^~\"cvr])", "", found)
    assert not set(rest) & set("\\$&#_%^~")


@pytest.mark.parametrize("which", ["showcase", "hostile"])
def test_latex_compiles(which: str, showcase_run: Run, hostile_run: Run, tmp_path: Path) -> None:
    board = leaderboard([{"showcase": showcase_run, "hostile": hostile_run}[which]])
    text = latex(board)
    assert max(map(len, text.splitlines())) < 20_000
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("no pdflatex on the path")
    packages = PREAMBLE.replace("% ", "")
    (tmp_path / "board.tex").write_text(
        f"\\documentclass{{article}}\n{packages}\\begin{{document}}\n{text}\\end{{document}}\n"
    )
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "board.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "board.pdf").stat().st_size > 10_000


def _gap(
    what: str, reason: str, *models: str, count: int = 1, data: str = "digits"
) -> MissingResults:
    return MissingResults(data=data, what=what, models=models, reason=reason, count=count)


def test_reasons_of_one_kind_are_one_entry() -> None:
    gaps = [
        _gap("bias/groups: TPR", "no positives", "a"),
        _gap("throughput/offline: p99", "6 queries were timed, and p99 needs 662", "a", "b",
             count=2),
        _gap("throughput/offline: p50", "7 queries were timed, and p50 needs 1,234", "b", "c",
             count=3),
        _gap("bias/groups: FPR", "no positives", "b", count=4),
        _gap("bias/across: gap", "only 'age=1, \u202e' has at least 30 samples", "a"),
        _gap("bias/groups: TPR", "no positives", "a", data="reviews"),
    ]  # fmt: skip
    found = by_reason(gaps)
    assert [(group["data"], group["suite"], group["count"]) for group in found] == [
        ("digits", "bias", 6), ("digits", "throughput", 5), ("reviews", "bias", 1),
    ]  # fmt: skip
    bias, speed, _ = found
    assert [(reason["text"], reason["count"]) for reason in bias["reasons"]] == [
        ("no positives", 5), ("only 'age=1, \u202e' has at least 30 samples", 1),
    ]  # fmt: skip
    assert bias["reasons"][0]["alike"] and bias["reasons"][0]["models"] == ["a", "b"]
    (reason,) = speed["reasons"]
    assert reason["text"] == "… queries were timed, and p… needs …"
    assert not reason["alike"] and reason["models"] == ["a", "b", "c"]
    kept = [gap for group in found for one in group["reasons"] for gap in one["gaps"]]
    assert sorted(map(repr, kept)) == sorted(map(repr, gaps)), "each stands in one place"
