"""What a notebook shows: cells are executed as a kernel executes them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import crucibench as cb
from crucibench.util.errors import InputError

CELLS = (
    "import crucibench as cb\nrun = cb.load(folder)\nrun",
    "run.scorecard()",
    "cb.compare(run, run, models={'forest': 'tree'})",
    "rule = {'address': '*:accuracy/clean/top-1', 'margin': 0.05}\n"
    "cb.gate(run, run, {'schema_version': 1, 'required': [rule]})",
    "run.plot()",
)


def execute(cell: str, names: dict[str, Any]) -> Any:
    """Runs a cell; returns the value of its last expression, as a kernel shows it."""
    *statements, last = ast.parse(cell).body
    exec(compile(ast.Module(statements, []), "cell", "exec"), names)
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    sklearn = pytest.importorskip("sklearn.ensemble")
    from sklearn.datasets import load_wine
    from sklearn.tree import DecisionTreeClassifier

    features, target = load_wine(return_X_y=True, as_frame=True)
    models = {
        "tree": DecisionTreeClassifier(max_depth=1, random_state=0),
        "forest": sklearn.RandomForestClassifier(n_estimators=20, random_state=0),
    }
    for model in models.values():
        model.fit(features[::2], target[::2])
    folder = tmp_path_factory.mktemp("notebook")
    run = cb.run(
        models=models, data=(features[1::2], target[1::2]), suites=["accuracy"], out=folder
    )
    names: dict[str, Any] = {"folder": Path(run.root)}
    return [execute(cell, names) for cell in CELLS]


def test_a_run_shows_its_decision_its_numbers_and_its_baselines(shown: list[Any]) -> None:
    html = shown[0]._repr_html_()
    assert "forest" in html and "majority class" in html and "<table>" in html
    frame = shown[1]
    accuracy = frame[(frame["metric"] == "Accuracy") & (frame["model"] == "forest")].iloc[0]
    assert accuracy["lower"] <= accuracy["value"] <= accuracy["upper"] <= 1
    assert set(frame["model"]) == {"tree", "forest"}


RUN = """
import crucibench as cb
from sklearn.datasets import load_wine
from sklearn.naive_bayes import GaussianNB
x, y = load_wine(return_X_y=True, as_frame=True)
model = GaussianNB().fit(x[::2], y[::2])
cb.run(models={"bayes": model}, data=(x[1::2], y[1::2]), suites=["accuracy"], out=folder)
"""


def test_a_run_in_a_kernel_shows_a_bar_that_ends_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(RUN, {"folder": tmp_path / "shell"})
    assert "cell" not in capsys.readouterr().err
    kernel = ModuleType("IPython")
    kernel.get_ipython = lambda: SimpleNamespace(kernel=True)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    run = execute(RUN, {"folder": tmp_path / "kernel"})
    last = capsys.readouterr().err.rstrip().rpartition("\r")[2]
    done = len(run.cells)
    assert f"{done}/{done}" in last and "bayes on " in last


@pytest.mark.sockets
def test_a_kernel_draws_the_bar_as_a_widget(tmp_path: Path) -> None:
    nbclient, nbformat = (pytest.importorskip(name) for name in ("nbclient", "nbformat"))
    pytest.importorskip("ipywidgets")
    source = f"folder = {str(tmp_path / 'out')!r}\n{RUN}"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = [output.get("data", {}) for output in notebook.cells[0].outputs]
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown)
    assert any("bayes" in data.get("text/html", "") for data in shown)
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    (bar,) = [one["state"] for one in states.values() if "bar_style" in one["state"]]
    assert bar["value"] == bar["max"] > 1


def test_comparisons_and_gates_show_differences_and_outcomes(shown: list[Any]) -> None:
    compared, judged = (each._repr_html_() for each in shown[2:4])
    assert "top-1" in compared and "<td>" in compared
    assert judged.startswith("<pre>") and str(shown[3].outcome) in judged


def test_a_plot_has_a_model_a_line_and_unknown_metrics_are_refused(shown: list[Any]) -> None:
    (axes,) = shown[4].axes
    assert {text.get_text() for text in axes.get_yticklabels()} == {"tree", "forest"}
    with pytest.raises(InputError, match="unknown metric 'Acuracy'"):
        shown[0].plot("Acuracy")
