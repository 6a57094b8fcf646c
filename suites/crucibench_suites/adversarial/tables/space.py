"""Rows of a table as points: where each column may go, and the rows that come of it.

A coordinate of a number is its value divided by the power of two nearest to the column's spread, so
that nothing is lost to and fro; distances are in units of the spread itself. A coordinate of a
category is 0 for the row's own value, or the place of another among those allowed, from 1; a change
of category is a distance of 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.attack import Floats, Ints, Norm
from crucibench.contracts.columns import ColumnFacts, is_number
from crucibench_suites.adversarial.tables.constraints import Constraints, Value
from crucibench_suites.adversarial.threat import check_norm, sizes

INWARDS = 1 - 1e-6
"""Of a radius: rounding must not carry a value out of the ball."""

_WHOLE = 1e-4
"""By how much a step may fall short of a whole number by rounding alone."""


class Facts(NamedTuple):
    """What is known of a column of numbers: least, greatest, spread, and whether all are whole."""

    low: float
    high: float
    spread: float
    whole: bool


def facts_of_numbers(frame: pd.DataFrame, facts: ColumnFacts) -> dict[str, Facts]:
    """Returns what is known of the columns of numbers, by name.

    Args:
        frame: rows of the table.
        facts: of all its columns, in the order of their names.
    """
    rows = zip(facts.low, facts.high, facts.spread, facts.whole, strict=True)
    return {
        name: Facts(float(low), float(high), float(spread), bool(whole))
        for name, (low, high, spread, whole) in zip(sorted(frame.columns), rows, strict=True)
        if is_number(frame[name]) and np.isfinite(low)
    }


class RowSpace:
    """The rows that constraints allow around some clean ones.

    Attributes:
        frame: the clean rows, n of them.
        norm: of distances.
        numbers: the columns of numbers that may change: the first coordinates.
        names: the columns of categories that may: the others.
        options: the values that each of `names` may be changed to.
        clean: shape (n, d), as `low` and `high`.
        spread: of `numbers`, in the columns' own units.
        unit: what a coordinate of 1 is, in the columns' own units.
        whole: which of `numbers` are whole.
        least: the smallest numbers that are allowed, shape (n, numbers).
        most: the greatest.
        there: whether each number is there; what is missing stays.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        constraints: Constraints,
        facts: dict[str, Facts],
        norm: Norm,
    ) -> None:
        check_norm(norm)
        self.frame, self.norm, self._constraints = frame, norm, constraints
        may = frame.columns if constraints.mutable is None else constraints.mutable
        self.numbers = [name for name in may if name in facts and facts[name].spread > 0]
        self.names = [name for name in may if name in constraints.categories]
        self.options: list[list[Value]] = [
            list(dict.fromkeys(constraints.categories[name])) for name in self.names
        ]
        # Arrays are filled faster than columns of a frame.
        self._columns: dict[str, Any] = {
            name: frame[name].to_numpy()
            if isinstance(frame[name].dtype, np.dtype)
            else frame[name].array
            for name in frame.columns
        }
        n, width = len(frame), len(self.numbers)
        self.spread = np.array([facts[name].spread for name in self.numbers])
        self.unit = 2.0 ** np.round(np.log2(self.spread)) if width else np.zeros(0)
        self._kinds = [_plain(frame[name]) for name in self.numbers]
        raw = np.empty((n, width))
        for at, name in enumerate(self.numbers):
            raw[:, at] = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        self.there = np.isfinite(raw)
        self._raw = np.where(self.there, raw, 0.0)
        self.whole = np.array(
            [
                kind.kind in "iu" or facts[name].whole or name in constraints.integers
                for name, kind in zip(self.numbers, self._kinds, strict=True)
            ],
            dtype=np.bool_,
        )
        low, high = np.empty(width), np.empty(width)
        for at, name in enumerate(self.numbers):
            least, most = constraints.bounds.get(name, (facts[name].low, facts[name].high))
            low[at] = -np.inf if least is None else least
            high[at] = np.inf if most is None else most
        # A value beyond a bound may stay where it is, or come back.
        self.least, self.most = np.minimum(low, self._raw), np.maximum(high, self._raw)
        self.least = np.where(self.there, self.least, self._raw)
        self.most = np.where(self.there, self.most, self._raw)
        self.same = np.zeros((n, len(self.names)), dtype=np.int64)
        for at, name in enumerate(self.names):
            for place, value in enumerate(self.options[at]):
                own = np.asarray(frame[name].astype(object) == value, dtype=np.bool_)
                self.same[own, at] = place + 1
        self._relations = [
            (self._side(one.left), self._side(one.right), one.strict)
            for one in constraints.read_relations()
        ]
        held = [self._holds(np.arange(n), self._raw, one) for one in self._relations]
        self._held = np.stack(held, 1) if held else np.zeros((n, 0), dtype=np.bool_)
        flat = np.zeros((n, len(self.names)))
        self.clean = np.concatenate([self._raw / self.unit, flat], axis=1)
        # So far as a search goes that has no end of its own.
        far = 100 * self.spread
        self.low = np.concatenate([np.maximum(self.least, self._raw - far) / self.unit, flat], 1)
        self.high = np.concatenate([np.minimum(self.most, self._raw + far) / self.unit, flat], 1)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def scale(self) -> Floats:
        """What a coordinate of each column must move for a distance of 1, shape (d,)."""
        return np.concatenate([self.spread / self.unit, np.ones(len(self.names))])

    def values(self, points: Floats) -> Floats:
        """Returns the numbers that points stand for, in the columns' own units."""
        return np.asarray(points[:, : len(self.numbers)] * self.unit)

    def point(self, rows: Ints, values: Floats) -> Floats:
        """Returns the points of numbers in the columns' units, with the rows' own categories."""
        flat = np.zeros((len(rows), len(self.names)))
        return np.concatenate([values / self.unit, flat], axis=1)

    def allowed(self, rows: Ints, points: Floats) -> Floats:
        """Returns points that keep every constraint, near `points`."""
        width = len(self.numbers)
        clean = self._raw[rows]
        raw = np.clip(points[:, :width] * self.unit, self.least[rows], self.most[rows])
        moved = raw - clean
        steps = np.trunc(moved + np.sign(moved) * _WHOLE)
        raw = np.where(self.whole, clean + steps, raw)
        for at, kind in enumerate(self._kinds):
            raw[:, at] = _cast(raw[:, at], kind)
        # What a type can't hold within the bounds stays.
        out = (raw < self.least[rows]) | (raw > self.most[rows]) | ~np.isfinite(raw)
        raw = np.where(out | ~self.there[rows], clean, raw)
        most = np.array([len(one) for one in self.options], dtype=np.float64)
        codes = np.clip(np.round(points[:, width:]), 0, most)
        codes = np.where(codes == self.same[rows], 0.0, codes)
        if self._constraints.columns is not None:
            raw, codes = self._fewer(rows, raw, codes, self._constraints.columns)
        raw = self._related(rows, raw)
        return np.concatenate([raw / self.unit, codes], axis=1)

    def moves(self, rows: Ints, points: Floats) -> Floats:
        """Returns how far each column of allowed points has moved, in its spread, (k, d)."""
        width = len(self.numbers)
        numbers = np.abs(points[:, :width] * self.unit - self._raw[rows]) / self.spread
        return np.concatenate([numbers, (points[:, width:] != 0).astype(np.float64)], axis=1)

    def distance(self, rows: Ints, points: Floats) -> Floats:
        """Returns the norm of the moves, (k,)."""
        return sizes(self.moves(rows, points), self.norm)

    def rows(self, rows: Ints, points: Floats) -> pd.DataFrame:
        """Returns allowed points as rows of the table, in the columns' own types."""
        width = len(self.numbers)
        raw = points[:, :width] * self.unit
        found: dict[str, Any] = {}
        for name, own in self._columns.items():
            column = own.take(rows)
            if name in self.numbers:
                at = self.numbers.index(name)
                hit = raw[:, at] != self._raw[rows, at]
                column[hit] = raw[hit, at].astype(self._kinds[at])
            elif name in self.names:
                at = self.names.index(name)
                codes = points[:, width + at].astype(np.int64)
                for place, value in enumerate(self.options[at]):
                    column[codes == place + 1] = value
            # Told its type, of which pandas would make texts; of others it takes its time.
            found[name] = pd.Series(column, dtype=object) if column.dtype == object else column
        return pd.DataFrame(found, columns=self.frame.columns)

    def _fewer(self, rows: Ints, raw: Floats, codes: Floats, most: int) -> tuple[Floats, Floats]:
        """Takes back the smallest moves of points that move too many columns."""
        width = raw.shape[1]
        moves = np.abs(raw - self._raw[rows]) / self.spread
        size = np.concatenate([moves, (codes != 0).astype(np.float64)], axis=1)
        rank = np.argsort(np.argsort(-size, axis=1, kind="stable"), axis=1, kind="stable")
        stay = rank < most
        return (
            np.where(stay[:, :width], raw, self._raw[rows]),
            np.where(stay[:, width:], codes, 0.0),
        )

    def _related(self, rows: Ints, raw: Floats) -> Floats:
        """Takes back moves that break a relation which held, until all hold again."""
        for _ in range(len(self.numbers) + 1):
            broken = False
            for at, one in enumerate(self._relations):
                bad = self._held[rows, at] & ~self._holds(rows, raw, one)
                if not bad.any():
                    continue
                broken = True
                for side in one[:2]:
                    if isinstance(side, int):
                        raw[bad, side] = self._raw[rows[bad], side]
            if not broken:
                break
        return raw

    def _side(self, name: str) -> int | Floats:
        """Returns the place of a column that may change, or the values of one that stays."""
        if name in self.numbers:
            return self.numbers.index(name)
        return self.frame[name].to_numpy(dtype=np.float64, na_value=np.nan)

    def _holds(
        self, rows: Ints, raw: Floats, relation: tuple[int | Floats, int | Floats, bool]
    ) -> NDArray[np.bool_]:
        """Whether a relation holds; of what is missing nothing is asked."""
        sides = []
        for side in relation[:2]:
            if isinstance(side, int):
                sides.append(np.where(self.there[rows, side], raw[:, side], np.nan))
            else:
                sides.append(side[rows])
        left, right = sides
        held = left < right if relation[2] else left <= right
        return np.asarray(held | np.isnan(left) | np.isnan(right))


def _plain(series: pd.Series[Any]) -> np.dtype[Any]:
    """Returns NumPy's type of a column of numbers."""
    kind: Any = series.dtype
    plain: np.dtype[Any] = np.dtype(getattr(kind, "numpy_dtype", kind))
    return plain


def _cast(values: Floats, kind: np.dtype[Any]) -> Floats:
    """Returns what a type holds of values, as float64; NaN of what it can't hold."""
    if kind.kind in "iu":
        ends = np.iinfo(kind)
        fit = (values >= max(ends.min, -(2**53))) & (values <= min(ends.max, 2**53))
        return np.where(fit, np.round(values), np.nan)
    with np.errstate(over="ignore"):
        return values.astype(kind).astype(np.float64)
