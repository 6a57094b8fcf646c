"""Perturbed tables: deterministic by sample, nested, within severity, types and bounds kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crucibench.contracts.columns import INPUT, KnownColumns, facts_of
from crucibench.contracts.corruption import Changed, CorruptionContext
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.verdict import Finding, Severity
from crucibench.passes.inputs import input_columns, others
from crucibench.util.draws import Draws
from crucibench.util.gaps import blank
from crucibench_suites.shift import audits
from crucibench_suites.shift.corruptions import table_values
from crucibench_suites.shift.corruptions.table_values import (
    Promise,
    multiplied,
    noisy,
    spoilt_rows,
)
from crucibench_suites.shift.corruptions.tables import TABLES

GAPS = tuple(name for name, one in TABLES.items() if one.requires)
ALL = (1, 2, 3, 4, 5)


class Table(NamedTuple):
    """Rows, and what is known beside them but for the draws."""

    frame: pd.DataFrame
    ids: tuple[str, ...]
    columns: KnownColumns
    load: Any


def table_of(
    frame: pd.DataFrame, rows: Sequence[int] | None = None, protect: Sequence[str] = ()
) -> Table:
    """Returns some rows of a frame, as the scenario hands them over."""
    at = list(range(len(frame)) if rows is None else rows)
    seen = {name.removeprefix(INPUT): values for name, values in input_columns(frame).items()}
    found = {
        name: others(codes)[at]
        for name, codes in seen.items()
        if codes.dtype.kind == "i" and others(codes).shape[1]
    }
    part = frame.iloc[at].reset_index(drop=True)
    columns = KnownColumns(
        tuple(sorted(seen)), facts_of([seen[name] for name in sorted(seen)]), protect, found
    )
    return Table(
        part, tuple(f"id{row}" for row in at), columns,
        lambda wanted: frame.iloc[list(wanted)].reset_index(drop=True),
    )  # fmt: skip


def made(name: str, table: Table, seed: int = 0) -> dict[int, Changed]:
    context = CorruptionContext(table.ids, Draws(seed, f"shift/{name}"), table.columns, table.load)
    return dict(zip(ALL, TABLES[name].apply(table.frame, ALL, context), strict=True))


def levels_of(name: str) -> list[tuple[int, float]]:
    return [(severity, TABLES[name].level(severity)[0]) for severity in ALL]


def example(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "income": rng.lognormal(3, 1, n),
            "age": rng.integers(18, 90, n),
            "score": pd.array(rng.integers(0, 5, n), dtype="Int16"),
            "flag": rng.integers(0, 2, n),
            "member": rng.random(n) < 0.5,
            "city": pd.Series(rng.choice(["Ulm", "Bonn", "Kiel"], n), dtype=object),
            "size": pd.Categorical(rng.choice(["s", "m", "l"], n), ["s", "m", "l", "xl"]),
            "constant": np.ones(n),
        }
    )


numbers = st.floats(width=64, allow_nan=True, allow_infinity=False)
columns = st.sampled_from(
    [
        ("float64", numbers),
        ("float32", st.floats(width=32, allow_nan=True, allow_infinity=False)),
        ("int64", st.integers(-(2**63), 2**63 - 1)),
        ("uint8", st.integers(0, 255)),
        ("Int8", st.integers(-128, 127) | st.none()),
        ("bool", st.booleans()),
        ("boolean", st.booleans() | st.none()),
        ("object", st.text(max_size=3) | st.none()),
        ("category", st.sampled_from(["a", "b", "c"]) | st.none()),
        ("datetime64[ns]", st.datetimes(pd.Timestamp(1990, 1, 1), pd.Timestamp(2090, 1, 1))),
    ]
)


@st.composite
def frames(draw: Any) -> pd.DataFrame:
    rows = draw(st.integers(1, 5))
    chosen = draw(st.lists(columns, min_size=1, max_size=3))
    return pd.DataFrame(
        {
            f"c{place}": pd.Series(
                draw(st.lists(values, min_size=rows, max_size=rows)), dtype=dtype
            )
            for place, (dtype, values) in enumerate(chosen)
        }
    )


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=5, deadline=None)
@given(frame=frames())
def test_any_table_alone_and_in_a_batch(name: str, frame: pd.DataFrame) -> None:
    # A column of whole numbers becomes one of floats where it gets gaps; those that no float holds
    # are said to be spoilt, rightly.
    assume(name not in GAPS or not _beyond_floats(frame))
    whole = frame.copy()
    together = made(name, table_of(frame))
    pd.testing.assert_frame_equal(frame, whole)
    before = np.zeros(len(frame))
    for severity in ALL:
        variant = together[severity]
        assert not variant.columns["spoilt"].any()
        edits = variant.columns["edits"]
        if name != "feature_noise":
            assert (before <= edits).all()
        before = edits
        assert (edits <= variant.columns["units"]).all()
        assert ((edits > 0) == variant.columns["touched"]).all()
        if name in GAPS:
            continue
        for column in frame.columns:
            kind = frame[column].dtype
            if name != "unseen_category" or not isinstance(kind, pd.CategoricalDtype):
                assert variant.inputs[column].dtype == kind
    for row in range(len(frame)):
        alone = made(name, table_of(frame, [row]))
        for severity in (1, 5):
            expected = together[severity].inputs.iloc[[row]].reset_index(drop=True)
            pd.testing.assert_frame_equal(alone[severity].inputs, expected)


def _beyond_floats(frame: pd.DataFrame) -> bool:
    return any(
        int(value) != int(float(value))
        for name in frame.columns
        if pd.api.types.is_integer_dtype(frame[name].dtype)
        for value in frame[name].dropna()
    )


def test_whole_numbers_that_no_float_holds_are_said_to_be_spoilt() -> None:
    frame = pd.DataFrame({"c0": [2**53 + 1]})
    assert made("missing_values", table_of(frame))[1].columns["spoilt"].all()


def test_noise_is_of_the_spread_and_keeps_types_and_range() -> None:
    table = table_of(example(4000))
    variants = made("feature_noise", table)
    for severity, level in levels_of("feature_noise"):
        moved = (variants[severity].inputs["income"] - table.frame["income"]).to_numpy()
        free = np.abs(moved) > 0
        inside = (table.frame["income"] > 60) & (table.frame["income"] < 120)
        spread = float(table.frame["income"].std(ddof=0))
        if severity == 1:
            # Far from both ends of the range: a normal of that deviation, 200 draws and more.
            found = moved[inside & free] / (level * spread)
            assert len(found) > 150
            assert 0.85 < float(found.std()) < 1.15
        age = variants[severity].inputs["age"]
        assert age.dtype == table.frame["age"].dtype
        assert age.min() >= table.frame["age"].min() and age.max() <= table.frame["age"].max()
        for name in ("flag", "member", "city", "size", "constant"):
            pd.testing.assert_series_equal(variants[severity].inputs[name], table.frame[name])
    # Severities share draws: twice the level is twice the noise, where no bound is met.
    low, high = (
        (variants[severity].inputs["income"] - table.frame["income"]).to_numpy()
        for severity in (1, 2)
    )
    met = (
        variants[2]
        .inputs["income"]
        .isin([table.frame["income"].min(), table.frame["income"].max()])
    )
    assert np.allclose(high[~met], 2 * low[~met])


def test_shares_are_those_of_the_severity() -> None:
    table = table_of(example(3000))
    for name in ("unit_times_10", "unit_times_1000", "category_swap", "missing_values",
                 "unseen_category"):  # fmt: skip
        variants = made(name, table)
        for severity, level in levels_of(name):
            columns = variants[severity].columns
            # 6,000 values or more, a fifth of a third of which may be 0 and stay so.
            error = 5 * np.sqrt(level / 6000)
            found = float(columns["distance"].mean())
            assert 0.9 * level - error < found < level + error, (name, severity)


@pytest.mark.parametrize("name", TABLES)
def test_no_perturbation_does_nothing(name: str) -> None:
    """Against what is known of every one: how much of a table a severity is meant to touch."""
    frame = example(2000)
    found = made(name, table_of(frame))[5]
    other = pd.DataFrame({one: found.inputs[one].astype(object) for one in frame})
    same = (other == frame.astype(object)).to_numpy()
    changed = (~same).mean(axis=0)
    level = TABLES[name].level(5)[0]
    # The columns that it could be done to, or of which it takes some; values of 0 stay under units.
    touched = changed[changed > 0]
    assert len(touched) and (name == "dropped_columns" or touched.max() > 0.8 * level)
    assert changed.mean() == pytest.approx(float(found.columns["edits"].mean()) / 8, abs=1e-6)


def test_unit_errors_are_exact_factors() -> None:
    table = table_of(example())
    for name, factor in (("unit_times_10", 10), ("unit_times_1000", 1000)):
        frame = made(name, table)[5].inputs
        ratio = (frame["age"] / table.frame["age"]).unique()
        assert set(ratio) == {1, factor}
        assert frame["score"].dtype == "Int16"
    assert multiplied(pd.Series([3, 100], dtype="int8"), np.array([True, True]), 10).tolist() == [
        30, 100
    ]  # fmt: skip


def test_swapped_categories_are_others_that_occur() -> None:
    table = table_of(example())
    frame = made("category_swap", table)[5].inputs
    for name in ("city", "size", "member"):
        swapped = (frame[name] != table.frame[name]).to_numpy()
        assert 0.35 < swapped.mean() < 0.65
        assert set(frame[name]) <= set(table.frame[name])
    assert (frame["size"].cat.categories == table.frame["size"].cat.categories).all()
    for name in ("age", "income", "flag"):
        pd.testing.assert_series_equal(frame[name], table.frame[name])


def test_unseen_categories_are_new() -> None:
    table = table_of(example())
    frame = made("unseen_category", table)[5].inputs
    for name in ("city", "size"):
        assert len(set(frame[name]) - set(table.frame[name])) == 1
    numbers = pd.DataFrame({"code": pd.Categorical([1, 2, 3] * 50)})
    found = made("unseen_category", table_of(numbers))[5].inputs["code"]
    assert set(found) == {1, 2, 3, 4}


def test_gaps_come_as_they_come_from_a_file(tmp_path: Any) -> None:
    frame = example(60)
    found = made("missing_values", table_of(frame))[5].inputs
    kinds = {name: str(kind) for name, kind in found.dtypes.items()}
    assert kinds == {
        "income": "float64", "age": "float64", "score": "Int16", "flag": "float64",
        "member": "object", "city": "object", "size": "category", "constant": "float64",
    }  # fmt: skip
    gaps = frame[["age", "member"]].astype(object)
    gaps.iloc[0] = np.nan
    gaps.to_csv(tmp_path / "gaps.csv", index=False)
    read = pd.read_csv(tmp_path / "gaps.csv")
    assert all(found[name].dtype == read[name].dtype for name in read)
    assert found.isna().any(axis=1).mean() > 0.9
    known = found.notna()
    assert (found.where(known) == frame.where(known)).to_numpy()[known.to_numpy()].all()
    assert blank(frame["age"], np.zeros(60, dtype=bool)).dtype == np.float64


def test_dropped_columns_are_the_same_for_all_and_nested() -> None:
    table = table_of(example())
    before: set[str] = set()
    for severity, variant in made("dropped_columns", table).items():
        gone = {name for name in variant.inputs if variant.inputs[name].isna().all()}
        assert not (variant.inputs.drop(columns=list(gone)).isna().to_numpy().any())
        assert before <= gone
        assert len(gone) == int(np.ceil(TABLES["dropped_columns"].level(severity)[0] * 8))
        before = gone
    assert {
        frozenset(name for name in found[5].inputs if found[5].inputs[name].isna().all())
        for found in (made("dropped_columns", table, seed) for seed in range(6))
    } != {frozenset(before)}


@pytest.mark.parametrize("name", TABLES)
def test_protected_columns_are_left_alone(name: str) -> None:
    frame = example()
    kept = ["age", "city", "member"]
    variant = made(name, table_of(frame, protect=kept))[5]
    pd.testing.assert_frame_equal(variant.inputs[kept], frame[kept])
    assert variant.columns["touched"].any()


@pytest.mark.parametrize(
    ("promise", "column", "value"),
    [
        (Promise(in_range=True), "age", 1000),
        (Promise(in_range=True), "flag", 7),
        (Promise(), "constant", np.inf),
        (Promise(), "constant", 1.5),
        (Promise(), "flag", 2),
        (Promise(gaps=True), "city", "Rom"),
    ],
)
def test_a_broken_value_is_found(promise: Promise, column: str, value: Any) -> None:
    frame = example(50)
    table = table_of(frame)
    broken = frame.copy()
    broken.loc[3, column] = value
    found = spoilt_rows(frame, broken, table.columns, promise)
    assert found.tolist() == [row == 3 for row in range(50)]
    assert not spoilt_rows(frame, frame.copy(), table.columns, promise).any()


def test_a_broken_type_and_a_touched_protected_column_are_found() -> None:
    frame = example(50)
    known = table_of(frame).columns
    wider = frame.assign(age=frame["age"].astype(float))
    assert spoilt_rows(frame, wider, known, Promise()).all()
    assert not spoilt_rows(frame, wider, known, Promise(gaps=True)).any()
    other = frame.assign(city=pd.Series(["Ulm"] * 50, dtype=object))
    assert (
        spoilt_rows(frame, other, replace(known, protect=["city"]), Promise()).sum()
        == (frame["city"] != "Ulm").sum()
    )
    filled = frame.assign(income=frame["income"].mask(frame.index == 2))
    assert spoilt_rows(filled, frame, known, Promise())[2]


def test_what_lies_outside_the_range_seen_stays_on_its_side() -> None:
    column = pd.Series([-5.0, 0.5, 99.0])
    found = noisy(column, np.array([-1.0, 9.0, -3.0]), 0.0, 1.0, whole=False)
    assert found.tolist() == [-5.0, 1.0, 96.0]
    whole = noisy(pd.Series([1, 2]), np.array([0.9, -1.9]), 0.0, 9.0, whole=True)
    assert whole.tolist() == [1, 1]


def wide(columns: int, n: int = 300) -> pd.DataFrame:
    """Returns a frame of so many columns: numbers with many and with few values, names, gaps."""
    rng = np.random.default_rng(columns)
    kinds = [
        lambda: rng.normal(0, 1, n),
        lambda: rng.integers(0, 4, n),
        lambda: rng.choice(["Ulm", "Bonn", "Kiel"], n).astype(object),
        lambda: np.where(rng.random(n) < 0.4, np.nan, rng.lognormal(0, 1, n)),
    ]
    return pd.DataFrame({f"c{place:02}": kinds[place % 4]() for place in range(columns)})


def left_alone(name: str, columns: int, made: dict[int, Changed]) -> list[Finding]:
    parts = [
        {**one.columns, "id": np.arange(len(one.inputs)).astype(str).astype(object),
         "point": np.full(len(one.inputs), f"severity={severity}", dtype=object)}
        for severity, one in made.items()
    ]  # fmt: skip
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return audits._left_alone(Records(to_table(whole)), TABLES[name])


@pytest.mark.parametrize("columns", [1, 3, 20])
@pytest.mark.parametrize("name", TABLES)
def test_no_perturbation_is_said_to_do_nothing_however_narrow_the_table(
    name: str, columns: int
) -> None:
    found = made(name, table_of(wide(columns)))
    assert left_alone(name, columns, found) == []


@pytest.mark.parametrize("columns", [1, 3, 20])
@pytest.mark.parametrize("name", TABLES)
def test_a_perturbation_without_its_body_is_found(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("noisy", "multiplied", "unseen", "blank"):
        monkeypatch.setattr(table_values, part, lambda column, *_, **__: column.copy())
    frame = wide(columns)
    table = table_of(frame)
    table = table._replace(load=None)  # from which other categories are loaded
    found = made(name, table)
    if not any(one.columns["chance"].any() for one in found.values()):
        assert name in {"category_swap", "unseen_category"} and columns == 1  # there is no category
        return
    (finding,) = left_alone(name, columns, found)
    assert finding.severity is Severity.SUSPECT
