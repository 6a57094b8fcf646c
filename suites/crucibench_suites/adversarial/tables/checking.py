"""Whether rows keep declared constraints, told from the rows themselves: a second opinion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench_suites.adversarial.tables.constraints import Constraints


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
        if not pd.api.types.is_numeric_dtype(clean[name].dtype) or pd.api.types.is_bool_dtype(
            clean[name].dtype
        ):
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
