"""Corruptions of tables: noise, unit errors, other and unseen categories, gaps.

Only inputs: targets, and groups as they are recorded, stay what they are. What is touched at a
lower level is touched at a higher one. ``distance`` is the mean over columns of the change in
standard deviations for noise, else the share of the values that are touched; ``units`` are the
columns that it could be done to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from crucibench.contracts.columns import KnownColumns, is_name, is_number
from crucibench.contracts.corruption import Changed, CorruptionContext, Level
from crucibench.util.draws import Draws
from crucibench.util.gaps import blank
from crucibench_suites.shift.corruptions.text_edits import allowed

Bools = NDArray[np.bool_]

UNSEEN = "(unseen)"

_EXACT = 2**53
"""Beyond it a float64 is not the integer that it stands for: such integers are left alone."""


class _Column(NamedTuple):
    """A column at one level.

    Attributes:
        values: after it.
        touched: where they are others.
        distance: by how much.
        chance: the probability that a value is touched, shape (n,): what the level intends.
    """

    values: pd.Series[Any]
    touched: Bools
    distance: NDArray[np.float64]
    chance: NDArray[np.floating[Any]]


class Promise(NamedTuple):
    """What a corruption of tables may do to a column that others must not.

    Attributes:
        gaps: take values away, and widen the type for that.
        categories: add a category.
        in_range: it keeps numbers to the range seen.
    """

    gaps: bool = False
    categories: bool = False
    in_range: bool = False


_NOTHING = Promise()


def feature_noise(
    frame: pd.DataFrame, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Changed]:
    """Adds normal noise to numbers; a level is its spread in the column's standard deviations."""
    known = _known(context)

    def change(name: str, level: float) -> _Column:
        column = frame[name]
        low, high, spread, whole, _ = known.of(name)
        normal = context.draws.normal(context.ids, f"{name}/normal", ()).astype(np.float64)
        # Of the largest floats the noise may be infinite: it ends at the range seen.
        with np.errstate(over="ignore", invalid="ignore"):
            made = noisy(column, level * spread * normal, low, high, whole=whole)
        moved = _numbers(made) - _numbers(column)
        apart = np.where(np.isfinite(moved), np.abs(moved) / spread, 0.0)
        chance = _chance_of_noise(
            _numbers(column), level * spread, low, high, whole=_steps(column, whole)
        )
        return _Column(made, apart > 0, apart, chance)

    names = [name for name in _quantities(frame, known) if known.of(name)[2] > 0]
    return _by_column(
        frame, levels, context, names=names, change=change, promise=Promise(in_range=True)
    )


def unit_times_10(
    frame: pd.DataFrame, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Changed]:
    """Gives numbers in a unit ten times too small; a level is the share of values."""
    return _times(10, frame, levels, context)


def unit_times_1000(
    frame: pd.DataFrame, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Changed]:
    """Gives numbers in a unit a thousand times too small; a level is the share of values."""
    return _times(1000, frame, levels, context)


def category_swap(
    frame: pd.DataFrame, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Changed]:
    """Gives rows another category that occurs in the data; a level is the share of values."""
    known = _known(context)

    def change(name: str, level: float) -> _Column:
        column, candidates = frame[name], known.others[name]
        which = context.draws.integers(context.ids, f"{name}/which", (), high=candidates.shape[1])
        rows = candidates[np.arange(len(column)), which]
        hit = _hit(column, name, level, context) & (rows >= 0)
        made = column.copy()
        if hit.any() and context.load is not None:
            needed, place = np.unique(rows[hit], return_inverse=True)
            values = context.load([int(row) for row in needed])[name]
            made[hit] = values.iloc[place].to_numpy()
            made = made.astype(column.dtype)
        return _share(column, made, hit, level * (column.notna().to_numpy() & (rows >= 0)))

    names = [name for name in frame.columns if name in known.others]
    return _by_column(frame, levels, context, names=names, change=change)


def unseen_category(
    frame: pd.DataFrame, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Changed]:
    """Gives rows a category that stands nowhere else; a level is the share of values."""

    def change(name: str, level: float) -> _Column:
        column = frame[name]
        hit = _hit(column, name, level, context)
        return _share(column, unseen(column, hit), hit, level * column.notna().to_numpy())

    names = [name for name in frame.columns if is_name(frame[name])]
    return _by_column(
        frame, levels, context, names=names, change=change, promise=Promise(categories=True)
    )


def missing_values(
    frame: pd.DataFrame, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Changed]:
    """Takes values away; a level is the share of them."""

    def change(name: str, level: float) -> _Column:
        column = frame[name]
        hit = _hit(column, name, level, context)
        return _share(column, blank(column, hit), hit, level * column.notna().to_numpy())

    return _by_column(
        frame, levels, context, names=list(frame.columns), change=change, promise=Promise(gaps=True)
    )


