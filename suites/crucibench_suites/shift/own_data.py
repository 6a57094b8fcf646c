"""Scenarios that corrupt nothing: shifted data of the user's own, drift, groups, populations."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import Evidence, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Need, Scenario
from crucibench.contracts.statistic import Number
from crucibench.contracts.suite import SuiteRequest
from crucibench.passes.inputs import RecordedInputs
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_suites.shift.config import ROLE, ShiftConfig
from crucibench_suites.shift.metrics import OF_DRIFT, OF_GROUPS, OF_OWN_DATA, OF_POPULATION
from crucibench_suites.shift.names import (
    DIRECTIONS,
    HERE,
    HOME,
    LEVELS,
    SIDES,
    TRAIN,
    Shape,
    class_column,
    population_point,
)

if TYPE_CHECKING:
    import pandas as pd

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class OwnData(Derived):
    """Compares a plain pass over another data set with that over the home test set.

    With labels: how good the model is there, and what it has lost. Without: estimates.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_OWN_DATA
    audits: ClassVar[tuple[str, ...]] = ("shifted-duplicates",)

    @classmethod
    def of(cls, suite: str, place: str, role: str, *, train: bool) -> OwnData:
        """Returns the scenario of the data set `place`; `train`: whether there is such a role."""
        needs = [Need(alias=HOME, cell="pass/test"), Need(alias=HERE, cell=f"pass/{role}")]
        if train:
            needs.append(Need(alias=TRAIN, cell="pass/train", optional=True))
        return cls(suite=suite, name=f"data/{place}", role=role, needs=tuple(needs))

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns the numbers of the shifted samples alone."""
        from crucibench_suites.shift.place_scoring import place_numbers

        return place_numbers(evidence)

    def score(self, evidence: Evidence) -> Scored:
        """Computes what is lost from the home test set, and estimates without labels."""
        from crucibench.metrics.scoring import rows_of
        from crucibench_suites.shift.place_scoring import home_numbers

        return Scored(rows_of(home_numbers(evidence), self, evidence))

    def outcomes(self, evidence: Evidence) -> OutcomeView | None:
        """Returns an outcome a shifted sample; None where there are no labels."""
        from crucibench_suites.shift.place_scoring import view_of_place

        return view_of_place(evidence)


@dataclass(frozen=True, kw_only=True)
class Drift(Derived):
    """Two-sample tests of inputs, predictions, confidence and features, home against here."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_DRIFT
    audits: ClassVar[tuple[str, ...]] = ("drift-samples",)

    @classmethod
    def of(
        cls, suite: str, home: RecordedInputs, here: RecordedInputs, capabilities: Set[Capability]
    ) -> Drift:
        """Returns the scenario that reads what `home` and `here` record, and passes over both."""
        features = frozenset({"features"} if Capability.FEATURES in capabilities else ())
        needs = [
            Need(alias=f"{side}/inputs", cell=scenario.address)
            for side, scenario in zip(SIDES, (home, here), strict=True)
        ]
        needs += [
            Need(alias=f"{side}/pass", cell=f"pass/{scenario.role}", outputs=features,
                 optional=True)
            for side, scenario in zip(SIDES, (home, here), strict=True)
        ]  # fmt: skip
        return cls(
            suite=suite, name=f"drift/{here.role.partition('/')[2]}", role=here.role,
            needs=tuple(needs),
        )  # fmt: skip

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.shift.drift_scoring import score_drift

        return score_drift(evidence, self.stream)


