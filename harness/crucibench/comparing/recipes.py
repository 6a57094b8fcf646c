"""Recipes: numbers of what trains a model, from several of its trainings, read from their records.

Models of one `group` differ by their training seed alone. Their recipe's number is the mean over
trainings; its interval speaks of the next training on the next samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.comparing.cell import Key
from crucibench.comparing.cell_pairs import ComparedSide, RefusedError, StoredRow
from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import ModelInfo, ScoringOptions
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import RECIPE, Address, MetricRow
from crucibench.contracts.scenario import Timed
from crucibench.contracts.statistic import Number, RowMetric, Units
from crucibench.contracts.verdict import Status, Verdict
from crucibench.metrics.forms import Aligner
from crucibench.metrics.scoring import cluster_codes
from crucibench.metrics.trainings import SampleUnits, table_of_trainings
from crucibench.passes.scenario import SUITE as PASS
from crucibench.stats.two_way import Components, TwoSources, components_of_one, two_way
from crucibench.store.cells import CellFile
from crucibench.store.documents import read_document
from crucibench.store.run import Run
from crucibench.util.atomic import write_json
from crucibench.util.errors import UnreadableError

Floats = NDArray[np.float64]

_FORMAT = 2
_WORST_FIRST = (Verdict.INVALID, Verdict.SUSPECT, Verdict.VALID)

FEWEST = 5
"""Of fewer trainings an interval covers less than it says where one seed in many goes wrong."""

ONE_TRAINING = (
    "one training does not show how far trainings differ: add others, with replicate_of and seed"
)
ASKED_ONCE = (
    "residual holds what is drawn anew in each asking, too: no training was asked several times "
    "(repeat), or all its answers agree"
)
SPLIT_OF_ONE = (
    "of one training: samples holds what samples and trainings do together, and nothing shows what "
    "trainings do"
)
TIMED = "a speed is of a machine in a session: no recipe has one"


@dataclass(frozen=True)
class Recipe:
    """The trainings of a recipe that answered one data set.

    Attributes:
        name: what the models share.
        data: the data set.
        trainings: in the order of their seeds, those without one last.
    """

    name: str
    data: str
    trainings: tuple[ModelInfo, ...]

    @property
    def model(self) -> str:
        """What its numbers are called: the name with ``@recipe``."""
        return self.name + RECIPE

    @property
    def seeds(self) -> tuple[int, ...] | None:
        """The seeds, or None where one is not known."""
        seeds = [one.seed for one in self.trainings if one.seed is not None]
        return tuple(seeds) if len(seeds) == len(self.trainings) else None


class Training(NamedTuple):
    """One training's number: its model, seed, and value."""

    model: str
    seed: int | None
    value: float


@dataclass(frozen=True)
class RecipeRow:
    """A recipe's number.

    Attributes:
        row: value, interval and estimand, as a model's row has them.
        trainings: what it is the mean of.
        parts: the variance of one training's number by source; None where it is not known.
    """

    row: MetricRow
    trainings: tuple[Training, ...] = field(default=())
    parts: Components | None = None

    @property
    def unsplit(self) -> str:
        """Why a part of the variance is missing; "" where none is, or all are."""
        if self.parts is None:
            return ""
        return ASKED_ONCE if self.parts.repeat is None else SPLIT_OF_ONE * (not self.trainings)


def recipes_of(run: Run) -> dict[tuple[str, str], Recipe]:
    """Returns the recipes of a run by (name with ``@recipe``, data set)."""
    members: dict[tuple[str, str], list[ModelInfo]] = {}
    for (_, data), model in run.models.items():
        if model.group:
            members.setdefault((model.group, data), []).append(model)
    found = [
        Recipe(name, data, tuple(sorted(of, key=_order))) for (name, data), of in members.items()
    ]
    return {(recipe.model, recipe.data): recipe for recipe in found}


def contenders_of(run: Run, data: str) -> dict[str, tuple[str, ...]]:
    """Returns what is compared on a data set: models, and recipes in place of their trainings.

    By the name of each, ``@recipe`` with a recipe's, the models behind it. A recipe of one training
    is that model.
    """
    found: dict[str, tuple[str, ...]] = {}
    of_recipe = {
        model.name: recipe
        for recipe in recipes_of(run).values()
        if recipe.data == data and len(recipe.trainings) > 1
        for model in recipe.trainings
    }
    for name, of in run.models:
        if of == data:
            recipe = of_recipe.get(name)
            label = name if recipe is None else recipe.model
            found[label] = (*found.get(label, ()), name)
    return found


