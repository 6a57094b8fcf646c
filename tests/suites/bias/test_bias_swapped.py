"""Rows with another group: a model that uses the column is caught, its sibling is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crucibench as cb
from crucibench_suites.bias.swapped import exchanged

MODELS = """
import numpy as np

def _two(p):
    return np.stack([1 - p, p], axis=1)

def by_sex(frame):
    return _two(np.where(frame["sex"].astype(str) == "f", 0.2, 0.9))

def by_income(frame):
    return _two(np.clip(frame["income"].to_numpy() / 100, 0, 1))

def partly(frame):
    low = (frame["sex"].astype(str) == "f") & (frame["income"].to_numpy() < 50)
    return _two(np.where(low, 0.1, 0.8))
"""

N = 240


def people(folder: Path, **columns: Any) -> str:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "sex": rng.choice(["f", "m"], N),
            "income": rng.uniform(0, 100, N).round(3),
            "y": rng.choice(["no", "yes"], N),
        }
        | columns
    )
    frame.to_csv(folder / "people.csv", index=False)
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    return f"csv:{folder / 'people.csv'}?target=y&groups=sex"


def rows_of(folder: Path, data: str, *names: str, **options: Any) -> pd.DataFrame:
    models = {name: f"python:{folder / 'models.py'}:{name}" for name in names}
    run = cb.run(
        models=models, data=data, suites=["bias"], out=folder / "out", workers=0, **options
    )
    rows = run.metrics()
    return rows[rows["scenario"] == "swapped"].set_index(["model", "metric", "group"])


def test_a_model_of_the_column_is_caught_and_its_sibling_is_not(tmp_path: Path) -> None:
    data = people(tmp_path)
    rows = rows_of(tmp_path, data, "by_sex", "by_income", "partly")
    flips = rows.xs("swapped-flip-rate", level="metric")
    assert flips.loc[("by_sex", ""), "value"] == 1.0
    assert flips.loc[("by_sex", ""), "n"] == N
    assert flips.loc[("by_income", ""), "value"] == 0.0
    assert flips.loc[("by_income", ""), "upper"] < 0.02
    frame = pd.read_csv(tmp_path / "people.csv")
    low = frame["income"] < 50
    assert flips.loc[("partly", ""), "value"] == pytest.approx(low.mean())
    women = frame["sex"] == "f"
    assert flips.loc[("partly", "sex=f"), "value"] == pytest.approx(low[women].mean())
    assert flips.loc[("partly", "sex=f"), "n"] == women.sum()
    change = rows.xs("swapped-score-change", level="metric")
    assert change.loc[("by_sex", ""), "value"] == pytest.approx(0.7)
    assert change.loc[("partly", ""), "value"] == pytest.approx(0.7 * low.mean())
    assert (rows["point"] == "column=sex").all()


def test_unknown_groups_are_left_as_they_are(tmp_path: Path) -> None:
    sex = np.array(["f", "m"] * (N // 2), dtype=object)
    sex[:40] = None
    data = people(tmp_path, sex=sex)
    rows = rows_of(tmp_path, data, "by_sex")
    assert rows.loc[("by_sex", "swapped-flip-rate", ""), "n"] == N - 40
    assert rows.loc[("by_sex", "swapped-flip-rate", ""), "value"] == 1.0


def test_one_of_several_other_groups_is_drawn(tmp_path: Path) -> None:
    """From m every other group is f or x; by_sex tells f from the rest."""
    data = people(tmp_path, sex=["f", "m", "x"] * (N // 3))
    flips = rows_of(tmp_path, data, "by_sex").xs("swapped-flip-rate", level="metric")
    assert flips.loc[("by_sex", "sex=f"), "value"] == 1.0
    for group in ("sex=m", "sex=x"):
        assert 0.3 < flips.loc[("by_sex", group), "value"] < 0.7


def test_a_column_of_one_group_is_found(tmp_path: Path) -> None:
    data = people(tmp_path, sex=["f"] * N)
    models = {"m": f"python:{tmp_path / 'models.py'}:by_income"}
    run = cb.run(models=models, data=data, suites=["bias"], out=tmp_path / "out", workers=0)
    rows = run.metrics()
    row = rows[rows["metric"] == "swapped-flip-rate"].iloc[0]
    assert np.isnan(row["value"]) and row["reason"] == "no sample's sex could be changed"
    assert row["verdict"] == "suspect"


def test_it_can_be_left_out(tmp_path: Path) -> None:
    data = people(tmp_path)
    for settings in ({"bias.swap": False}, {"bias.edges": {"sex": [1.0]}}):
        rows = rows_of(tmp_path, data, "by_income", settings=settings)
        assert len(rows) == 0


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pd.Series([1, 2, 1]), ["1", "2", "1"]),
        (pd.Series([1, None, 2], dtype="Int64"), ["1", "(missing)", "2"]),
        (pd.Series([0.5, 2.0, np.nan]), ["0.5", "2", "(missing)"]),
        (pd.Series([True, False, True]), ["True", "False", "True"]),
        (pd.Series(["f", "m", "f"]), ["f", "m", "f"]),
        (pd.Series(["f", "m", "f"], dtype=object), ["f", "m", "f"]),
        (pd.Series(["f", "m", "f"], dtype="category"), ["f", "m", "f"]),
        (pd.Series([1, 2, 1], dtype="category"), ["1", "2", "1"]),
    ],
)
def test_groups_are_read_back_as_the_column_s_type(values: Any, texts: list[str]) -> None:
    own = np.array(texts, dtype=object)
    known = own != "(missing)"
    other = np.where(known, own[::-1], own[known][0])
    other = np.where(other == "(missing)", own[known][0], other)
    found, restored = exchanged(values, own, other)
    assert found.dtype == values.dtype
    assert restored.tolist() == known.tolist()
    back, _ = exchanged(values, own, own)
    assert back[restored].tolist() == values[restored].tolist()


def test_values_that_their_names_don_t_tell_are_left() -> None:
    """A number that a text rounds, or a name that is no number of the column."""
    found, restored = exchanged(
        pd.Series([0.1 + 1e-12, 0.5]), np.array(["0.1", "0.5"], dtype=object),
        np.array(["0.5", "0.1"], dtype=object),
    )  # fmt: skip
    assert restored.tolist() == [False, True] and found.tolist() == [0.5, 0.1]
    _, restored = exchanged(
        pd.Series([1.0]), np.array(["1"], dtype=object), np.array(["x"], dtype=object)
    )
    assert not restored.any()
