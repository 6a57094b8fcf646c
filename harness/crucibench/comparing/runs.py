"""Compare two runs sample by sample, from their records: no model, no data, no torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from glob import escape

import pandas as pd

from crucibench.comparing.cell_pairs import CellPair, ComparedSide, How, RefusedError
from crucibench.comparing.recipe_pairs import RecipePairs
from crucibench.comparing.recipes import recipes_of
from crucibench.comparing.resampled import ResamplingSettings
from crucibench.comparing.results import Comparison, MetricDifference, Refusal
from crucibench.contracts.rows import RECIPE, parse_address
from crucibench.stats import holm
from crucibench.store.cells import CellFile
from crucibench.store.manifest import require_unchanged
from crucibench.store.pack import opened_together
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown


def compare_runs(
    baseline: Run,
    candidate: Run,
    *,
    level: float = 0.95,
    intersect: bool = False,
    models: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
) -> Comparison:
    """Compares every model of one run with its baseline in another, or in the same.

    Args:
        baseline: a run or a pack.
        candidate: another, or the same.
        level: of the intervals.
        intersect: whether other samples are fine: then the common ones are compared, and notes say
            how many they are.
        models: candidate's name to baseline's, of recipes with ``@recipe``; by default models and
            recipes of the same name, or, where each side has one, that. Trainings of recipes that
            are compared are not compared one by one.
        metrics: patterns of addresses (``*/top-1``, ``cnn:accuracy/*``) of the numbers wanted; the
            part before the model's colon may be left out. Empty for all.

    Returns:
        What was compared, and what was refused and why.

    Raises:
        InputError: if there is no such model, no two models that belong together, or a suite of a
            run is not installed.
        UnreadableError: if a run is not finished, or not as its manifest says.
    """
    for run in {baseline.root: baseline, candidate.root: candidate}.values():
        if not run.packed:  # a pack is checked when it is opened
            require_unchanged(run.layout)
    baseline, candidate = opened_together(baseline, candidate)
    pairs = model_pairs(baseline, candidate, models)
    first = ComparedSide(baseline)
    second = first if candidate is baseline else ComparedSide(candidate, beside=first)
    how = How(settings=ResamplingSettings(level=level), intersect=intersect, metrics=tuple(metrics))
    found = Comparison()
    recipes = RecipePairs(first, second, how)
    for name, partner in pairs.items():
        models_of = _Models(first, second, partner, name, how)
        if name.endswith(RECIPE):
            recipes.compare(partner, name, models_of.data(), found)
        else:
            models_of.compare(found)
    found.notes.extend(
        f"run {run.id} asked until its policy was decided: intervals and p-values are those of a "
        "number of samples that was fixed, and too sure"
        for run in {baseline.root: baseline, candidate.root: candidate}.values()
        if run.stopped_early
    )
    primary = {place for run in (baseline, candidate) for place in headline_places(run)}
    if found.code:
        found.notes.append(found.code_sentence)
    return replace(found, differences=_adjusted(found.differences, primary))


def tables_against(
    baseline: Run, candidate: Run, model: str = ""
) -> dict[str, Mapping[str, pd.DataFrame]]:
    """Returns the tables of a run that say what changed against a baseline, by cell and name.

    Args:
        baseline: a run or a pack.
        candidate: another, or the same.
        model: of the baseline, with which every other is compared; "" for those of the same name.

    Raises:
        InputError: if no two cells with such tables may be compared; it says why.
    """
    baseline, candidate = opened_together(baseline, candidate)
    names = {name: model for name, _ in candidate.models}
    if baseline.root == candidate.root:
        names.pop(model, None)
    first = ComparedSide(baseline)
    second = first if baseline.root == candidate.root else ComparedSide(candidate, beside=first)
    how = How(settings=ResamplingSettings())
    found: dict[str, Mapping[str, pd.DataFrame]] = {}
    why = f"no cell of run {candidate.id} has a table that says so"
    for new, old in model_pairs(baseline, candidate, names if model else None).items():
        was, data = first.cells(old), _Models(first, second, old, new, how).data()
        for (name, address), file in second.cells(new).items():
            partner = was.get((data.get(name, name), address))
            if partner is None or not second.planned(file).scenario.compared_tables:
                continue
            pair = CellPair(first=first, second=second, was=partner, now=file, how=how)
            try:
                before, after = (
                    side.scorer.evidence(cell, side.run.cells)
                    for side, cell in zip((first, second), pair.planned(), strict=True)
                )
            except RefusedError as refused:
                why = f"{new}:{address}: {refused}"
                continue
            found[file.cell] = second.planned(file).scenario.tables_against(after, before)
    if not found:
        raise InputError(f"nothing to say of what changed against run {baseline.id}: {why}")
    return found


def compare_models(
    side: ComparedSide, data: str, pair: tuple[str, str], places: Collection[str], *, level: float
) -> list[MetricDifference]:
    """Compares two models, or recipes, of one run on one data set, in some numbers, uncorrected.

    Args:
        side: the run.
        data: the data set.
        pair: two models; differences are the second less the first.
        places: ``SUITE/SCENARIO[POINT]/METRIC[@GROUP]`` of the numbers wanted; other cells are not
            read.
        level: of the intervals.
    """
    addresses = [parse_address(f"{pair[1]}:{place}") for place in places]
    cells = {f"{address.suite}/{address.scenario}" for address in addresses}
    how = How(
        settings=ResamplingSettings(level=level),
        metrics=tuple(escape(str(one)) for one in addresses),
    )
    if pair[1].endswith(RECIPE):
        among = Comparison()
        RecipePairs(side, side, how).compare(*pair, {}, among)
        return [one for one in among.differences if one.data == data]
    was, now = side.cells(pair[0]), side.cells(pair[1])
    found: list[MetricDifference] = []
    for key in ((data, cell) for cell in sorted(cells)):
        if key not in was or key not in now:
            continue
        two = CellPair(first=side, second=side, was=was[key], now=now[key], how=how, notes=[])
        try:
            found.extend(two.differences())
        except RefusedError:
            continue  # what may not be compared bears no claim
    return found


def model_pairs(
    baseline: Run, candidate: Run, models: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Returns which model is compared with which: candidate's name to baseline's.

    Raises:
        InputError: if a run has no such model, or no two belong together.
    """
    old, new = (
        list(dict.fromkeys(name for name, _ in run.models)) for run in (baseline, candidate)
    )
    recipes = [replicated(run) for run in (baseline, candidate)]
    if models is not None:
        for name, partner in models.items():
            for side, known in ((name, [*new, *recipes[1]]), (partner, [*old, *recipes[0]])):
                if side not in known:
                    raise InputError(unknown("model", side, known))
            if name.endswith(RECIPE) != partner.endswith(RECIPE):
                raise InputError(f"a recipe and a model are not compared: {partner!r} and {name!r}")
        return dict(models)
    if baseline.root == candidate.root:
        raise InputError(
            "a run compared with itself needs two models: "
            f"crucibench compare RUN --models {','.join([*new, 'OTHER'][:2])}"
        )
    of_recipes = name_pairs(recipes[0].keys(), recipes[1].keys())
    inside = [set[str](), set[str]()]
    for one, other in of_recipes.items():
        inside[0] |= recipes[0][other]
        inside[1] |= recipes[1][one]
    common = of_recipes | {
        name: name for name in new if name in old and not (name in inside[0] and name in inside[1])
    }
    if not common and len(old) == len(new) == 1:
        return {new[0]: old[0]}
    if not common:
        raise InputError(
            f"the runs have no model of the same name (baseline: {', '.join(old)}; candidate: "
            f"{', '.join(new)}); say which belong together with RUN:MODEL"
        )
    return common


def replicated(run: Run) -> dict[str, set[str]]:
    """Returns the models of each recipe, by its name with ``@recipe``, that has two or more."""
    found: dict[str, set[str]] = {}
    for (name, _), recipe in recipes_of(run).items():
        found.setdefault(name, set()).update(one.name for one in recipe.trainings)
    return {name: models for name, models in found.items() if len(models) > 1}


def name_pairs(old: Set[str], new: Set[str]) -> dict[str, str]:
    """Returns which belong together, new to old: those of one name, or the only one of each."""
    if not old & new and len(old) == len(new) == 1:
        return dict(zip(new, old, strict=True))
    return {name: name for name in sorted(old & new)}


def _other_code(was: CellFile, now: CellFile) -> list[str]:
    """Returns the packages that both cells' records come from, in different states."""
    old, new = (
        dict(file.numerics.fields.get("code", {})) if file.numerics else {} for file in (was, now)
    )
    return [name for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]


class _Models:
    """One model of the candidate and its partner."""

    def __init__(
        self, first: ComparedSide, second: ComparedSide, old: str, new: str, how: How
    ) -> None:
        self.first = first
        self.second = second
        self.old = old
        self.new = new
        self.how = how

    def _marked(
        self, differences: Iterable[MetricDifference], was: CellFile
    ) -> Iterator[MetricDifference]:
        for one in differences:
            old = was.data, str(one.address._replace(model=self.old))
            new = one.data, str(one.address)
            yield replace(one, biased=old in self.first.biased or new in self.second.biased)

    def compare(self, found: Comparison) -> None:
        """Adds what is compared and what is refused."""
        was, now = self.first.cells(self.old), self.second.cells(self.new)
        data = self.data()
        partners = {(data.get(name, name), address) for name, address in now}
        for (name, address), file in now.items():
            cell = f"{self.new}:{address}"
            partner = was.get((data.get(name, name), address))
            if partner is None:
                reason = f"the baseline has no {address} of {self.old} on {name}"
                found.refused.append(Refusal(cell, reason, data=name))
                continue
            found.code.extend(one for one in _other_code(partner, file) if one not in found.code)
            pair = CellPair(
                first=self.first, second=self.second, was=partner, now=file, how=self.how,
                notes=found.notes,
            )  # fmt: skip
            try:
                found.differences.extend(self._marked(pair.differences(), partner))
            except RefusedError as refused:
                found.refused.append(Refusal(cell, str(refused), refused.field, name))
            except Exception as error:
                # One cell that can't be read must not take the others down.
                reason = f"it can't be compared: {type(error).__name__}: {error}"
                found.refused.append(Refusal(cell, reason, "records", name))
        for name, address in sorted(was.keys() - partners):
            reason = f"the candidate has no {address} of {self.new} on {name}"
            found.refused.append(Refusal(f"{self.old}:{address}", reason, data=name))

    def data(self) -> dict[str, str]:
        """Returns candidate's data sets to the baseline's, where they go by another name."""
        was, now = (
            [(file.data, "") for file in side.run.cells.values()]
            if name.endswith(RECIPE)
            else side.cells(name)
            for side, name in ((self.first, self.old), (self.second, self.new))
        )
        old = [*dict.fromkeys(name for name, _ in was)]
        new = [*dict.fromkeys(name for name, _ in now)]
        prints = {
            self.first.run.cards[name].fingerprint: name
            for name in old
            if name in self.first.run.cards
        }
        pairs: dict[str, str] = {}
        for name in new:
            card = self.second.run.cards.get(name)
            if name in old or card is None:
                continue
            if card.fingerprint in prints:
                pairs[name] = prints[card.fingerprint]
            elif len(old) == len(new) == 1:
                pairs[name] = old[0]
        return pairs


def headline_places(run: Run) -> tuple[str, ...]:
    """Returns the places of the headline numbers of a run's suites, its primary endpoints."""
    return tuple(
        f"{suite}/{place}"
        for suite, info in run.suites.items()
        for place in info.get("headline", ())
    )


def _adjusted(
    differences: Sequence[MetricDifference], primary: Collection[str]
) -> list[MetricDifference]:
    """Holm over the tests of the comparison, in three families, the primary endpoints first.

    Headline numbers are not corrected for the many others, which would drown them; these are one
    family, and numbers of single classes and groups another.
    """
    families = [
        2 if one.address.group else int(one.address.place not in primary) for one in differences
    ]
    order = sorted(range(len(differences)), key=lambda k: families[k])
    differences, families = [differences[k] for k in order], [families[k] for k in order]
    adjusted: list[float] = [math.nan] * len(differences)
    for family in range(3):
        rows = [k for k, own in enumerate(families) if own == family]
        p_values = [math.nan if (p := differences[k].p) is None else p for k in rows]
        for k, p_value in zip(rows, holm(p_values), strict=True):
            adjusted[k] = float(p_value)
    return [
        replace(one, primary=family == 0, p_adjusted=None if math.isnan(p_value) else p_value)
        for one, p_value, family in zip(differences, adjusted, families, strict=True)
    ]