def _order(model: ModelInfo) -> tuple[float, str]:
    return (math.inf if model.seed is None else model.seed, model.name)


def recipe_rows(run: Run) -> tuple[RecipeRow, ...]:
    """Returns the numbers of a finished run's recipes: as stored, or made from records and stored.

    They need neither models nor data. A pack's are not stored.
    """
    if not run.finished or not recipes_of(run):
        return ()
    path = run.layout.recipes
    if not run.packed and path.is_file():
        stored = _read(path, run)
        if stored is not None:
            return stored
    made = tuple(RecipeSide(ComparedSide(run)).rows())
    if not run.packed:
        write_json(path, {"format": _FORMAT, "of": run.digest, "rows": [asdict(r) for r in made]})
    return made


def recipe_frame(run: Run) -> pd.DataFrame:
    """Returns `recipe_rows` as a table, a row a number, with the variance by source.

    ``sd_training``, ``sd_samples``, ``sd_residual`` (of samples and trainings together) and
    ``sd_repeat``, each with its interval, are standard deviations of one training's number, asked
    once, in its unit; ``unsplit`` says why one of them is missing.
    """
    records = []
    for one in recipe_rows(run):
        row, parts = one.row, one.parts
        address = row.address._asdict()
        deviations = dict.fromkeys(Components._fields) if parts is None else parts._asdict()
        records.append(
            {
                "data": row.data, **address, "value": row.value, "lower": row.lower,
                "upper": row.upper, "level": row.level, "method": row.method, "n": row.n,
                "trainings": len(one.trainings), "estimand": row.estimand, "mark": row.mark,
                "verdict": str(row.verdict), "reason": row.reason, "unsplit": one.unsplit,
                **{
                    f"sd_{name}": None if variance is None else math.sqrt(variance)
                    for name, variance in deviations.items()
                },
            }
        )  # fmt: skip
    return pd.DataFrame(records)


class RecipeCell(NamedTuple):
    """One scenario of a recipe: the cells of its trainings that ended well.

    Attributes:
        recipe: with those trainings alone.
        files: their cells.
        lost: what became of the others, as a sentence each.
        skipped: whether all of them were skipped, as planned.
    """

    recipe: Recipe
    files: tuple[CellFile, ...]
    lost: tuple[str, ...] = ()
    skipped: bool = False


class RecipeSide:
    """A run's recipes, cell by cell."""

    def __init__(self, side: ComparedSide, options: ScoringOptions | None = None) -> None:
        """Takes a run, and how numbers are made; by default as the run has it."""
        self.side = side
        self.recipes = recipes_of(side.run)
        self.options = options or side.scorer.options

    def cells(self, recipe: Recipe) -> dict[str, RecipeCell]:
        """Returns the cells of a recipe by SUITE/SCENARIO."""
        found: dict[str, list[tuple[ModelInfo, CellFile]]] = {}
        for model in recipe.trainings:
            for (data, address), file in self.side.cells(model.name).items():
                if data == recipe.data:
                    found.setdefault(address, []).append((model, file))
        cells = {}
        for address, members in found.items():
            fine = [(model, file) for model, file in members if file.status is Status.OK]
            lost = tuple(
                f"the training {model.name!r} {file.status}: {file.reason}"
                for model, file in members
                if file.status is not Status.OK
            )
            cells[address] = RecipeCell(
                Recipe(recipe.name, recipe.data, tuple(model for model, _ in fine)),
                tuple(file for _, file in fine), lost,
                all(file.status is Status.SKIPPED for _, file in members),
            )  # fmt: skip
        return cells

    def rows(self) -> list[RecipeRow]:
        """Returns all numbers of all recipes."""
        return [
            row
            for recipe in self.recipes.values()
            for cell in self.cells(recipe).values()
            if cell.files and cell.files[0].suite != PASS
            for row in _CellRows(self, cell).rows()
        ]

    def numbers(self, cell: RecipeCell) -> tuple[Samples, list[dict[Key, Number]]]:
        """Returns the samples of a cell, and each training's numbers.

        Raises:
            RefusedError: if they can't be made, or were asked about other samples.
        """
        read = [self.side.numbers(self.side.planned(file), self.options) for file in cell.files]
        samples = read[0][0]
        for file, (own, _) in zip(cell.files, read, strict=True):
            if not np.array_equal(own.ids, samples.ids):
                raise RefusedError(f"{file.model!r} was asked about other samples", "ids")
        return samples, [numbers for _, numbers in read]


