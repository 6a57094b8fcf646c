"""The spread of a recipe's trainings, borrowed from earlier runs by a gate of two files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from crucibench.comparing.power import standard_error
from crucibench.comparing.recipes import RecipeRow, recipe_rows
from crucibench.comparing.results import Comparison, MetricDifference, RecipeSpread
from crucibench.contracts.rows import RECIPE
from crucibench.gating.decide import LEVEL
from crucibench.stats.two_way import METHOD, TwoSources
from crucibench.store.run import Run
from crucibench.util.errors import InputError


class History:
    """Earlier runs in which recipes were trained several times."""

    def __init__(self, runs: Sequence[Run]) -> None:
        """Takes the runs.

        Raises:
            InputError: if one of them has no recipe with two trainings.
        """
        self._rows: list[tuple[str, RecipeRow]] = []
        for run in runs:
            rows = [row for row in recipe_rows(run) if row.trainings and row.parts is not None]
            if not rows:
                raise InputError(
                    f"history: run {run.id} has no recipe of two trainings or more to learn from"
                )
            self._rows += [(run.id, row) for row in rows]

    def lend(self, comparison: Comparison, candidate: Run) -> Comparison:
        """Returns the differences of two files with the spread of their recipe's trainings."""
        recipes = {
            (model.name, data): model.group or model.name
            for (_, data), model in candidate.models.items()
        }
        lent = [
            self._with_spread(one, recipes.get((one.address.model, one.data), ""))
            for one in comparison.differences
        ]
        return replace(comparison, differences=lent)

    def _with_spread(self, one: MetricDifference, recipe: str) -> MetricDifference:
        error = standard_error(one)
        if one.spread is not None or one.delta is None or error is None:
            return one
        known = list(self._of(one, recipe))
        degrees = sum(len(row.trainings) - 1 for _, row in known)
        if not degrees:
            return one
        squares = (
            row.parts.training * (len(row.trainings) - 1)
            for _, row in known
            if row.parts is not None and row.parts.training is not None
        )
        training = sum(squares) / degrees
        sources = TwoSources(2 * training, degrees, error**2, max(2, one.n))
        p = sources.p(one.delta)
        spread = RecipeSpread(
            sources=sources, trainings=(1, 1), by_seed=False, training=training, residual=0.0,
            common=error**2, borrowed=tuple(dict.fromkeys(run for run, _ in known)),
        )  # fmt: skip
        return replace(
            one, interval=sources.interval(one.delta, LEVEL),
            standard_error=sources.standard_error, p=None if math.isnan(p) else p,
            method=f"{METHOD} (spread of {degrees + len(known)} trainings borrowed)",
            detectable=sources.detectable(0.8), spread=spread,
        )  # fmt: skip

    def _of(self, one: MetricDifference, recipe: str) -> Iterator[tuple[str, RecipeRow]]:
        for run, row in self._rows:
            same = row.row.address.model == recipe + RECIPE
            if same and row.row.place == one.address.place:
                yield run, row
