from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crucibench.comparing.recipes import ONE_TRAINING, recipe_rows
from crucibench.stats.two_way import two_way


def row_of(frame: pd.DataFrame, metric: str = "top-1") -> pd.Series:
    return frame[(frame.metric == metric) & (frame.group == "")].iloc[0]


def test_a_recipe_s_row_is_the_two_way_mean_of_its_trainings(
    tmp_path: Path, drawn: Any, logged_run: Any
) -> None:
    targets, scores = drawn([0.6, 1.2, 0.9, 1.4])
    run = logged_run(tmp_path, targets, scores)
    row = row_of(run.recipes())
    right = ((scores > 0.5) == targets).astype(float)
    expected = two_way(right)
    assert (row.model, row.estimand, row.trainings) == ("net@recipe", "recipe/population", 4)
    assert row.value == pytest.approx(right.mean())
    assert (row.lower, row.upper) == pytest.approx(
        expected.sources.interval(expected.estimate, 0.95)[:2]
    )
    assert row.sd_training == pytest.approx(np.sqrt(expected.components().training))
    assert row.sd_training_lower < row.sd_training < row.sd_training_upper
    # The interval of the recipe covers what differs between trainings, that of a model does not.
    own = run.metrics()
    own = own[(own.metric == "top-1") & (own.model == "net")].iloc[0]
    assert row.upper - row.lower > own.upper - own.lower
    assert (run.recipes().estimand != "").all()


def test_a_number_that_is_no_mean_has_an_interval_too(
    tmp_path: Path, drawn: Any, logged_run: Any
) -> None:
    run = logged_run(tmp_path, *drawn([0.6, 1.2, 0.9]))
    for metric in ("auroc", "f1-macro", "ece-15-equal-width-top-label"):
        row = row_of(run.recipes(), metric)
        assert row.lower < row.value < row.upper and row.method.startswith("two-way-t")


def test_one_training_gives_no_number_of_its_recipe(
    tmp_path: Path, drawn: Any, logged_run: Any
) -> None:
    row = row_of(logged_run(tmp_path, *drawn([1.0])).recipes())
    assert pd.isna(row.value) and row.reason == ONE_TRAINING


def test_rows_are_stored_and_made_anew_where_the_file_is_damaged(
    tmp_path: Path, drawn: Any, logged_run: Any
) -> None:
    run = logged_run(tmp_path, *drawn([0.6, 1.2]))
    made = recipe_rows(run)
    assert run.layout.recipes.is_file() and recipe_rows(run) == made
    run.layout.recipes.write_text("{}")
    assert recipe_rows(run) == made