class Crossed(NamedTuple):
    """One number of a recipe, training by sample.

    Attributes:
        samples: what it is of.
        numbers: a training each.
        units: what was drawn.
    """

    samples: Samples
    numbers: tuple[Number, ...]
    units: SampleUnits

    def table(
        self, rows: NDArray[np.int64] | None = None, units: SampleUnits | None = None
    ) -> Floats:
        """Returns pseudo-values, (trainings, samples); of some rows of the samples, if given."""
        return np.stack([one.mean(axis=0) for one in self.askings(rows, units)])

    def askings(
        self, rows: NDArray[np.int64] | None = None, units: SampleUnits | None = None
    ) -> list[Floats]:
        """Returns pseudo-values of each training, (askings, samples), one row where all agree."""
        n = len(self.samples)
        whole = rows is None or np.array_equal(rows, np.arange(n))
        align = Aligner(n, None if whole else rows)
        forms = [align(one.form) for one in self.numbers]
        each = [(isinstance(form, RowMetric) and form.askings) or (form,) for form in forms]
        table = table_of_trainings([one for part in each for one in part], units or self.units)
        return np.split(table, np.cumsum([len(part) for part in each])[:-1])


def crossed(
    samples: Samples, found: Sequence[Mapping[Key, Number]], key: Key, how: ScoringOptions,
    stream: str,
) -> Crossed | str:  # fmt: skip
    """Returns one number of all trainings, or why they are not crossed with samples.

    Args:
        samples: of the cell.
        found: the numbers of each training.
        key: which.
        how: the seed.
        stream: names the draw.
    """
    numbers = [one[key] for one in found if key in one and not one[key].exact]
    if len(numbers) < len(found):
        return "its scenario gives no form of it by sample"
    units = [one.units or Units(samples, "") for one in numbers]
    own = units[0].samples
    if any(not np.array_equal(own.ids, one.samples.ids) for one in units[1:]):
        return "it is of other samples in each training"
    drawn = SampleUnits(
        len(own), "/".join(filter(None, (stream, units[0].stream))), how.seed,
        cluster_codes(own.clusters), units[0].strata,
    )  # fmt: skip
    return Crossed(own, tuple(numbers), drawn)


