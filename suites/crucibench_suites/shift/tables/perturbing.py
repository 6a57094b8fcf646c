"""Perturbs rows of tables at several severities from one set of draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.util.draws import Draws
from crucibench_suites.shift.perturbed.answering import Variant
from crucibench_suites.shift.perturbed.kinds import Perturbation
from crucibench_suites.shift.tables.checks import spoilt_rows
from crucibench_suites.shift.tables.columns import Facts, is_name, is_number
from crucibench_suites.shift.tables.values import blank, multiplied, noisy, unseen
from crucibench_suites.shift.text.edits import allowed

Bools = NDArray[np.bool_]

FACTORS = {"unit_times_10": 10, "unit_times_1000": 1000}


class Table(NamedTuple):
    """Rows to perturb, and what is known of their columns.

    Attributes:
        frame: n rows.
        ids: of the samples.
        facts: of the columns, in the order of their names.
        protect: columns that are left alone.
        others: column to rows of the role that hold other categories, (n, k); -1 where none.
        load: from rows of the role to their inputs.
    """

    frame: pd.DataFrame
    ids: Sequence[str]
    facts: Facts
    protect: Sequence[str] = ()
    others: Mapping[str, NDArray[np.int32]] = {}
    load: Callable[[Sequence[int]], pd.DataFrame] | None = None

    def fact(self, name: str) -> tuple[float, float, float, bool, bool]:
        """Returns low, high, spread, whole and flag of a column."""
        at = sorted(map(str, self.frame.columns)).index(name)
        low, high, spread, whole, flag = (values[at] for values in self.facts)
        return float(low), float(high), float(spread), bool(whole), bool(flag)


class _Change(NamedTuple):
    """A column at one severity: its values, where they are others, and by how much."""

    column: pd.Series[Any]
    touched: Bools
    distance: NDArray[np.float64]


def perturbed_tables(
    kind: Perturbation, table: Table, draws: Draws, severities: Sequence[int]
) -> Iterator[Variant]:
    """Yields frames at each severity: what is touched at a lower one is touched at a higher one.

    Args:
        kind: which perturbation.
        table: the rows.
        draws: of the perturbation's stream.
        severities: 1 to 5.

    Returns:
        Variants whose ``distance`` is the mean over columns of the change in standard deviations
        for noise, else the share of the values that are touched; `units` are the columns that it
        could be done to.
    """
    names = [name for name in table.frame.columns if _in_scope(kind.name, table, name)]
    dropped = _order(names, draws) if kind.name == "dropped_columns" else []
    for severity in severities:
        level = kind.levels[severity - 1]
        frame = table.frame.copy()
        touched = np.zeros((len(table.ids), len(names)), dtype=np.bool_)
        distance = np.zeros(touched.shape)
        gone = set(dropped[: allowed(level, len(names))])
        for place, name in enumerate(names):
            made = _changed(kind.name, table, name, draws=draws, level=level, gone=name in gone)
            frame[name] = made.column
            touched[:, place], distance[:, place] = made.touched, made.distance
        yield Variant(severity, frame, {
            "distance": distance.sum(axis=1).astype(np.float32) / np.float32(max(1, len(names))),
            "touched": np.asarray(touched.any(axis=1)),
            "edits": touched.sum(axis=1).astype(np.int32),
            "units": np.full(len(table.ids), len(names), dtype=np.int32),
            "spoilt": spoilt_rows(kind.name, table.frame, frame, table.facts, table.protect),
        })  # fmt: skip


def _in_scope(kind: str, table: Table, name: str) -> bool:
    if name in table.protect:
        return False
    column = table.frame[name]
    if kind in ("missing_values", "dropped_columns"):
        return True
    _, _, spread, _, flag = table.fact(name)
    if kind == "unseen_category":
        return is_name(column)
    if kind == "category_swap":
        return name in table.others
    return is_number(column) and not flag and (spread > 0 or kind != "feature_noise")


def _changed(
    kind: str, table: Table, name: str, *, draws: Draws, level: float, gone: bool
) -> _Change:
    column, known = table.frame[name], table.frame[name].notna().to_numpy()
    if kind == "dropped_columns":
        return _share(blank(column, np.full(len(column), gone)), known & gone)
    if kind == "feature_noise":
        low, high, spread, whole, _ = table.fact(name)
        normal = draws.normal(table.ids, f"{name}/normal", ()).astype(np.float64)
        # Of the largest floats the noise may be infinite: it ends at the range seen.
        with np.errstate(over="ignore", invalid="ignore"):
            made = noisy(column, level * spread * normal, low, high, whole=whole)
        moved = _numbers(made) - _numbers(column)
        apart = np.where(np.isfinite(moved), np.abs(moved) / spread, 0.0)
        return _Change(made, apart > 0, apart)
    hit = known & (draws.uniform(table.ids, f"{name}/hit", ()) < level)
    if kind == "missing_values":
        return _share(blank(column, hit), hit)
    if kind == "unseen_category":
        return _share(unseen(column, hit), hit)
    if kind == "category_swap":
        return _swapped(table, name, draws, hit)
    made = multiplied(column, hit, FACTORS[kind])
    return _share(made, hit & (_numbers(made) != _numbers(column)))


def _swapped(table: Table, name: str, draws: Draws, hit: Bools) -> _Change:
    column = table.frame[name]
    candidates = table.others[name]
    which = draws.integers(table.ids, f"{name}/which", (), high=candidates.shape[1])
    rows = candidates[np.arange(len(column)), which]
    hit = hit & (rows >= 0)
    made = column.copy()
    if hit.any() and table.load is not None:
        needed, place = np.unique(rows[hit], return_inverse=True)
        values = table.load([int(row) for row in needed])[name]
        made[hit] = values.iloc[place].to_numpy()
        made = made.astype(column.dtype)
    return _share(made, hit)


def _order(names: Sequence[str], draws: Draws) -> list[str]:
    """Returns columns in the order in which they are dropped, the same for every sample."""
    words = draws.words([f"column {name}" for name in names], "order", 1)[:, 0]
    return [name for _, name in sorted(zip(words.tolist(), names, strict=True))]


def _share(column: pd.Series[Any], touched: Bools) -> _Change:
    return _Change(column, touched, touched.astype(np.float64))


def _numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)
