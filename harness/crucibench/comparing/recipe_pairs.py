"""Two recipes compared: paired by sample and, where both sides used a seed, by seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from crucibench.comparing.cell import Key
from crucibench.comparing.cell_pairs import CellPair, ComparedSide, How, RefusedError
from crucibench.comparing.recipes import TIMED, Crossed, Recipe, RecipeCell, RecipeSide, crossed
from crucibench.comparing.results import Comparison, MetricDifference, RecipeSpread, Refusal
from crucibench.contracts.rows import Address
from crucibench.contracts.scenario import Timed
from crucibench.contracts.verdict import Verdict
from crucibench.metrics.scoring import cluster_codes
from crucibench.stats.two_way import METHOD, TwoSources, difference_of_recipes, two_way

FEWEST_SHARED = 3
"""Fewer shared seeds, of more trainings, show too badly how far pairs differ: none is paired."""

FEW = "a recipe is compared by two trainings or more a side, got {} and {}"


class RecipePairs:
    """The recipes of two runs, or of one."""

    def __init__(self, first: ComparedSide, second: ComparedSide, how: How) -> None:
        options = first.scorer.options
        self.first = RecipeSide(first, options)
        self.second = self.first if second is first else RecipeSide(second, options)
        self.how = how

    def compare(self, old: str, new: str, data: Mapping[str, str], found: Comparison) -> None:
        """Adds what is compared of two recipes and what is refused.

        Args:
            old: the baseline's, with ``@recipe``.
            new: the candidate's.
            data: candidate's data sets to the baseline's, where they go by another name.
            found: takes it.
        """
        for (name, of), recipe in self.second.recipes.items():
            if name != new:
                continue
            partner = self.first.recipes.get((old, data.get(of, of)))
            if partner is None:
                reason = f"the baseline has no trainings of {old} on {of}"
                found.refused.append(Refusal(f"{new}:", reason, data=of))
                continue
            self._cells(partner, recipe, found)

    def _cells(self, old: Recipe, new: Recipe, found: Comparison) -> None:
        was, now = self.first.cells(old), self.second.cells(new)
        for address, cell in now.items():
            where = f"{new.model}:{address}"
            if cell.skipped and (address not in was or was[address].skipped):
                continue
            if address not in was:
                reason = f"the baseline has no {address} of {old.model} on {new.data}"
                found.refused.append(Refusal(where, reason, data=new.data))
                continue
            try:
                found.differences.extend(self._differences(was[address], cell, found.notes))
            except RefusedError as refused:
                found.refused.append(Refusal(where, str(refused), refused.field, new.data))
            found.notes.extend(dict.fromkeys([*was[address].lost, *cell.lost]))

    def _differences(
        self, was: RecipeCell, now: RecipeCell, notes: list[str]
    ) -> Iterator[MetricDifference]:
        counts = len(was.files), len(now.files)
        if min(counts) < 2:
            raise RefusedError(FEW.format(*counts))
        pair = CellPair(
            first=self.first.side, second=self.second.side, was=was.files[0], now=now.files[0],
            how=self.how, notes=notes,
        )  # fmt: skip
        planned = pair.planned()
        if isinstance(planned[1].scenario, Timed):
            raise RefusedError(TIMED)
        old, new = self.first.numbers(was), self.second.numbers(now)
        options, stream = self.first.options, planned[1].scenario.stream
        infos = {info.id: info for info in planned[1].scenario.metrics}
        verdicts = _worst(was), _worst(now)
        for key in dict.fromkeys(key for numbers in new[1] for key in numbers):
            address = Address(
                now.recipe.model, now.files[0].suite, now.files[0].scenario, key[1], key[0], key[2]
            )
            if not self.how.wants(address) or not any(key in numbers for numbers in old[1]):
                continue
            sides = [crossed(*of, key, options, stream) for of in (old, new)]
            difference = MetricDifference(
                address=address, data=now.recipe.data, direction=infos[key[0]].direction,
                baseline=None, candidate=None, delta=None, interval=None, standard_error=None,
                p=None, method="", n=0, verdicts=verdicts,
                biased=self._biased(self.first, was, key) or self._biased(self.second, now, key),
            )  # fmt: skip
            if isinstance(sides[0], str) or isinstance(sides[1], str):
                reason = next(side for side in sides if isinstance(side, str))
                yield replace(difference, reason=reason)
            else:
                found = (sides[0], sides[1])
                yield self._measured(difference, found, pair, (was.recipe, now.recipe))

    def _measured(
        self,
        difference: MetricDifference,
        sides: tuple[Crossed, Crossed],
        pair: CellPair,
        recipes: tuple[Recipe, Recipe],
    ) -> MetricDifference:
        samples = [side.samples for side in sides]
        paired = pair.paired(*samples)
        n = len(paired.rows_a)
        of = samples[0].take(paired.rows_a)
        strata = sides[0].units.strata
        units = replace(
            sides[0].units, n=n, clusters=cluster_codes(of.clusters),
            strata=None if strata is None else strata[paired.rows_a],
        )  # fmt: skip
        was, now = (
            side.table(rows, units)
            for side, rows in zip(sides, (paired.rows_a, paired.rows_b), strict=True)
        )
        if was.shape[1] < 2 or not (np.isfinite(was).all() and np.isfinite(now).all()):
            reason = "undefined for a training of it, without some samples, or of one unit alone"
            return replace(difference, n=n, reason=reason)
        values = float(was.mean()), float(now.mean())
        if was.shape[1] != now.shape[1]:
            reason = "one side has derivatives of it and the other has none"
            return replace(
                difference, baseline=values[0], candidate=values[1], delta=values[1] - values[0],
                n=n, reason=reason,
            )  # fmt: skip
        first, second = _shared(*recipes)
        shared, by_seed = len(first), len(first) == len(was) == len(now)
        was, now = (
            np.concatenate([table[rows], np.delete(table, rows, axis=0)])
            for table, rows in ((was, first), (now, second))
        )
        delta, sources = difference_of_recipes(was, now, shared=shared)
        level = self.how.settings.level
        spread = _spread(was, now, sources, by_seed=by_seed)
        interval = sources.interval(delta, level)
        seeds = f", {'' if by_seed else f'{shared} '}paired by seed" if shared else ""
        p = sources.p(delta)
        return replace(
            difference, baseline=values[0], candidate=values[1], delta=delta, interval=interval,
            standard_error=sources.standard_error or None, p=None if math.isnan(p) else p,
            method=f"{METHOD} ({len(was)} and {len(now)} trainings{seeds})", n=n,
            detectable=sources.detectable(0.8) if interval else None, spread=spread,
            reason="" if interval else "neither trainings nor samples show any spread",
        )  # fmt: skip

    def _biased(self, side: RecipeSide, cell: RecipeCell, key: Key) -> bool:
        file = cell.files[0]
        address = Address(file.model, file.suite, file.scenario, key[1], key[0], key[2])
        return (file.data, str(address)) in side.side.biased


def _shared(was: Recipe, now: Recipe) -> tuple[list[int], list[int]]:
    """Returns which trainings of both were made with the same seeds, in one order."""
    old, new = was.seeds or (), now.seeds or ()
    both = sorted({*old} & {*new})
    if len(both) < FEWEST_SHARED and not len(both) == len(old) == len(new):
        return [], []
    return [old.index(seed) for seed in both], [new.index(seed) for seed in both]


def _spread(
    was: np.ndarray, now: np.ndarray, sources: TwoSources, *, by_seed: bool
) -> RecipeSpread:
    tables = [two_way(now - was)] if by_seed else [two_way(was), two_way(now)]
    residuals = [table.residual / table.columns for table in tables]
    residual = sum(part / table.trainings for part, table in zip(residuals, tables, strict=True))
    return RecipeSpread(
        sources=sources, trainings=(len(was), len(now)), by_seed=by_seed,
        training=float(np.mean([table.training for table in tables])),
        residual=float(np.mean(residuals)),
        common=max(0.0, sources.samples - residual),
    )  # fmt: skip


def _worst(cell: RecipeCell) -> str:
    verdicts = {file.verdict or Verdict.VALID for file in cell.files}
    order = (Verdict.INVALID, Verdict.SUSPECT, Verdict.VALID)
    return str(next(one for one in order if one in verdicts))