def dropped_columns(
    frame: pd.DataFrame, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Changed]:
    """Takes all values of some columns away, the same for all rows; a level is their share."""
    names = _unprotected(list(frame.columns), context)
    order = _order(names, context.draws)

    def change(name: str, level: float) -> _Column:
        gone = name in order[: allowed(level, len(names))]
        column = frame[name]
        touched = column.notna().to_numpy() & gone
        made = blank(column, np.full(len(column), gone))
        return _share(column, made, touched, touched.astype(np.float64))

    return _by_column(
        frame, levels, context, names=names, change=change, promise=Promise(gaps=True)
    )


def _by_column(
    frame: pd.DataFrame, levels: Sequence[Level], context: CorruptionContext, *,
    names: Sequence[str], change: Callable[[str, float], _Column], promise: Promise = _NOTHING,
) -> Iterator[Changed]:  # fmt: skip
    """Yields frames at each level, with `change` done to those of `names` that it may touch."""
    names = _unprotected(names, context)
    for (level,) in levels:
        made = frame.copy()
        touched = np.zeros((len(frame), len(names)), dtype=np.bool_)
        distance, untouched = np.zeros(touched.shape), np.ones(len(frame))
        for place, name in enumerate(names):
            made[name], touched[:, place], distance[:, place], chance = change(name, level)
            untouched *= 1 - chance
        yield Changed(made, {
            "distance": distance.sum(axis=1).astype(np.float32) / np.float32(max(1, len(names))),
            "touched": np.asarray(touched.any(axis=1)),
            "edits": touched.sum(axis=1).astype(np.int32),
            "units": np.full(len(frame), len(names), dtype=np.int32),
            "chance": (1 - untouched).astype(np.float32),
            "spoilt": spoilt_rows(frame, made, _known(context), promise),
        })  # fmt: skip


def _times(
    factor: int, frame: pd.DataFrame, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Changed]:
    def change(name: str, level: float) -> _Column:
        column = frame[name]
        hit = _hit(column, name, level, context)
        numbers = _numbers(column)
        can = column.notna().to_numpy() & (numbers != 0) & _can_hold(column, numbers, factor)
        return _share(column, multiplied(column, hit, factor), hit, level * can)

    names = _quantities(frame, _known(context))
    return _by_column(frame, levels, context, names=names, change=change)


def _known(context: CorruptionContext) -> KnownColumns:
    if context.columns is None:
        raise ValueError("columns: a table is corrupted by what is known of its columns, got None")
    return context.columns


def _unprotected(names: Sequence[str], context: CorruptionContext) -> list[str]:
    return [name for name in names if name not in _known(context).protect]


def _quantities(frame: pd.DataFrame, known: KnownColumns) -> list[str]:
    """Returns the columns of numbers that are not all 0 or 1."""
    return [name for name in frame.columns if is_number(frame[name]) and not known.of(name)[4]]


def _hit(column: pd.Series[Any], name: str, level: float, context: CorruptionContext) -> Bools:
    drawn = context.draws.uniform(context.ids, f"{name}/hit", ())
    return np.asarray(column.notna().to_numpy() & (drawn < level))


def _order(names: Sequence[str], draws: Draws) -> list[str]:
    """Returns columns in the order in which they are dropped, the same for every sample."""
    words = draws.words([f"column {name}" for name in names], "order", 1)[:, 0]
    return [name for _, name in sorted(zip(words.tolist(), names, strict=True))]


def _share(
    before: pd.Series[Any], made: pd.Series[Any], hit: Bools, chance: NDArray[np.floating[Any]]
) -> _Column:
    """Returns a column of which some values were hit, of these touched what really differs."""
    touched = hit.copy()
    touched[hit] = _differs(before[hit], made[hit])
    return _Column(made, touched, touched.astype(np.float64), chance)


def _chance_of_noise(
    numbers: NDArray[np.float64], spread: float, low: float, high: float, *, whole: bool
) -> NDArray[np.float64]:
    """Returns the probability that `noisy` moves each number, shape (n,).

    A number at an end of the range moves one way alone, and whole ones by 1 or not at all.
    """
    one_way = float(ndtr(-1.0 / spread)) if whole else 0.5
    up, down = numbers < np.fmax(high, numbers), numbers > np.fmin(low, numbers)
    return np.where(np.isfinite(numbers), one_way * up + one_way * down, 0.0)


def _steps(column: pd.Series[Any], whole: bool) -> bool:
    """Whether noise moves a column by whole numbers alone."""
    return whole or pd.api.types.is_integer_dtype(column.dtype)


