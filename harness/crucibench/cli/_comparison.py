"""A comparison as a table, as plain data and as a list of flipped samples."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crucibench.cli._output import Table
from crucibench.comparing.results import Comparison, MetricDifference
from crucibench.util.atomic import write_atomically

COLUMNS = (
    "number", "baseline", "candidate", "difference", "p (adjusted)", "change", "lost / gained",
    "detectable",
)  # fmt: skip

FLAT = (
    "comparison", "data", "address", "direction", "baseline", "candidate", "delta", "lower",
    "upper", "level", "standard_error", "p", "p_adjusted", "method", "n", "lost", "gained",
    "detectable", "change", "baseline_verdict", "candidate_verdict", "reason",
)  # fmt: skip

_SIGNIFICANT = 0.05


def change(one: MetricDifference) -> str:
    """Returns what a difference says, in a word or three."""
    if one.delta is None:
        return "undefined"
    if one.identical:
        return "same"
    if one.p_adjusted is None:
        return "not tested"
    if one.p_adjusted >= _SIGNIFICANT:
        return "no difference shown"
    if one.gain is None:
        return "differs"
    return "better" if one.gain > 0 else "worse"


def table(title: str, comparison: Comparison, *, groups: bool) -> Table:
    """Returns the table for people.

    Args:
        title: stands above it.
        comparison: what to show.
        groups: whether to show the numbers of single classes and groups.
    """
    several = len({one.data for one in comparison.differences}) > 1
    rows = [_row(one, several) for one in comparison.differences if groups or not one.address.group]
    return Table(columns=COLUMNS, rows=rows, title=title)


def _row(one: MetricDifference, several: bool) -> list[str | None]:
    places = _places(one)
    difference = None if one.delta is None else _fixed(one.delta, places, signed=True)
    if difference is not None and one.interval is not None:
        ends = (_fixed(end, places, signed=True) for end in one.interval[:2])
        difference = f"{difference} [{', '.join(ends)}]"
    p_value = None
    if one.p is not None:
        adjusted = "" if one.p_adjusted is None else f" ({_shown_p(one.p_adjusted)})"
        p_value = f"{_shown_p(one.p)}{adjusted}"
    flips = f"{len(one.flips.lost)} / {len(one.flips.gained)}" if one.flips else None
    return [
        f"{one.address} on {one.data}" if several else str(one.address),
        _value(one.baseline, places), _value(one.candidate, places), difference, p_value,
        change(one), flips, None if one.detectable is None else f"{one.detectable:.2g}",
    ]  # fmt: skip


def _places(one: MetricDifference) -> int:
    """Returns the decimals that show two digits of what the difference is uncertain by."""
    wide = one.interval.upper - one.interval.lower if one.interval else 0.0
    size = wide / 2 or abs(one.delta or 0.0)
    if size <= 0 or not math.isfinite(size):
        return 4
    return min(8, max(0, 1 - math.floor(math.log10(size))))


def _value(value: float | None, places: int) -> str:
    return "undefined" if value is None else _fixed(value, places)


def _fixed(value: float, places: int, *, signed: bool = False) -> str:
    # A zero that rounding made has no sign.
    value = round(value, places) + 0.0
    return f"{value:{'+' if signed and value else ''}.{places}f}"


def _shown_p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def document(name: str, comparison: Comparison) -> dict[str, Any]:
    """Returns a comparison as plain data."""
    return {
        "comparison": name,
        "differences": [
            {
                **{key: value for key, value in flat(name, one).items() if key != "comparison"},
                "flips": None if one.flips is None else {
                    "lost": list(one.flips.lost), "gained": list(one.flips.gained),
                },
            }
            for one in comparison.differences
        ],
        "refused": [
            {"cell": r.cell, "data": r.data, "field": r.field, "reason": r.reason}
            for r in comparison.refused
        ],
        "notes": list(comparison.notes),
    }  # fmt: skip


def flat(name: str, one: MetricDifference) -> dict[str, Any]:
    """Returns one difference as a row of plain data."""
    lower, upper, level = one.interval[:3] if one.interval else (None, None, None)
    lost, gained = (len(one.flips.lost), len(one.flips.gained)) if one.flips else (None, None)
    values = (
        name, one.data, str(one.address), one.direction, one.baseline, one.candidate, one.delta,
        lower, upper, level, one.standard_error, one.p, one.p_adjusted, one.method, one.n, lost,
        gained, one.detectable, change(one), *one.verdicts, one.reason,
    )  # fmt: skip
    return dict(zip(FLAT, values, strict=True))


def write_flips(path: Path, comparisons: Mapping[str, Comparison]) -> int:
    """Writes the ids of all flipped samples as CSV; returns how many rows there are."""
    rows = list(_flips(comparisons))

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("comparison", "data", "address", "id", "flip"))
            writer.writerows(rows)

    write_atomically(path, write)
    return len(rows)


def _flips(comparisons: Mapping[str, Comparison]) -> Iterable[tuple[str, ...]]:
    for name, comparison in comparisons.items():
        for one in comparison.differences:
            if one.flips is None or one.address.group:
                continue  # those of a class are among those of all samples
            for flip, ids in (("lost", one.flips.lost), ("gained", one.flips.gained)):
                for identity in ids:
                    yield name, one.data, str(one.address), str(identity), flip
