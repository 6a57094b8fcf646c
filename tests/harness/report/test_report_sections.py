"""Sections that set models side by side: heat maps, forest plots, panels, the Pareto plot."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest

from crucibench.comparing.claims import Claims
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.suite import Section
from crucibench.report.html import render_html
from crucibench.report.leaderboard import axis_columns, leaderboard, pareto_front
from crucibench.store.run import Run

MakeBuilder = Callable[[str], Any]
MakeClaims = Callable[..., Claims]

GAP = MetricInfo(id="gap", name="Gap", direction="target=0", lower=-1.0, upper=1.0,
                 definition="The group's accuracy less that of the rest.")  # fmt: skip
RATIO = MetricInfo(id="ratio", name="Ratio", direction="target=1", lower=0.0,
                   definition="The group's accuracy over that of the rest.")  # fmt: skip


def _text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html.partition("<body>")[2]))


def _files(html: str) -> dict[str, list[list[str]]]:
    found = re.findall(r'download="([^"]*)" href="data:text/csv[^,]*,([^"]*)"', html)
    return {name: list(csv.reader(io.StringIO(unquote(text)))) for name, text in found}


def _curves(builder: MakeBuilder, sections: Sequence[Section]) -> str:
    made = builder("curves")
    made.suite("shift", "shift", (), (), sections)
    made.data("digits", ("a", "b"), 10)
    for model, drop in (("m", 0.1), ("n", 0.3)):
        made.model(model, "digits")
        for scenario in ("motion_blur", "fog"):
            cell = made.cell(model, "digits", "shift", scenario)
            values = [1.0, 1 - drop, 1 - 2 * drop]
            frame = pd.DataFrame({"severity": [0, 1, 3], "accuracy": values})
            made.table(cell, "curve", frame)
    return render_html(made.finish())


def test_a_heat_map_has_a_row_a_scenario_and_one_scale_for_all_models(
    builder: MakeBuilder,
) -> None:
    section = Section(title="Heat", kind="heat", table="curve", x="severity", y="accuracy")
    html = _curves(builder, [section])
    grids = re.findall(r'<table class="heat">.*?</table>', html, flags=re.DOTALL)
    assert len(grids) == 2
    assert re.search(r"fog 1\.00 0\.90 0\.80 motion blur 1\.00 0\.90 0\.80", _text(html))
    # 0.4 is the lowest and 1 the highest of both models: 0.8 lies at two thirds.
    assert re.findall(r"--share:([\d.]+)%", grids[0])[:3] == ["100.0", "83.3", "66.7"]
    assert re.findall(r"--share:([\d.]+)%", grids[1])[:3] == ["100.0", "50.0", "0.0"]
    assert "from 0.4 (faint) to 1 (full)" in _text(html)
    (table,) = [rows for name, rows in _files(html).items() if name.endswith("-n.csv")]
    assert table[0] == ["scenario", "part", "severity", "accuracy"]
    assert ["fog", "", "3.0", "0.4"] in table


def test_panels_share_a_legend_and_a_scale(builder: MakeBuilder) -> None:
    section = Section(title="Lines", kind="line", table="curve", x="severity", y="accuracy")
    html = _curves(builder, [section])
    assert html.count('<svg class="plot"') == 2
    assert html.count('<p class="legend">') == 1
    assert "m n fog" in _text(html) and "motion blur" in _text(html)
    plots = re.findall(r'<svg class="plot".*?</svg>', html, flags=re.DOTALL)
    ticks = [re.findall(r'class="tick end"[^>]*>([^<]*)<', plot) for plot in plots]
    assert ticks[0] == ticks[1] != []


@pytest.fixture
def grouped(builder: MakeBuilder) -> str:
    made = builder("groups")
    section = Section(title="Groups", kind="forest", scenario="groups", metrics=("gap", "ratio"))
    made.suite("bias", "bias", (), (GAP, RATIO), [section])
    made.data("people", ("no", "yes"), 100)
    place = {"data": "people", "suite": "bias", "scenario": "groups"}
    for model, shift in (("m", 0.0), ("n", 0.2)):
        made.model(model, "people")
        cell = made.cell(model, "people", "bias", "groups")
        for group, value in (("sex=f", -0.1), ("sex=m", 0.1)):
            gap = value + shift
            made.row(cell, "gap", gap, group=group, lower=gap - 0.1, upper=gap + 0.1, model=model,
                     **place)  # fmt: skip
            made.row(cell, "ratio", 1 + gap, group=group, lower=0.5 + gap, upper=1.5 + gap,
                     model=model, **place)  # fmt: skip
    return render_html(made.finish())


def test_a_forest_plot_marks_where_groups_are_alike(grouped: str) -> None:
    tables = re.findall(r'<table class="numbers forest[^>]*>.*?</table>', grouped, flags=re.DOTALL)
    assert len(tables) == 2
    # Of -0.2 to 0.4 on pixels 4 to 108, 0 lies at a third; of 0.4 to 1.8, 1 at three sevenths.
    assert 'style="--z:38.7"' in tables[0]
    assert 'style="--z:48.6"' in tables[1]
    assert "upright line stands at 0;" in _text(grouped)
    assert "upright line stands at 1;" in _text(grouped)
    assert tables[0].count('href="#metric-bias-gap"') == 4
    assert re.search(r"sex= f \u221210 \[\u221220, 0\]", _text(f"<body>{tables[0]}"))
    (rows,) = [rows for name, rows in _files(grouped).items() if name.endswith("gap.csv")]
    assert ["n", "groups", "", "sex=m", "0.3", "0.2", "0.4", "540"] in rows


def _trade_off(builder: MakeBuilder) -> Run:
    """Returns a run in which the most accurate of three models is the least robust."""
    made = builder("trade")
    right = MetricInfo(
        id="right",
        name="Right",
        direction="higher",
        lower=0.0,
        upper=1.0,
        definition="The share that is right.",
    )
    loss = MetricInfo(
        id="loss",
        name="Loss under attack",
        direction="lower",
        lower=0.0,
        definition="The mean loss.",
    )
    made.suite("accuracy", "accuracy", ("clean/right",), (right,))
    made.suite("attack", "attack", ("clean/loss",), (loss,))
    made.data("digits", ("a", "b"), 10)
    for model, hits, lost in (("sharp", 98, 3.0), ("tough", 80, 1.0), ("poor", 60, 4.0)):
        made.model(model, "digits")
        place = {"model": model, "data": "digits", "scenario": "clean"}
        cell = made.cell(model, "digits", "accuracy", "clean")
        made.share(cell, "right", hits, 100, suite="accuracy", **place)
        cell = made.cell(model, "digits", "attack", "clean")
        made.row(cell, "loss", lost, lower=lost - 0.2, upper=lost + 0.2, suite="attack", **place)
    return made.finish()


def test_the_pareto_plot_knows_who_is_dominated(builder: MakeBuilder) -> None:
    run = _trade_off(builder)
    (board,) = leaderboard([run]).boards
    columns = axis_columns(board)
    assert [column.axis for column in columns] == ["accuracy", "attack"]
    assert pareto_front(board, columns) == {"sharp": True, "tough": True, "poor": False}
    html = render_html(run)
    (label,) = re.findall(r'aria-label="(Scatter plot[^"]*)"', html)
    assert label.startswith("Scatter plot of Loss under attack against Right [%]. ")
    assert "poor at 60.0 and 4.00, dominated" in label
    (rows,) = _files(html).values()
    assert rows[0][0] == "model" and rows[0][-1] == "on front"
    assert {row[0]: row[-1] for row in rows[1:]} == {"sharp": "true", "tough": "true",
                                                    "poor": "false"}  # fmt: skip
    assert "no other model is better all round than: sharp and tough. Dominated: poor." in _text(
        html
    )


def test_one_axis_or_one_model_has_no_pareto_plot(
    two_models: Callable[..., Run], builder: MakeBuilder
) -> None:
    assert "Scatter plot" not in render_html(two_models("one", {"a": 150, "b": 160}))


def test_tables_that_are_the_same_for_all_models_stand_once(builder: MakeBuilder) -> None:
    made = builder("same")
    sections = [Section(title="Counts", kind="table", scenario="clean", table="t")]
    made.suite("accuracy", "accuracy", (), (), sections)
    made.data("digits", ("a", "b"), 10)
    for model, last in (("m", 5), ("n", 5), ("o", 6)):
        made.model(model, "digits")
        cell = made.cell(model, "digits", "accuracy", "clean")
        made.table(cell, "t", pd.DataFrame({"group": ["a", "b"], "samples": [4, last]}))
    text = _text(render_html(made.finish()))
    assert "m, n 2 rows" in text
    assert "o 2 rows" in text