def noisy(
    column: pd.Series[Any], shifts: NDArray[np.float64], low: float, high: float, *, whole: bool
) -> pd.Series[Any]:
    """Returns numbers moved by `shifts`, within [low, high] and in the column's own type.

    What lay outside the range stays on its side of it. Whole numbers move by whole numbers, cut
    towards 0, so that none moves further than drawn. Missing ones stay missing.
    """
    numbers = _numbers(column)
    integer = pd.api.types.is_integer_dtype(column.dtype)
    moves = np.trunc(shifts) if _steps(column, whole) else shifts
    moved = np.clip(numbers + moves, np.fmin(low, numbers), np.fmax(high, numbers))
    where = np.isfinite(numbers) & (moves != 0)
    return _like(column, moved, where & (np.abs(moved) <= _EXACT) if integer else where)


def multiplied(column: pd.Series[Any], hit: NDArray[np.bool_], factor: int) -> pd.Series[Any]:
    """Returns numbers, those that are hit times `factor`, where the column's type can hold that."""
    numbers = _numbers(column)
    with np.errstate(over="ignore"):
        made = numbers * factor
    return _like(column, made, hit & _can_hold(column, numbers, factor))


def _can_hold(column: pd.Series[Any], numbers: NDArray[np.float64], factor: int) -> Bools:
    """Returns which of a column's numbers its type can hold `factor` times, shape (n,)."""
    kind = column.dtype
    with np.errstate(over="ignore"):
        made = numbers * factor
    if pd.api.types.is_integer_dtype(kind):
        bounds = np.iinfo(getattr(kind, "numpy_dtype", kind))
        return (made >= max(bounds.min, -_EXACT)) & (made <= min(bounds.max, _EXACT))
    return np.abs(made) <= float(np.finfo(getattr(kind, "numpy_dtype", kind)).max)


def unseen(column: pd.Series[Any], hit: NDArray[np.bool_]) -> pd.Series[Any]:
    """Returns texts or categories with a value that stands nowhere else in place of some."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column.mask(hit, UNSEEN)
    categories = column.dtype.categories.tolist()
    name: Any = UNSEEN
    if categories and all(type(value) in (int, float) for value in categories):
        name = max(categories) + 1
    while name in categories:
        name = f"{name}_"
    return column.cat.add_categories([name]).mask(hit, name)


def _numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _like(
    column: pd.Series[Any], values: NDArray[np.float64], where: NDArray[np.bool_]
) -> pd.Series[Any]:
    """Returns a column with other numbers in some places, its type and all else as they were."""
    if not where.any():
        return column.copy()
    made = column.copy()
    other = pd.Series(np.where(where, values, 0.0), index=column.index)
    made[where] = other[where].astype(column.dtype)
    return made


def spoilt_rows(
    before: pd.DataFrame, after: pd.DataFrame, known: KnownColumns, promise: Promise
) -> Bools:
    """Returns which rows hold a value that breaks its column's type or bounds, shape (n,).

    Every row, where a column has another type than it may have, or a protected one differs. Noise
    must keep to the range seen (or to what was outside it), whole numbers must stay whole, and
    what was missing must stay missing.
    """
    spoilt = np.zeros(len(before), dtype=np.bool_)
    for name in before.columns:
        old, new = before[name], after[name]
        if name in known.protect:
            spoilt |= _differs(old, new)
        gone = old.isna().to_numpy() & new.notna().to_numpy()
        spoilt |= gone
        if promise.gaps:
            spoilt |= _differs(old, new) & new.notna().to_numpy()
            continue
        if old.dtype != new.dtype and not (promise.categories and _more_categories(old, new)):
            spoilt[:] = True
            continue
        if not is_number(old):
            continue
        low, high, _, whole, flag = known.of(name)
        changed, was = (
            column.to_numpy(dtype=np.float64, na_value=np.nan) for column in (new, old)
        )  # fmt: skip
        finite = np.isfinite(was)
        if whole:
            spoilt |= finite & (was == np.floor(was)) & (changed != np.floor(changed))
        if promise.in_range and np.isfinite(low):
            outside = (changed < np.fmin(low, was)) | (changed > np.fmax(high, was))
            spoilt |= finite & outside
        if flag:
            spoilt |= finite & np.isin(was, (0, 1)) & ~np.isin(changed, (0, 1))
        spoilt |= finite & ~np.isfinite(changed)
    return spoilt


def _differs(old: pd.Series[Any], new: pd.Series[Any]) -> NDArray[np.bool_]:
    first, second = old.astype(object), new.astype(object)
    same = (first == second) | (first.isna() & second.isna())
    return ~same.fillna(False).to_numpy(dtype=np.bool_)


def _more_categories(old: pd.Series[Any], new: pd.Series[Any]) -> bool:
    return (
        isinstance(old.dtype, pd.CategoricalDtype)
        and isinstance(new.dtype, pd.CategoricalDtype)
        and set(old.dtype.categories) <= set(new.dtype.categories)
    )
