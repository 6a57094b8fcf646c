"""Trivial predictors, which look at no input: what any model must beat. Made from targets alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crucibench.comparing.cell import FormPair, measure_cell
from crucibench.comparing.cell_pairs import ComparedSide
from crucibench.comparing.resampled import ResamplingSettings
from crucibench.comparing.results import MetricDifference
from crucibench.contracts.adapter import Answer
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Address, Row
from crucibench.contracts.scenario import Derived, Scenario
from crucibench.contracts.statistic import Number, RowMetric
from crucibench.contracts.verdict import Status
from crucibench.engine.plan.plan import PlannedCell
from crucibench.metrics.scoring import rows_of
from crucibench.util.draws import Draws
from crucibench.util.names import Names


@dataclass(frozen=True, kw_only=True)
class BaselineNumber:
    """A headline number of a trivial predictor.

    Attributes:
        data: the data set.
        baseline: the predictor, e.g. ``majority class``.
        place: ``SUITE/SCENARIO[POINT]/METRIC``.
        value: raw, in the metric's unit.
        lower: the interval's lower end; None without one.
        upper: its upper end.
        n: samples.
    """

    data: str
    baseline: str
    place: str
    value: float
    lower: float | None
    upper: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A model beside a trivial predictor in one number.

    Attributes:
        baseline: the predictor.
        difference: the model less the predictor, on the same samples.
    """

    baseline: str
    difference: MetricDifference


class Baselines:
    """The trivial predictors of a run's data sets, scored as its models are."""

    def __init__(self, side: ComparedSide, places: Collection[str]) -> None:
        """Takes a run, and the places of the numbers that are wanted."""
        self._side = side
        self._places = places
        self._answers: dict[tuple[str, str], tuple[Names, Mapping[str, Answer]]] = {}

    def numbers(self, data: str, models: Collection[str]) -> list[BaselineNumber]:
        """Returns the predictors' numbers on a data set, from the first model's samples."""
        for cell, evidence in self._cells(data, models):
            found = []
            for name, replaced in self._trivial(data, evidence):
                numbers = self._wanted(cell, replaced)
                rows = rows_of(numbers, cell.scenario, replaced)
                found += [
                    BaselineNumber(
                        data=data, baseline=name, place=_place(cell.scenario, row),
                        value=row.value, lower=row.lower, upper=row.upper, n=row.n,
                    )
                    for row in rows
                    if row.value is not None
                ]  # fmt: skip
            return found
        return []

    def beside(self, data: str, model: str, *, level: float) -> list[Beside]:
        """Returns how a model differs from each predictor, on the samples that it answered."""
        return [
            one
            for cell, evidence in self._cells(data, [model])
            for name, replaced in self._trivial(data, evidence)
            for one in self._differences(cell, (name, replaced), evidence, level)
        ]

    def _differences(
        self, cell: PlannedCell, trivial: tuple[str, Evidence], own: Evidence, level: float
    ) -> Iterator[Beside]:
        name, replaced = trivial
        metrics = {metric.id: metric for metric in cell.scenario.metrics}
        first, second = (
            {(one.metric, one.point, one.group): one for one in self._wanted(cell, evidence)}
            for evidence in (replaced, own)
        )
        pairs = {
            key: FormPair(first[key].form, second[key].form, metrics[key[0]].direction == "lower")
            for key in second
            if key in first and not _of_bins(second[key])
        }
        samples = own.own.samples
        clusters = None
        if samples.clusters is not None:
            clusters = pd.factorize(samples.clusters, sort=True)[0].astype("int64")
        rows = np.arange(len(samples))  # flips are counted here, not named
        measured = measure_cell(pairs, rows, clusters, ResamplingSettings(level=level))
        for (metric, point, group), one in measured.items():
            scenario = cell.scenario
            address = Address(cell.model.name, scenario.suite, scenario.name, point, metric, group)
            yield Beside(
                baseline=name,
                difference=MetricDifference(
                    address=address, data=cell.data.name, delta=one.delta,
                    direction=metrics[metric].direction, verdicts=("valid", ""), **vars(one),
                ),
            )  # fmt: skip

    def _trivial(self, data: str, evidence: Evidence) -> Iterator[tuple[str, Evidence]]:
        """Yields the evidence as each trivial predictor would have left it, one in memory."""
        passes = {alias: self._answered(data, evidence, alias) for alias in evidence.needs}
        names = dict.fromkeys(name for found in passes.values() for name in found)
        for name in names:
            yield name, replace(evidence, needs={
                alias: _as_pass(evidence, evidence.needs[alias], found[name])
                for alias, found in passes.items() if name in found
            })  # fmt: skip

    def _answered(self, data: str, evidence: Evidence, alias: str) -> Mapping[str, Answer]:
        """Returns the answers of each predictor to a role, which are those beside every model."""
        samples, task = evidence.needs[alias].samples, evidence.task
        known = self._answers.get((data, alias))
        if known is not None and known[0].column.equals(samples.names.column):
            return known[1]
        draws = Draws(evidence.options.seed, "baselines")
        uniform = draws.uniform(samples.names, "answer", (1,))[:, 0]
        found = task.definition.baselines(samples.targets, task, uniform)
        self._answers[data, alias] = samples.names, found
        return found

    def _wanted(self, cell: PlannedCell, evidence: Evidence) -> list[Number]:
        return [
            number
            for number in cell.scenario.numbers(evidence)
            if number.make is not None
            and number.units is None
            and _place(cell.scenario, number) in self._places
        ]

    def _cells(self, data: str, models: Collection[str]) -> Iterator[tuple[PlannedCell, Evidence]]:
        """Yields each model's cell that the task's headline metric comes from."""
        for model in models:
            for (of, _), file in self._side.cells(model).items():
                if of != data or file.status is not Status.OK:
                    continue
                cell = self._side.planned(file)
                headline = cell.data.task.definition.headline
                place = f"{cell.scenario.suite}/{cell.scenario.name}/{headline}"
                if isinstance(cell.scenario, Derived) and place in self._places:
                    yield cell, self._side.scorer.evidence(cell, self._side.run.cells)


def _of_bins(number: Number) -> bool:
    """Whether a number is a binned error, in which a constant answer is good and says nothing."""
    return isinstance(number.form, RowMetric) and number.form.bias != "none"


def _as_pass(evidence: Evidence, cell: CellEvidence, answer: Answer) -> CellEvidence:
    scores = answer.scores
    columns = {
        "id": cell.samples.names.column,
        "prediction": evidence.task.definition.prediction(answer),
        **({} if scores is None else {"scores": scores}),
    }
    return replace(
        cell,
        records=Records(to_table(columns)),
        model=replace(
            cell.model,
            capabilities=frozenset({Capability.LABELS if scores is None else Capability.SCORES}),
            score_kind="probabilities",
            decision=replace(cell.model.decision, threshold=0.5, thresholds=(), chosen_on=""),
        ),
    )


def _place(scenario: Scenario, number: Number | Row) -> str:
    address = Address("", scenario.suite, scenario.name, number.point, number.metric, number.group)
    return address.place
