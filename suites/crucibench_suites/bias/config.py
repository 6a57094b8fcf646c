"""What a user may set under ``suites: {bias: ...}``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

from pydantic import Field, Strict, StrictStr, field_validator

from crucibench.contracts.suite import SuiteConfig
from crucibench.util.suggest import unknown
from crucibench_suites.bias.fairlearn_metrics import FAIRLEARN, PREFIX

Names = Annotated[tuple[StrictStr, ...], Strict(False)]
Edges = Annotated[tuple[Annotated[float, Strict(False)], ...], Strict(False)]

Row = Annotated[tuple[StrictStr, ...], Strict(False)]

CLEAN = "clean"
"""The point of samples as they are, beside those of what another suite does to them."""

MOST_CROSSED = 6
"""Up to so many columns, pairs of them are crossed unless `depth` says otherwise."""


class BiasConfig(SuiteConfig):
    """Settings of the bias suite."""

    columns: Names | None = None
    """Which group columns; None for all that the data set has."""

    depth: Annotated[int, Field(ge=1, le=4)] | None = None
    """How many columns are crossed at most: 1 for none, 2 for pairs; None for pairs, or for none
    where there are more than six columns."""

    edges: Mapping[str, Edges] = {}
    """Column to the numbers at which its values are cut, e.g. ``{age: [30, 50]}``: below 30, 30 to
    below 50, 50 and above."""

    reference: Mapping[str, StrictStr] = {}
    """Column to the group that the others are held against, e.g. ``{sex: male}``; each group is
    held against all other samples where there is none."""

    swap: bool = True
    """Whether models are asked again with another group: of tables in each group column that they
    are shown, of texts in the words that name one; false saves these passes."""

    terms: Mapping[str, Annotated[tuple[Row, ...], Strict(False)]] | None = None
    """Category to rows of words, one a group, e.g. ``{role: [[nurse, doctor], [ward, surgery]]}``:
    exchanged in texts in place of the project's own English lists."""

    metrics: Names = ()
    """Further metrics by name: ``fairlearn:NAME`` for one of ``fairlearn.metrics``."""

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name.startswith(PREFIX):
                raise ValueError(f"metrics: expected {PREFIX}NAME, got {name!r}")
            if name.removeprefix(PREFIX) not in FAIRLEARN:
                raise ValueError(
                    unknown("metric of fairlearn", name.removeprefix(PREFIX), FAIRLEARN)
                )
        if len(set(value)) < len(value):
            raise ValueError(f"metrics: expected each once, got {list(value)}")
        return value

    @field_validator("columns")
    @classmethod
    def _some(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (not value or len(set(value)) < len(value)):
            raise ValueError(f"columns: expected some, each once, got {list(value)}")
        return value

    @field_validator("edges")
    @classmethod
    def _ascending(cls, value: Mapping[str, tuple[float, ...]]) -> Mapping[str, tuple[float, ...]]:
        for name, edges in value.items():
            rising = all(low < high for low, high in pairwise(edges))
            if not edges or not rising or not all(map(math.isfinite, edges)):
                raise ValueError(f"edges of {name!r}: expected rising numbers, got {list(edges)}")
        return value

    @field_validator("terms")
    @classmethod
    def _rows(
        cls, value: Mapping[str, tuple[Row, ...]] | None
    ) -> Mapping[str, tuple[Row, ...]] | None:
        for name, rows in (value or {}).items():
            words = [word.lower() for row in rows for word in row]
            if not rows or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
                raise ValueError(f"terms of {name!r}: expected rows of as many words, two or more")
            if len(set(words)) < len(words) or not all(word.strip() for word in words):
                raise ValueError(f"terms of {name!r}: expected different words, got one twice")
        return value
