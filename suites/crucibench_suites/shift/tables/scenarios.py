"""The scenario of one perturbation of tables, and which of them a run has."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Need, Scenario, Selection, StageView, Work
from crucibench.contracts.suite import SuiteRequest
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_suites.shift.config import ShiftConfig
from crucibench_suites.shift.inputs import Inputs
from crucibench_suites.shift.perturbed.kinds import (
    DEFAULT_SEVERITIES,
    LIMITS,
    Perturbation,
    chosen,
)
from crucibench_suites.shift.perturbed.scenario import Perturbed
from crucibench_suites.shift.perturbed.summary import PerturbedSummary
from crucibench_suites.shift.perturbed.table_catalogue import GAPS, OF_CATEGORIES, OF_NAMES, TABLE
from crucibench_suites.shift.points import point_of
from crucibench_suites.shift.tables.populations import Population

if TYPE_CHECKING:
    import pandas as pd

_BY_NAME = {one.name: one for one in TABLE}
_NUMBER = re.compile(r"u?int|float|double|half|decimal", re.IGNORECASE)
_SPREAD_SAMPLES = 20_000
"""At most so many samples of the training set are looked at."""


@dataclass(frozen=True, kw_only=True)
class PerturbedTable(Perturbed):
    """Changes values of every row at several severities, from one set of draws.

    Only inputs: targets, and groups as they are recorded, stay what they are. What a column may
    hold is learnt from the training set, where there is one, else from the test set.
    """

    @classmethod
    def of(
        cls, suite: str, kind: Perturbation, severities: Sequence[int], limit: int | None, *,
        spread: str, protect: Sequence[str],
    ) -> PerturbedTable:  # fmt: skip
        """Returns the scenario of a perturbation.

        Args:
            suite: the suite's name.
            kind: which perturbation.
            severities: of 1 to 5.
            limit: at most so many samples.
            spread: the role that tells what columns hold.
            protect: columns that are left alone.
        """
        needs = [Need(alias="clean", cell="pass/test")]
        needs.append(Need(alias="spread", cell=f"{suite}/inputs/{spread}"))
        if kind.name in OF_CATEGORIES and spread != "test":
            needs.append(Need(alias="inputs", cell=f"{suite}/inputs/test"))
        return cls(
            suite=suite,
            name=kind.name,
            parameters={
                **kind.parameters(severities),
                "spread": f"of the role {spread}",
                "protect": sorted(protect),
            },
            points=("", *(point_of(severity) for severity in severities)),
            limit=limit,
            needs=tuple(needs),
        )

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Says what the columns hold, and for each sample where other categories stand."""
        from crucibench_suites.shift.tables.looking import look

        seen = view()
        everything = np.ones(len(seen.samples), dtype=np.bool_)
        return Selection(everything, look(seen, categories=self.name in OF_CATEGORIES))

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record a sample and severity."""
        from crucibench_suites.shift.perturbed.answering import ask_perturbed
        from crucibench_suites.shift.tables.looking import others_of, uncarried
        from crucibench_suites.shift.tables.perturbing import Table, perturbed_tables

        def load(rows: Sequence[int]) -> pd.DataFrame:
            if context.load is None:
                raise ValueError("a category can't be swapped without the other samples")
            frame: pd.DataFrame = context.load(rows).inputs
            return frame

        frame = work.batch.inputs
        table = Table(
            frame, work.batch.ids, uncarried(work.carry), self.parameters["protect"],
            others_of(work.carry, sorted(frame.columns)), load,
        )  # fmt: skip
        variants = perturbed_tables(_BY_NAME[self.name], table, context.draws, self.severities)
        return ask_perturbed(variants, work, context)


@dataclass(frozen=True, kw_only=True)
class PerturbedTableGaps(PerturbedTable):
    """Takes values away, which a model meets as it would meet any missing value."""

    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.ANY_INPUT, Capability.MISSING_VALUES}
    )


def table_scenarios(request: SuiteRequest) -> Sequence[Scenario]:
    """Returns the scenarios for tables."""
    config = request.config if isinstance(request.config, ShiftConfig) else ShiftConfig()
    _check_columns(config, request)
    severities = config.severities or DEFAULT_SEVERITIES[request.preset]
    limit = config.samples or LIMITS[request.preset]
    spread = "train" if "train" in request.data.counts else "test"
    cells = [
        (PerturbedTableGaps if kind.name in GAPS else PerturbedTable).of(
            "shift", kind, severities, limit, spread=spread, protect=config.protect
        )
        for kind in chosen(TABLE, config.tables, request.preset)
        if _there(kind, request, config.protect)
    ]
    populations = [
        Population.of("shift", shape, column, severities)
        for column in config.columns
        for shape in ("tail", "tilt")
    ]
    found: list[Scenario] = []
    if cells and spread == "train":
        found.append(Inputs.of("shift", "train", _SPREAD_SAMPLES))
    if cells or populations:
        found.append(Inputs.of("shift", "test"))
    # Not every model can meet gaps: means over the others are of the same for all.
    joined = [cell for cell in cells if cell.name not in GAPS] or cells
    summary = [PerturbedSummary.of("shift", joined)] if joined else []
    return [*found, *cells, *summary, *populations]


def _check_columns(config: ShiftConfig, request: SuiteRequest) -> None:
    held, data = request.data.features, request.data.name
    for setting, names in (("columns", config.columns), ("protect", config.protect)):
        for name in names:
            if name not in held:
                raise InputError(f"shift.{setting}: {unknown(f'column of {data}', name, held)}")
    for name in config.columns:
        if not _NUMBER.match(held[name]):
            raise InputError(
                f"shift.columns: expected numeric columns, {name!r} of {data} holds {held[name]}"
            )


def _there(kind: Perturbation, request: SuiteRequest, protect: Sequence[str]) -> bool:
    """Whether there is a column that it could be done to, as far as types tell."""
    types = [held for name, held in request.data.features.items() if name not in protect]
    numbers = sum(bool(_NUMBER.match(held)) for held in types)
    if kind.name in GAPS:
        return bool(types)
    if kind.name in (*OF_CATEGORIES, *OF_NAMES):
        return numbers < len(types)
    return numbers > 0
