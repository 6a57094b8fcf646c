"""Recipes in a report: a row each, with its trainings inside and where their variance lies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from markupsafe import Markup

from crucibench.comparing.recipes import RecipeRow, recipe_rows, recipes_of
from crucibench.comparing.runs import headline_places
from crucibench.report.format import show_number
from crucibench.report.numbers import ShownMetric
from crucibench.report.plots import trainings_svg
from crucibench.store.run import Run
from crucibench.util.errors import CrucibenchError

SOURCES = ("training", "samples", "both")
"""What the parts of a variance are called: of trainings, of samples, and of what they do together,
for each sample and training."""


class RecipeView(NamedTuple):
    """A recipe's headline number.

    Attributes:
        data: the data set.
        recipe: its name, without ``@recipe``.
        metric: what the number is, with its scenario.
        value: as text; "" where there is none.
        interval: likewise.
        trainings: how many it is the mean of.
        spread: the SD between trainings with its interval, as text; "" where it is not known.
        reason: why something is missing.
        picture: the trainings, as SVG; "" where there is no number.
    """

    data: str
    recipe: str
    metric: str
    value: str
    interval: str
    trainings: int
    spread: str
    reason: str
    picture: Markup


def recipe_views(run: Run, metrics: Mapping[tuple[str, str], ShownMetric]) -> list[RecipeView]:
    """Returns the headline numbers of a run's recipes, in the order of data and suites."""
    places = {place: position for position, place in enumerate(headline_places(run))}
    try:
        rows = [one for one in recipe_rows(run) if one.row.place in places]
    except CrucibenchError as error:
        # A report must come out whatever is wrong with a suite's numbers, and say so.
        return [
            RecipeView(data, recipe.name, "", "", "", len(recipe.trainings), "", str(error),
                       Markup(""))
            for (_, data), recipe in recipes_of(run).items()
        ]  # fmt: skip
    rows.sort(key=lambda one: (one.row.data, one.row.model, places[one.row.place]))
    return list(_views(rows, metrics))


def _views(
    rows: Iterable[RecipeRow], metrics: Mapping[tuple[str, str], ShownMetric]
) -> Iterable[RecipeView]:
    for one in rows:
        row, address = one.row, one.row.address
        metric = metrics[address.suite, address.metric]
        where = f"{address.suite}/{address.scenario}" + (
            f" {address.point}" if address.point else ""
        )
        name = f"{metric.name}, {where}"
        value = interval = spread = ""
        if row.value is not None:
            found = metric.show(row)
            value = " ".join(filter(None, (found.value, metric.shown_unit)))
            interval = found.interval
        if one.parts is not None:
            ends = (one.parts.training, one.parts.training_lower, one.parts.training_upper)
            shown = show_number(*map(math.sqrt, ends), percent=metric.percent)
            spread = f"{shown.value} {shown.interval}"
        yield RecipeView(
            row.data, address.model.rpartition("@")[0], name, value, interval, len(one.trainings),
            spread, row.reason, _picture(one, metric, name),
        )  # fmt: skip


def _picture(one: RecipeRow, metric: ShownMetric, name: str) -> Markup:
    if not one.trainings:
        return Markup("")
    factor = 100.0 if metric.percent else 1.0
    ends = one.row.interval
    parts = one.parts
    variances = [] if parts is None else [parts.training, parts.samples, parts.residual]
    # Escaped where it is drawn.
    return Markup(
        trainings_svg(
            [factor * training.value for training in one.trainings],
            None if ends is None else (factor * ends[0], factor * ends[1]),
            list(zip(SOURCES, variances, strict=False)),
            x=" ".join(filter(None, (metric.name, metric.shown_unit))),
            alt=f"{name}: {len(one.trainings)} trainings of one recipe",
        )
    )
