"""What an attacker may change in a row of a table: declared, and checked on rows by themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from crucibench.contracts.columns import is_number
from crucibench.util.errors import InputError
from crucibench.util.numbers import Number
from crucibench.util.suggest import unknown

Names = Annotated[tuple[StrictStr, ...], Strict(False)]
Value = StrictBool | StrictInt | StrictStr

_RELATION = re.compile(r"\s*(.+?)\s*(<=|>=|<|>)\s*(.+?)\s*")
_NUMBER = re.compile(r"u?int|float|double|half|decimal", re.IGNORECASE)


class Relation(NamedTuple):
    """``left <= right`` of two columns, or ``left < right``."""

    left: str
    right: str
    strict: bool


class Constraints(BaseModel):
    """What may be changed, and to what: rows that break it are no examples.

    What a row breaks as it is may stay broken: a bound that its value lies beyond, a number that is
    not whole, a relation that does not hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mutable: Names | None = None
    """The columns that may be changed; left out, all but datetimes."""

    bounds: dict[StrictStr, Annotated[tuple[Number | None, Number | None], Strict(False)]] = Field(
        default_factory=dict
    )
    """A column to its least and greatest value, null for none: ``age: [18, 90]``. Columns that are
    not there keep to the range that the training set (else the test set) shows."""

    integers: Names = ()
    """Columns of whole numbers, beside those that hold no others."""

    categories: dict[
        StrictStr, Annotated[tuple[Value, ...], Strict(False), Field(min_length=1)]
    ] = Field(default_factory=dict)
    """A column to what it may be changed to: columns of categories that are not there stay."""

    relations: Names = ()
    """Between two columns of numbers: ``a <= b``, also ``<``, ``>=`` and ``>``."""

    columns: Annotated[int, Field(ge=1)] | None = None
    """At most so many changed columns."""

    @field_validator("bounds")
    @classmethod
    def _in_order(
        cls, value: dict[str, tuple[float | None, float | None]]
    ) -> dict[str, tuple[float | None, float | None]]:
        for name, (low, high) in value.items():
            if low is not None and high is not None and low > high:
                raise ValueError(
                    f"bounds: expected a least value that is no larger than the greatest, "
                    f"{name!r} has {low:g} and {high:g}"
                )
        return value

    @field_validator("relations")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if _RELATION.fullmatch(text) is None:
                raise ValueError(f"relations: expected 'COLUMN <= COLUMN', got {text!r}")
        return value

    @model_validator(mode="after")
    def _of_what_may_change(self) -> Constraints:
        for what in ("bounds", "integers", "categories"):
            for name in getattr(self, what):
                if self.mutable is not None and name not in self.mutable:
                    raise ValueError(f"{what}: {name!r} is not among the mutable columns")
        return self

    def read_relations(self) -> tuple[Relation, ...]:
        """Returns the relations, each turned so that its left side is the smaller."""
        found = []
        for text in self.relations:
            match = _RELATION.fullmatch(text)
            assert match is not None
            left, sign, right = match.groups()
            if sign in {">", ">="}:
                left, right = right, left
            found.append(Relation(left, right, sign in {"<", ">"}))
        return tuple(found)

    def check(self, features: Mapping[str, str]) -> None:
        """Holds it against the columns of a table, by name and type.

        Raises:
            InputError: if a column is unknown, or holds another kind of values.
        """
        named: dict[str, Sequence[str]] = {
            "mutable": self.mutable or (),
            "bounds": list(self.bounds),
            "integers": self.integers,
            "categories": list(self.categories),
            "relations": [name for one in self.read_relations() for name in one[:2]],
        }
        for what, names in named.items():
            for name in names:
                where = f"adversarial.constraints.{what}"
                if name not in features:
                    raise InputError(f"{where}: {unknown('column', name, features)}")
                number = bool(_NUMBER.match(features[name]))
                if number == (what == "categories") and what != "mutable":
                    wanted = "categories" if what == "categories" else "numbers"
                    raise InputError(
                        f"{where}: expected a column of {wanted}, {name!r} holds {features[name]}"
                    )


def breaches(
    clean: pd.DataFrame, changed: pd.DataFrame, constraints: Constraints
) -> NDArray[np.int64]:
    """Returns how many constraints each row breaks that its clean row keeps, (n,).

    Args:
        clean: n rows.
        changed: what they were changed to, the same columns.
        constraints: as declared: what was learnt from data is not looked at.
    """
    if list(clean.columns) != list(changed.columns):
        raise ValueError("changed: expected the columns of the clean rows")
    found = np.zeros(len(clean), dtype=np.int64)
    count = np.zeros(len(clean), dtype=np.int64)
    for name in clean.columns:
        moved = _moved(clean[name], changed[name])
        count += moved
        if clean[name].dtype != changed[name].dtype:
            found += 1
        if constraints.mutable is not None and name not in constraints.mutable:
            found += moved
        if not is_number(clean[name]):
            options = list(constraints.categories.get(name, ()))
            found += moved & ~changed[name].astype(object).isin(options).to_numpy(dtype=np.bool_)
    for name, (low, high) in constraints.bounds.items():
        before, after = _numbers(clean, name), _numbers(changed, name)
        if low is not None:
            found += (after < low) & ~(after >= before)
        if high is not None:
            found += (after > high) & ~(after <= before)
    for name in constraints.integers:
        before, after = _numbers(clean, name), _numbers(changed, name)
        found += (before == np.floor(before)) & ~(after == np.floor(after))
    for left, right, strict in constraints.read_relations():
        kept = [
            _kept(_numbers(frame, left), _numbers(frame, right), strict=strict)
            for frame in (clean, changed)
        ]
        found += kept[0] & ~kept[1]
    if constraints.columns is not None:
        found += count > constraints.columns
    return found


def _moved(before: pd.Series[Any], after: pd.Series[Any]) -> NDArray[np.bool_]:
    gone, now = before.isna().to_numpy(), after.isna().to_numpy()
    same = before.astype(object).to_numpy() == after.astype(object).to_numpy()
    unlike = ~np.asarray(same, dtype=object).astype(np.bool_)
    return np.asarray((gone != now) | (~gone & ~now & unlike))


def _numbers(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return frame[name].to_numpy(dtype=np.float64, na_value=np.nan)


def _kept(
    left: NDArray[np.float64], right: NDArray[np.float64], *, strict: bool
) -> NDArray[np.bool_]:
    held = left < right if strict else left <= right
    return np.asarray(held | np.isnan(left) | np.isnan(right))
