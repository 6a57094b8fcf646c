"""How far two tables of records lie apart that say what a model answered to the same samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crucibench.contracts.records import Records

_KEYS = ("id", "point")


@dataclass(frozen=True)
class Apart:
    """What differs.

    Attributes:
        rows: how many records were held against each other.
        wrong: a sentence about what can't be float noise, or "".
        largest: the largest difference of floats, relative to the stored one where that is above 1.
        column: where it is.
        flips: whole numbers, flags and texts that differ.
        flipped: the columns that they are in.
    """

    rows: int
    wrong: str = ""
    largest: float = 0.0
    column: str = ""
    flips: int = 0
    flipped: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether nothing differs at all."""
        return not self.wrong and self.largest == 0.0 and not self.flips


def apart(stored: pa.Table, anew: pa.Table) -> Apart:
    """Returns how far records asked anew lie from the stored ones of the same samples.

    Rows are matched by id and point. Columns that are stored and were not asked for now (a pass
    that was kept with more outputs) are left out.
    """
    stored, anew = _sorted(stored), _sorted(anew)
    keys = [table.select(list(_KEYS)).to_pylist() for table in (stored, anew)]
    if keys[0] != keys[1]:
        both = zip(*keys, strict=False)
        first = next((pair for pair in both if pair[0] != pair[1]), None)
        which = f" (the first difference: {first[0]} stored, {first[1]} now)" if first else ""
        wrong = f"{len(keys[0])} records are stored, {len(keys[1])} come now{which}"
        return Apart(stored.num_rows, wrong)
    missing = [name for name in anew.column_names if name not in stored.column_names]
    if missing:
        return Apart(stored.num_rows, f"the column {missing[0]!r} is not stored")
    largest, where, flips, flipped = 0.0, "", 0, []
    for name in anew.column_names:
        before, now = Records(stored).array(name), Records(anew).array(name)
        if before.shape != now.shape:
            wrong = f"column {name!r}: shape {before.shape} is stored, {now.shape} comes now"
            return Apart(stored.num_rows, wrong)
        if before.dtype.kind == "f" and now.dtype.kind == "f":
            distance = _distance(before.astype(np.float64), now.astype(np.float64))
            if distance > largest:
                largest, where = distance, name
        elif name not in _KEYS:
            differ = np.asarray([old != new for old, new in zip(before, now, strict=True)])
            count = int(differ.reshape(len(before), -1).any(axis=1).sum()) if len(before) else 0
            flips += count
            flipped += [name] if count else []
    return Apart(stored.num_rows, "", largest, where, flips, tuple(flipped))


def _sorted(table: pa.Table) -> pa.Table:
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in _KEYS])
    return table.take(order).combine_chunks()


def _distance(before: np.ndarray, now: np.ndarray) -> float:
    if not before.size:
        return 0.0
    same = (before == now) | (np.isnan(before) & np.isnan(now))
    with np.errstate(invalid="ignore"):
        far = np.abs(before - now) / np.maximum(1.0, np.abs(before))
    far[same] = 0.0
    far[np.isnan(far)] = np.inf  # a number now, none before, or the other way round
    return float(far.max())
