"""Saved examples of black boxes, tables and texts: kept, borne out by the model, told if not."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import crucibench as cb
from crucibench.engine.ask_again import RecheckReport, ask_again
from crucibench.engine.listener import Listener
from crucibench.integrity.verify import verify
from crucibench.store.manifest import write_manifest
from crucibench.store.run import Run
from crucibench.store.tables import read_table, write_table

MODELS = """
import os

import numpy as np
from sklearn.datasets import load_digits

X, Y = load_digits(return_X_y=True)
MEANS = np.stack([X[Y == k].mean(0) / 16 for k in range(10)])
WEIGHTS = {"splendid": 2.0, "lovely": 1.5, "pleasant": 1.0}


def other():
    return bool(os.environ.get("FORMS_OTHER"))  # another model behind the same name


def scores_of_digits(x):
    flat = np.asarray(x).reshape(len(x), -1)
    flat = flat.round() if other() else flat
    return -((flat[:, None] - MEANS) ** 2).sum(2)


def digits(x):
    return scores_of_digits(x).argmax(1)


def rows(frame):
    lead = frame["a"] + frame["b"] / 4 + (frame["c"] == "y") - 2
    lead = lead.to_numpy() * (0.0 if other() else 1.0) + other()
    return np.stack([-lead, lead], axis=1)


def reviews(samples):
    lead = np.array([sum(WEIGHTS.get(word, 0.0) for word in text.split()) for text in samples])
    lead = lead - 0.25 + 9 * other()
    return np.stack([-lead, lead], axis=1)
"""

FORMS: dict[str, dict[str, Any]] = {
    "digits": {
        "model": "digits?output=labels", "data": "sklearn:digits", "cell": "hopskipjump-l2",
        "settings": {"norm": "l2", "eps": [0.5, 2.5], "queries": 100},
    },
    "scores": {
        "model": "scores_of_digits", "data": "sklearn:digits", "cell": "square-linf",
        "settings": {"eps": [0.1, 0.4], "queries": 60, "blackbox": "square"},
    },
    "rows": {
        "model": "rows", "data": "csv:{}/rows.csv?target=label&classes=low,high",
        "cell": "table-greedy-linf",
        "settings": {
            "eps": [0.5, 1.5], "queries": 80,
            "constraints": {"categories": {"c": ["x", "y"]}, "bounds": {"a": [0, 4]}},
        },
    },
    "reviews": {
        "model": "reviews", "data": "csv:{}/texts.csv?target=label&input=text&classes=bad,good",
        "cell": "character-edits", "settings": {"texts": "characters", "words": [0.2, 0.5]},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    rng = np.random.default_rng(0)
    a, b, c = rng.uniform(0, 2, 12).round(3), rng.integers(0, 9, 12), rng.choice(["x", "y"], 12)
    high = a + b / 4 + (c == "y") > 2
    rows = zip(a, b, c, high, strict=True)
    lines = [f"{x},{y},{z},{['low', 'high'][int(one)]}" for x, y, z, one in rows]
    (folder / "rows.csv").write_text("a,b,c,label\n" + "\n".join(lines), encoding="utf-8")
    texts = [
        "one splendid old \u201cfilm\u201d,good", "such a lovely and pleasant talk,good",
        "nothing but a plain room,bad", "a pleasant book on the table,good",
    ]  # fmt: skip
    (folder / "texts.csv").write_text("text,label\n" + "\n".join(texts), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> Callable[[str], Run]:
    made: dict[str, Run] = {}

    def get(form: str) -> Run:
        if form not in made:
            asked = FORMS[form]
            settings = asked["settings"] | {"save_adversarials": True}
            made[form] = cb.run(
                models={"m": f"python:{folder / 'models.py'}:{asked['model']}"},
                data=asked["data"].format(folder), suites=["adversarial"], out=folder / form,
                settings={f"adversarial.{key}": value for key, value in settings.items()},
                defaults={"limit": 8, "replicates": 100, "batch_size": 5}, workers=0, cache=False,
            )  # fmt: skip
        return made[form]

    return get


def asked_again(run: Run, folder: Path) -> RecheckReport:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ask_again(run, folder / "scratch", listener=Listener())


def cell_of(run: Run, form: str) -> str:
    (cell,) = [name for name, file in run.cells.items() if file.scenario == FORMS[form]["cell"]]
    return cell


def broken(run: Run, form: str) -> set[str]:
    frame = run.cell_records(cell_of(run, form)).frame()
    return set(frame["id"][frame["level"] < 2])


def kept(run: Run, form: str) -> list[dict[str, Any]]:
    paths = run.layout.artifacts(cell_of(run, form), "adversarials")
    return [row for path in paths for row in read_table(path).to_pylist()]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_broken_is_kept_and_the_model_bears_it_out(
    runs: Callable[[str], Run], folder: Path, form: str
) -> None:
    run = runs(form)
    assert verify(run) == []
    found = kept(run, form)
    assert len(found) >= 2
    assert {row["id"] for row in found} == broken(run, form)
    asked = asked_again(run, folder)
    assert asked.differences == []
    assert asked.kept >= len(found)


def test_a_saved_row_holds_what_was_changed(runs: Callable[[str], Run]) -> None:
    for row in kept(runs("rows"), "rows"):
        values, units = json.loads(row["changed"]), json.loads(row["spreads"])
        assert values and set(values) <= {"a", "b", "c"}
        assert set(units) == set(values) - {"c"} and all(unit > 0 for unit in units.values())
        assert 0 <= values.get("a", 0) <= 4 and float(values.get("b", 0)).is_integer()


def test_a_saved_text_holds_the_words_that_were_replaced(runs: Callable[[str], Run]) -> None:
    for row in kept(runs("reviews"), "reviews"):
        (text,), replaced = json.loads(row["text"]), json.loads(row["replaced"])
        assert replaced and all(word in text for word in replaced.values())
        assert not {"splendid", "lovely", "pleasant"} & set(text.split())


def _replaced(column: str, value: str) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(column)
        return table.set_column(at, column, pa.array([value] * table.num_rows))

    return change


@pytest.mark.parametrize(
    ("form", "column", "value", "told"),
    [
        ("rows", "changed", '{"a": 9.5}', "break what is declared"),
        ("rows", "changed", '{"a": 1.0}', "are not at the distances in the records"),
        ("rows", "point", "eps=9", "are filed under another radius than theirs"),
        ("reviews", "text", '["another"]', "are not their samples with other words"),
        ("reviews", "replaced", '{"99": "x"}', "change words that are to be left alone"),
    ],
)
def test_tampered_examples_are_told(
    runs: Callable[[str], Run], folder: Path, tmp_path: Path, form: str, column: str, value: str,
    told: str,
) -> None:  # fmt: skip
    whole = runs(form)
    copy = Run(shutil.copytree(whole.root, whole.root.parent / tmp_path.name))
    for path in copy.layout.artifacts(cell_of(copy, form), "adversarials"):
        table = read_table(path)
        if column == "changed":
            table = _replaced("spreads", '{"a": 1.0}')(table)
        write_table(path, _replaced(column, value)(table))
    write_manifest(copy.layout, "0")
    found = asked_again(Run(copy.root), folder).differences
    assert any(told in sentence for sentence in found), found


@pytest.mark.parametrize("form", ["digits", "rows", "reviews"])
def test_another_model_does_not_bear_them_out(
    runs: Callable[[str], Run], folder: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs(form)
    monkeypatch.setenv("FORMS_OTHER", "1")
    assert any("saved examples are" in one for one in asked_again(run, folder).differences)
