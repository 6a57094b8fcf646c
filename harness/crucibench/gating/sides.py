"""What a gate reads of a run: its numbers by address, its models, and the cells that broke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from crucibench.comparing.recipes import recipe_rows, recipes_of
from crucibench.contracts.rows import Address, MetricRow
from crucibench.contracts.verdict import Severity, Status
from crucibench.store.cells import CellFile
from crucibench.store.run import Run

Key = tuple[str, str]
"""A data set's name and an address."""


@dataclass(frozen=True, kw_only=True)
class GatedNumber:
    """One metric row, and how people read it."""

    address: Address
    data: str
    value: float | None
    lower: float | None = None
    upper: float | None = None
    level: float | None = None
    n: int = 0
    direction: str = "higher"
    unit: str = ""
    percent: bool = False
    method: str = ""
    verdict: str = "valid"
    reason: str = ""
    findings: tuple[str, ...] = ()
    """What took the verdict down, as sentences."""
    timed: bool = False

    @property
    def key(self) -> Key:
        """Where it is found."""
        return self.data, str(self.address)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A cell without numbers: it failed or was skipped."""

    data: str
    model: str
    suite: str
    scenario: str
    points: tuple[str, ...]
    failed: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class GateSide:
    """A run, as a gate sees it.

    Attributes:
        name: what messages call it.
        numbers: by data set and address.
        models: data set and name of each model that was planned.
        broken: cells without numbers.
        metrics: the ids that each suite declares.
        trainings: data set and name of each model of a recipe that has two trainings or more, to
            the recipe's name with ``@recipe``, under which its numbers stand among `numbers`.
        headline: the addresses ``SUITE/SCENARIO[POINT]/METRIC`` that suites show first.
    """

    name: str
    numbers: Mapping[Key, GatedNumber]
    models: frozenset[tuple[str, str]]
    broken: tuple[Broken, ...] = ()
    metrics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trainings: Mapping[tuple[str, str], str] = field(default_factory=dict)
    headline: tuple[str, ...] = ()

    def renamed(self, models: Mapping[str, str], data: Mapping[str, str]) -> GateSide:
        """Returns the side with models and data sets under other names, old to new."""
        numbers = [
            replace(
                one,
                data=data.get(one.data, one.data),
                address=one.address._replace(
                    model=models.get(one.address.model, one.address.model)
                ),
            )
            for one in self.numbers.values()
        ]
        return replace(
            self,
            numbers={one.key: one for one in numbers},
            models=frozenset(
                (data.get(name, name), models.get(model, model)) for name, model in self.models
            ),
            trainings={
                (data.get(name, name), models.get(model, model)): models.get(recipe, recipe)
                for (name, model), recipe in self.trainings.items()
            },
            broken=tuple(
                replace(
                    cell,
                    data=data.get(cell.data, cell.data),
                    model=models.get(cell.model, cell.model),
                )
                for cell in self.broken
            ),
        )

    def why_missing(self, data: str, address: Address) -> str:
        """Says why there is no such number, as far as it is known."""
        if (data, address.model) not in self.models:
            return f"has no model {address.model!r} on data {data!r}"
        for cell in self.broken:
            where = (cell.data, cell.model, cell.suite, cell.scenario)
            if where == (data, address.model, address.suite, address.scenario):
                what = "failed" if cell.failed else "was skipped"
                return f"has no such number: its cell {what}: {cell.reason or 'no reason given'}"
        return "has no such number"


def side_of(run: Run) -> GateSide:
    """Reads a run's metric rows and cells."""
    shown = {
        (suite, metric["id"]): metric
        for suite, facts in run.suites.items()
        for metric in facts["metrics"]
    }
    numbers = [_number(row, shown, run.cells) for row in _rows(run.metrics())]
    recipes = [one for one in recipes_of(run).values() if len(one.trainings) > 1]
    named = {(one.data, one.model) for one in recipes}
    of_recipes = [one.row for one in recipe_rows(run)] if recipes else []
    numbers += [
        _of_recipe(row, shown, run.cells) for row in of_recipes if (row.data, row.model) in named
    ]
    cells = run.cells.values()
    return GateSide(
        name=run.id,
        numbers={number.key: number for number in numbers},
        models=frozenset((cell.data, cell.model) for cell in cells) | named,
        trainings={(one.data, model.name): one.model for one in recipes for model in one.trainings},
        broken=tuple(_broken(cell) for cell in cells if cell.status is not Status.OK),
        metrics={
            suite: tuple(metric["id"] for metric in facts["metrics"])
            for suite, facts in run.suites.items()
        },
        headline=tuple(
            f"{suite}/{place}" for suite, facts in run.suites.items() for place in facts["headline"]
        ),
    )


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    clean = frame.astype(object).where(frame.notna(), None)
    for row in clean.to_dict("records"):
        yield {str(name): value for name, value in row.items()}


def _number(
    row: Mapping[str, Any],
    shown: Mapping[tuple[str, str], Mapping[str, Any]],
    cells: Mapping[str, CellFile],
) -> GatedNumber:
    info = shown.get((row["suite"], row["metric"]), {})
    cell = cells.get(row["cell"])
    bad = [] if cell is None else [f for f in cell.findings if f.severity is not Severity.INFO]
    text = {name: row[name] or "" for name in ("unit", "method", "verdict", "reason", "direction")}
    return GatedNumber(
        address=Address(
            row["model"], row["suite"], row["scenario"], row["point"] or "", row["metric"],
            row["group"] or "",
        ),
        data=row["data"],
        value=row["value"], lower=row["lower"], upper=row["upper"], level=row["level"],
        n=int(row["n"] or 0),
        percent=(info.get("lower"), info.get("upper")) == (0.0, 1.0) and not text["unit"],
        findings=tuple(finding.message for finding in bad),
        timed=cell is not None and cell.kind == "timed",
        **text,
    )  # fmt: skip


def _of_recipe(
    row: MetricRow,
    shown: Mapping[tuple[str, str], Mapping[str, Any]],
    cells: Mapping[str, CellFile],
) -> GatedNumber:
    facts = {**row.__dict__, **row.address._asdict(), "verdict": str(row.verdict)}
    return _number(facts, shown, cells)


def _broken(cell: CellFile) -> Broken:
    return Broken(
        data=cell.data, model=cell.model, suite=cell.suite, scenario=cell.scenario,
        points=tuple(cell.points), failed=cell.status is Status.FAILED, reason=cell.reason,
    )  # fmt: skip