@dataclass(frozen=True, kw_only=True)
class Subpopulations(Derived):
    """Splits a plain pass by group columns, by these and the true class, and by crossings."""

    reads_groups: ClassVar[bool] = True
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_GROUPS
    audits: ClassVar[tuple[str, ...]] = ("subpopulations",)

    @classmethod
    def of(cls, suite: str, role: str, cross: Sequence[Sequence[str]]) -> Subpopulations:
        """Returns the scenario of a role; `cross` are the crossings asked for."""
        place = role.partition("/")[2]
        return cls(
            suite=suite,
            name="subpopulations" + (f"/{place}" if place else ""),
            parameters={"cross": [list(columns) for columns in cross]},
            role=role,
            needs=(Need(alias="pass", cell=f"pass/{role}"),),
        )

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns the mean over all samples, figures over groups, and each group's mean."""
        from crucibench_suites.shift.group_scoring import group_numbers

        return group_numbers(evidence, self.parameters["cross"], self.stream)

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns the worst groups, and all groups."""
        from crucibench_suites.shift.group_scoring import group_tables

        return group_tables(evidence, self.parameters["cross"], self.stream)


@dataclass(frozen=True, kw_only=True)
class Population(Derived):
    """Reads the clean pass as if the test set had more samples of a kind.

    ``tail``: only the lowest, or highest, by a column. ``tilt``: all, by importance weights that
    grow exponentially with the rank in the column.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_POPULATION
    audits: ClassVar[tuple[str, ...]] = ("effective-samples",)

    @classmethod
    def of(cls, suite: str, shape: Shape, column: str, severities: Sequence[int]) -> Population:
        """Returns the scenario of a numeric column."""
        return cls(
            suite=suite,
            name=f"{shape}/{column}",
            parameters={
                "shape": shape,
                "column": column,
                "levels": {str(at): LEVELS[shape][at - 1] for at in severities},
            },
            points=tuple(
                population_point(severity, towards)
                for severity in severities
                for towards in DIRECTIONS
            ),
            needs=(
                Need(alias="clean", cell="pass/test"),
                Need(alias="inputs", cell=f"{suite}/inputs/test"),
            ),
        )

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns the numbers of every weighting."""
        from crucibench_suites.shift.population_scoring import population_numbers

        return population_numbers(evidence, self.parameters)

    def score(self, evidence: Evidence) -> Scored:
        """Computes effective sample sizes."""
        from crucibench_suites.shift.population_scoring import effective_sizes

        return effective_sizes(evidence, self.parameters)


def data_scenarios(request: SuiteRequest) -> Sequence[Scenario] | str:
    """Returns the scenarios of groups and of its own data, or why there are none."""
    config = request.settings(ShiftConfig)
    card = request.data
    check_crossings(config.cross, card)
    scenarios: list[Scenario] = []
    if "test" not in card.counts:
        return "the data has no role 'test'"
    if not (card.task.one_class or card.task.one_number):
        what = f"classes or numbers, and {card.task.kind} answers with neither"
        for setting in ("columns", "data", "published"):
            if getattr(config, setting):
                raise InputError(f"shift.{setting}: it compares {what}")
        return f"subpopulations and data of your own compare {what}"
    if card.groups:
        scenarios.append(Subpopulations.of("shift", "test", config.cross))
    places = [name for name in config.data if ROLE + name in card.counts]
    home = RecordedInputs.of("shift", "test")
    if places:
        scenarios.append(home)
    for place in places:
        role = ROLE + place
        train = "train" in card.counts
        here = RecordedInputs.of("shift", role)
        scenarios += [
            OwnData.of("shift", place, role, train=train),
            here,
            Drift.of("shift", home, here, request.model.capabilities),
        ]
        if card.groups and role not in card.unlabelled:
            scenarios.append(Subpopulations.of("shift", role, config.cross))
    return scenarios or "the data names no groups, and shift.data names no shifted data"


def check_crossings(cross: Sequence[Sequence[str]], card: DataCard) -> None:
    """Checks that crossings name group columns of a data set.

    Raises:
        InputError: if one names a column that the data set has no groups of.
    """
    known = list(card.groups)
    if card.task.one_class:
        known.append(class_column(known))
    for name in (name for columns in cross for name in columns):
        if name not in known:
            problem = unknown(f"group column of {card.name}", name, known)
            raise InputError(f"shift.cross: {problem}")