class _CellRows:
    """The rows of a recipe in one scenario."""

    def __init__(self, side: RecipeSide, cell: RecipeCell) -> None:
        self.side = side
        self.cell = cell
        self.stored = [side.side.rows(file) for file in cell.files]
        verdicts = {file.verdict or Verdict.VALID for file in cell.files}
        self.verdict = next(one for one in _WORST_FIRST if one in verdicts)
        self.worst = next(
            file for file in cell.files if (file.verdict or Verdict.VALID) is self.verdict
        )

    def rows(self) -> list[RecipeRow]:
        planned = self.side.side.planned(self.worst)
        infos = {info.id: info for info in planned.scenario.metrics}
        why = ""
        samples: Samples | None = None
        numbers: list[dict[Key, Number]] = []
        if isinstance(planned.scenario, Timed):
            why = TIMED
        else:
            if len(self.cell.files) < 2:
                why = "; ".join([ONE_TRAINING, *self.cell.lost])
            try:
                if not why or self.cell.recipe.trainings[0].repeat > 1:
                    samples, numbers = self.side.numbers(self.cell)
            except RefusedError as error:
                why = why or str(error)
        rows = []
        for key in dict.fromkeys(key for stored in self.stored for key in stored):
            found: Crossed | str = why
            if samples is not None:
                stream = planned.scenario.stream
                found = crossed(samples, numbers, key, self.side.options, stream)
            rows.append(self._row(key, infos[key[0]], found, why))
        return rows

    def _row(self, key: Key, info: MetricInfo, found: Crossed | str, why: str) -> RecipeRow:
        own = [stored.get(key) for stored in self.stored]
        values = [one.value for one in own if one is not None and one.value is not None]
        level = self.side.options.level
        if why or len(values) < len(own):
            split = components_of_one(found.askings()[0], level) if _repeated(found) else None
            reason = why or self._undefined(own)
            return self._made(key, info, own, parts=split, reason=reason)
        trainings = tuple(
            Training(model.name, model.seed, value)
            for model, value in zip(self.cell.recipe.trainings, values, strict=True)
        )
        mean = float(np.mean(values))
        if isinstance(found, str):
            sources, parts, estimand = _apart(values), None, "recipe/ids"
            method = f"t over trainings; {found}"
        else:
            askings = found.askings()
            table = np.stack([one.mean(axis=0) for one in askings])
            if table.shape[1] < 2 or not np.isfinite(table).all():
                reason = "undefined without some groups of samples, or of one unit alone"
                return self._made(key, info, own, mean, trainings=trainings, reason=reason)
            both = two_way(table, askings)
            sources, parts = both.sources, both.components(level)
            estimand, method = "recipe/population", "two-way-t"
        interval = sources.interval(mean, level)
        if interval is None:
            reason = "neither trainings nor samples show any spread, which is no proof of precision"
            return self._made(key, info, own, mean, trainings=trainings, parts=parts, reason=reason)
        ends = (max(interval.lower, info.lower), min(interval.upper, info.upper))
        return self._made(
            key, info, own, mean, trainings=trainings, parts=parts, ends=ends, level=level,
            method=f"{method} ({len(values)} trainings)", estimand=estimand,
        )  # fmt: skip

    def _made(
        self,
        key: Key,
        info: MetricInfo,
        own: Sequence[StoredRow | None],
        value: float | None = None,
        *,
        trainings: tuple[Training, ...] = (),
        parts: Components | None = None,
        ends: tuple[float, float] | tuple[None, None] = (None, None),
        **facts: Any,
    ) -> RecipeRow:
        metric, point, group = key
        file = self.worst
        known = [one for one in own if one is not None]
        place = file.data, str(Address(file.model, file.suite, file.scenario, point, metric, group))
        facts = {"level": None, "method": "", "reason": "", **facts}
        marks = ["biased"] if place in self.side.side.biased else []
        marks += ["imprecise"] if 0 < len(trainings) < FEWEST else []
        row = MetricRow(
            data=file.data,
            address=Address(
                self.cell.recipe.model, file.suite, file.scenario, point, metric, group
            ),
            value=value, lower=ends[0], upper=ends[1],
            n=min(one.n for one in known), direction=info.direction, unit=info.unit,
            mark=", ".join(marks),
            verdict=self.verdict, cell=file.cell, key=known[0].key, run=self.side.side.run.id,
            **facts,
        )  # fmt: skip
        return RecipeRow(row, trainings, parts)

    def _undefined(self, own: Sequence[StoredRow | None]) -> str:
        missing = [
            f"of {model.name}: {'there is no such number' if one is None else one.reason}"
            for model, one in zip(self.cell.recipe.trainings, own, strict=True)
            if one is None or one.value is None
        ]
        return f"undefined {'; '.join(missing)}"


def _repeated(found: Crossed | str) -> TypeGuard[Crossed]:
    """Whether there is one training alone, and its askings show more than one answer."""
    if isinstance(found, str) or len(found.numbers) > 1:
        return False
    (table,) = found.askings()
    return min(table.shape) > 1 and bool(np.isfinite(table).all())


def _apart(values: Sequence[float]) -> TwoSources:
    """Returns the variance of a mean over trainings on the samples at hand."""
    count = len(values)
    return TwoSources(float(np.var(values, ddof=1)) / count, count - 1, 0.0, 2)


def _read(path: Any, run: Run) -> tuple[RecipeRow, ...] | None:
    """Returns stored rows; None where they are damaged, or of another state of the run."""
    try:
        stored = read_document(path)
        if stored["format"] != _FORMAT or stored["of"] != run.digest:
            return None
        return tuple(_row_of(one) for one in stored["rows"])
    except (UnreadableError, LookupError, TypeError, AttributeError, ValueError):
        return None


def _row_of(one: Mapping[str, Any]) -> RecipeRow:
    row = {**one["row"]}
    row["address"] = Address(*row["address"])
    row["verdict"] = Verdict(row["verdict"])
    parts = one["parts"]
    return RecipeRow(
        MetricRow(**row), tuple(Training(*entry) for entry in one["trainings"]),
        None if parts is None else Components(*parts),
    )  # fmt: skip
