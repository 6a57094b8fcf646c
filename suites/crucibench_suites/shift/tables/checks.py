"""Is each value of a perturbed table still one that its column can hold?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench_suites.shift.tables.columns import Facts, is_number

_WIDENING = ("missing_values", "dropped_columns")


def spoilt_rows(
    kind: str, before: pd.DataFrame, after: pd.DataFrame, facts: Facts, protect: Sequence[str]
) -> NDArray[np.bool_]:
    """Returns which rows hold a value that breaks its column's type or bounds, shape (n,).

    Every row, where a column has another type than it may have, or a protected one differs. Noise
    must keep to the range seen (or to what was outside it), whole numbers must stay whole, and
    what was missing must stay missing.
    """
    spoilt = np.zeros(len(before), dtype=np.bool_)
    order = sorted(map(str, before.columns))
    for name in before.columns:
        old, new = before[name], after[name]
        if name in protect:
            spoilt |= _differs(old, new)
        gone = old.isna().to_numpy() & new.notna().to_numpy()
        spoilt |= gone
        if kind in _WIDENING:
            spoilt |= _differs(old, new) & new.notna().to_numpy()
            continue
        if old.dtype != new.dtype and not _has_more_categories(kind, old, new):
            spoilt[:] = True
            continue
        if not is_number(old):
            continue
        at = order.index(name)
        said, was = (
            column.to_numpy(dtype=np.float64, na_value=np.nan) for column in (new, old)
        )  # fmt: skip
        known = np.isfinite(was)
        if facts.whole[at]:
            spoilt |= known & (was == np.floor(was)) & (said != np.floor(said))
        if kind == "feature_noise" and np.isfinite(facts.low[at]):
            outside = (said < np.fmin(facts.low[at], was)) | (said > np.fmax(facts.high[at], was))
            spoilt |= known & outside
        if facts.flag[at]:
            spoilt |= known & np.isin(was, (0, 1)) & ~np.isin(said, (0, 1))
        spoilt |= known & ~np.isfinite(said)
    return spoilt


def _differs(old: pd.Series[Any], new: pd.Series[Any]) -> NDArray[np.bool_]:
    first, second = old.astype(object), new.astype(object)
    same = (first == second) | (first.isna() & second.isna())
    return ~same.fillna(False).to_numpy(dtype=np.bool_)


def _has_more_categories(kind: str, old: pd.Series[Any], new: pd.Series[Any]) -> bool:
    return (
        kind == "unseen_category"
        and isinstance(old.dtype, pd.CategoricalDtype)
        and isinstance(new.dtype, pd.CategoricalDtype)
        and set(old.dtype.categories) <= set(new.dtype.categories)
    )
