"""Every perturbation of tables: its name, family, scope, and what its severities mean."""

from __future__ import annotations

from crucibench_suites.shift.perturbed.kinds import Perturbation

NUMBERS = (
    "numbers that are not all 0 or 1; integers stay whole, and none leaves the range seen but "
    "those outside it"
)
QUANTITIES = "numbers that are not all 0 or 1; integers stay in the range of their type"
CATEGORIES = "texts, categories and truth values"
NAMES = "texts and categories"

_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
_RARE = (0.01, 0.02, 0.05, 0.1, 0.2)

TABLE: tuple[Perturbation, ...] = (
    Perturbation(
        name="feature_noise", family="values", levels=(0.1, 0.2, 0.4, 0.7, 1.0), scope=NUMBERS,
        unit="standard deviations of the column", per_sample=False,
    ),
    Perturbation(
        name="unit_times_10", family="units", levels=_RARE, unit="share of values",
        scope=QUANTITIES, per_sample=False,
    ),
    Perturbation(
        name="unit_times_1000", family="units", levels=_RARE, unit="share of values",
        scope=QUANTITIES, per_sample=False,
    ),
    Perturbation(
        name="category_swap", family="categories", levels=_SHARES, unit="share of values",
        scope=CATEGORIES, per_sample=False,
    ),
    Perturbation(
        name="unseen_category", family="categories", levels=_SHARES, unit="share of values",
        scope=NAMES, per_sample=False, default=False,
    ),
    Perturbation(
        name="missing_values", family="missing", levels=_SHARES, unit="share of values",
        scope="all columns", per_sample=False,
    ),
    Perturbation(
        name="dropped_columns", family="missing", levels=(0.1, 0.2, 0.3, 0.4, 0.5),
        unit="share of columns", scope="all columns",
    ),
)  # fmt: skip
"""Every perturbation of tables, by the value, column by column."""

GAPS = ("missing_values", "dropped_columns")
"""Those that only models which take missing values can meet."""

OF_NAMES = ("unseen_category",)
OF_CATEGORIES = ("category_swap",)

TABLE_NAMES = tuple(one.name for one in TABLE)
TABLE_FAMILIES = tuple(dict.fromkeys(one.family for one in TABLE))
