from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crucibench as cb
from crucibench.comparing.claims import claims_of
from crucibench.comparing.recipes import ONE_TRAINING, recipe_rows
from crucibench.engine.packing import pack_run
from crucibench.report.decision import decisions_of
from crucibench.report.leaderboard.build import leaderboard
from crucibench.stats.two_way import difference_of_recipes, two_way
from crucibench.store.run import Run
from crucibench.util.errors import InputError


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


@pytest.fixture
def two(tmp_path: Path, drawn: Any, logged_run: Any) -> Any:
    """Makes two runs of a recipe, or of two: by the skills of their trainings."""

    def make(old: list[float], new: list[float], **options: Any) -> tuple[Run, Run]:
        return (
            logged_run(tmp_path / "old", *drawn(old, answers=1)),
            logged_run(tmp_path / "new", *drawn(new, answers=2), **options),
        )

    return make


def test_recipes_are_compared_and_not_their_trainings(two: Any) -> None:
    old, new = two([0.9, 1.0, 1.1], [0.2, 0.3, 0.4, 0.1], seeds=[5, 6, 7, 8])
    found = cb.compare(old, new)
    assert {one.address.model for one in found.differences} == {"net@recipe"} and not found.refused
    one = next(one for one in found.differences if one.address.metric == "top-1")
    assert one.spread.trainings == (3, 4) and not one.spread.by_seed
    assert one.interval.upper < 0 and one.p < 0.05
    assert one.delta == pytest.approx(
        row_of(new.recipes()).value - row_of(old.recipes()).value, abs=1e-12
    )
    files = cb.compare(old, new, models={"net": "net"})
    assert {one.address.model for one in files.differences} == {"net"}


def test_runs_that_used_the_same_seeds_are_paired_by_seed(two: Any) -> None:
    found = cb.compare(*two([0.6, 1.0, 1.4], [0.6, 1.0, 1.4]))
    assert {one.spread.by_seed for one in found.differences} == {True}
    assert "paired by seed" in found.differences[0].method


def test_seeds_that_both_sides_used_are_paired_and_the_others_are_not(two: Any) -> None:
    skills = [0.6, 1.0, 1.4, 0.9]
    old, new = two(skills, [1.4, 0.6, 1.0, 1.2], seeds=[2, 0, 1, 9])
    one = next(one for one in cb.compare(old, new).differences if one.address.metric == "top-1")
    assert "3 paired by seed" in one.method and not one.spread.by_seed
    names = (["net", "net-1", "net-2", "net-3"], ["net-1", "net-2", "net", "net-3"])
    tables = []
    for run, in_order in zip((old, new), names, strict=True):  # of seeds 0, 1, 2, and another
        cells = {cell.model: cell.cell for cell in run.cells.values() if cell.scenario == "test"}
        said = [run.records(cells[name])["prediction"].to_numpy() for name in in_order]
        tables.append(np.stack(said) == run.samples("d", "test").targets)
    delta, sources = difference_of_recipes(*tables, shared=3)
    assert (one.delta, one.standard_error) == pytest.approx((delta, sources.standard_error))


def test_packs_compare_recipes_as_runs_do(two: Any, tmp_path: Path) -> None:
    old, new = two([0.9, 1.0], [0.5, 0.3])
    expected = cb.compare(old, new).differences
    pack_run(old, tmp_path / "old.cbz")
    found = cb.compare(tmp_path / "old.cbz", new).differences
    assert [one.delta for one in found] == pytest.approx([one.delta for one in expected])
    assert [one.p for one in found] == pytest.approx([one.p for one in expected])


def test_a_recipe_and_a_model_are_not_compared(two: Any) -> None:
    with pytest.raises(InputError, match="a recipe and a model are not compared"):
        cb.compare(*two([0.9, 1.0], [0.5, 0.3]), models={"net@recipe": "net"})


def test_a_leaderboard_has_a_row_for_the_recipe(
    tmp_path: Path, drawn: Any, logged_run: Any
) -> None:
    run = logged_run(tmp_path, *drawn([0.6, 1.2, 0.9]))
    spread = next(
        one for one in leaderboard([run]).boards[0].spreads if "top-1" in one.column.place
    )
    row = row_of(run.recipes())
    assert (spread.group, spread.seeds, spread.mean) == ("net", 3, pytest.approx(row.value))
    assert spread.interval == pytest.approx((row.lower, row.upper))


@pytest.mark.parametrize(
    ("skills", "ship"),
    [
        pytest.param([0.4, 0.5, 0.45], "net@recipe", marks=pytest.mark.thorough),
        ([0.4, 1.3, 0.8], None),
    ],
)
def test_a_decision_is_between_recipes_and_not_their_trainings(
    tmp_path: Path, drawn: Any, logged_run: Any, skills: list[float], ship: str | None
) -> None:
    targets, scores = drawn([1.0, 1.1, 1.05, *skills], 1500)
    both = logged_run(tmp_path, targets, scores)
    document = {key: value for key, value in both.spec.items() if key != "resolved"}
    for k, model in enumerate(document["models"]):
        model |= {"replicate_of": None, "group": "net" if k < 3 else "old", "seed": k}
    run = cb.run(document, out=tmp_path)
    (found,) = decisions_of(run)
    assert found.ship == ship
    pairs = {(one.first, one.second) for one in claims_of(run).tested}
    assert pairs == {("net@recipe", "old@recipe")}
    if ship is None:
        # One training of `old` is better than any of `net`, which shows nothing of recipes.
        assert found.text.startswith("Can't tell ") and "old@recipe" in found.text
    (alone,) = decisions_of(both)
    assert alone.ship == "net@recipe" and "baseline" in alone.text
