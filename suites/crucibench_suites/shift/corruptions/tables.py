"""Every corruption of tables: its name, family, scope, and what its severities mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crucibench.contracts.capability import Capability
from crucibench.contracts.corruption import Corruption, Level, each

_NUMBERS = (
    "numbers that are not all 0 or 1; integers stay whole, and none leaves the range seen but "
    "those outside it"
)
_QUANTITIES = "numbers that are not all 0 or 1; integers stay in the range of their type"
_SHARES = each(0.05, 0.1, 0.2, 0.3, 0.5)
_RARE = each(0.01, 0.02, 0.05, 0.1, 0.2)
_GAPS = frozenset({Capability.MISSING_VALUES})

_HERE = "crucibench_suites.shift.corruptions"


def _table(
    name: str, family: str, scope: str, levels: tuple[Level, ...], needs: str = "", **more: Any
) -> Corruption:
    """Returns a corruption that is made column by column."""
    options = {"unit": "share of values", "most": lambda level: level[0], "random": True, **more}
    return Corruption(
        name=name, family=family, modality="table", function=f"{_HERE}.table_values:{name}",
        levels=levels, known_answer=f"{_HERE}.known_answers:TABLES", scope=scope, needs=needs,
        **options,
    )  # fmt: skip


feature_noise = _table(
    "feature_noise", "values", _NUMBERS, each(0.1, 0.2, 0.4, 0.7, 1.0), "numbers",
    unit="standard deviations of the column",
)  # fmt: skip
unit_times_10 = _table("unit_times_10", "units", _QUANTITIES, _RARE, "numbers")
unit_times_1000 = _table("unit_times_1000", "units", _QUANTITIES, _RARE, "numbers")
category_swap = _table(
    "category_swap", "categories", "texts, categories and truth values", _SHARES, "categories"
)
unseen_category = _table(
    "unseen_category", "categories", "texts and categories", _SHARES, "categories", default=False
)
missing_values = _table("missing_values", "missing", "all columns", _SHARES, requires=_GAPS)
dropped_columns = _table(
    "dropped_columns", "missing", "all columns", each(0.1, 0.2, 0.3, 0.4, 0.5), requires=_GAPS,
    unit="share of columns", per_sample=True,
)  # fmt: skip

TABLES: Mapping[str, Corruption] = {
    one.name: one
    for one in (
        feature_noise, unit_times_10, unit_times_1000, category_swap, unseen_category,
        missing_values, dropped_columns,
    )
}  # fmt: skip
"""The suite's own corruptions of tables by name, in the order of reports."""
