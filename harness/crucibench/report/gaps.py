"""What was not measured: failures, skips, null numbers, subsets, and axes that nothing covers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crucibench.contracts.rows import MetricRow as Number
from crucibench.contracts.verdict import Status
from crucibench.report.findings import address_of
from crucibench.report.format import counted, listed, show_count
from crucibench.report.numbers import ShownMetric, metric_of
from crucibench.report.provenance import environment_of

if TYPE_CHECKING:
    from crucibench.store.cells import CellFile
    from crucibench.store.run import Run


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A cell that failed."""

    cell: str
    model: str
    data: str
    scenario: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class MissingResults:
    """Things of one kind that are missing for one reason."""

    data: str
    what: str
    models: tuple[str, ...]
    reason: str
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many cells each suite ran for each model of a data set.

    Attributes:
        data: the data set.
        axes: one for each suite.
        rows: model, and for each suite a few words.
    """

    data: str
    axes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """All that a run did not measure, as far as it knows."""

    sentences: list[str] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    skipped: list[MissingResults] = field(default_factory=list)
    inapplicable: list[MissingResults] = field(default_factory=list)
    undefined: list[MissingResults] = field(default_factory=list)
    unbounded: list[MissingResults] = field(default_factory=list)


def gaps_of(
    run: Run,
    numbers: Sequence[Number],
    metrics: Mapping[tuple[str, str], ShownMetric],
    models: Sequence[str],
    data: Sequence[str],
) -> Gaps:
    """Gathers what a run did not measure."""
    cells = list(run.cells.values())
    return Gaps(
        sentences=[*_axes(run, cells), *_subsets(run, cells)],
        coverage=_coverage(run, cells, models, data),
        failures=[
            Failure(
                cell=cell.cell,
                model=cell.model,
                data=cell.data,
                scenario=address_of(cell),
                reason=cell.reason,
                detail=cell.detail,
            )
            for cell in cells
            if cell.status is Status.FAILED
        ],
        skipped=_grouped(
            (cell.data, address_of(cell), cell.model, cell.reason)
            for cell in cells
            if cell.status is Status.SKIPPED
        ),
        inapplicable=_grouped(
            (entry["data"], info.get("axis") or suite, entry["model"], entry["reason"])
            for suite, info in run.suites.items()
            for entry in info.get("not_applicable", [])
        ),
        undefined=_null(numbers, metrics, lambda number: number.value is None),
        unbounded=_null(
            numbers, metrics, lambda number: number.value is not None and number.interval is None
        ),
    )


def _axes(run: Run, cells: Sequence[CellFile]) -> list[str]:
    ran = {cell.suite for cell in cells}
    axes = dict.fromkeys(
        info.get("axis") or suite for suite, info in run.suites.items() if suite in ran
    )
    sentences = []
    if axes:
        sentences.append(
            f"This run speaks of {listed(axes)} alone. Nothing here says how the models behave in "
            "any other respect, or on other data."
        )
    known = {suite: info.get("axis") or suite for suite, info in run.suites.items()}
    known |= _installed(run)
    idle = [
        name if name == axis else f"{name} ({axis})"
        for name, axis in sorted(known.items())
        if name not in ran
    ]
    if idle:
        sentences.append(f"Not run, though installed: {listed(idle, most=20)}.")
    return sentences


def _installed(run: Run) -> dict[str, str]:
    found = environment_of(run).get("installed_suites") or {}
    return dict(found) if isinstance(found, Mapping) else {str(name): str(name) for name in found}


def _subsets(run: Run, cells: Sequence[CellFile]) -> list[str]:
    asked: dict[tuple[str, str, int, int], set[str]] = {}
    for cell in cells:
        card = run.cards.get(cell.data)
        whole = card.counts.get(cell.role, 0) if card else 0
        if cell.status is Status.OK and 0 < cell.n < whole:
            key = (cell.data, cell.role, cell.n, whole)
            asked.setdefault(key, set()).add(address_of(cell))
    return [
        f"Of the {counted(whole, 'sample')} of {data} ({role}), {listed(sorted(names))} asked "
        f"about {show_count(n)}."
        for (data, role, n, whole), names in sorted(asked.items())
    ]


def _coverage(
    run: Run, cells: Sequence[CellFile], models: Sequence[str], data: Sequence[str]
) -> list[Coverage]:
    suites = list(run.suites)
    inapplicable = {
        (suite, entry["model"], entry["data"])
        for suite, info in run.suites.items()
        for entry in info.get("not_applicable", [])
    }
    found = []
    for name in data:
        own = [cell for cell in cells if cell.data == name]
        present = [model for model in models if any(cell.model == model for cell in own)]
        rows = [
            (
                model,
                tuple(
                    _words([c for c in own if (c.model, c.suite) == (model, suite)])
                    or ("does not apply" if (suite, model, name) in inapplicable else "not run")
                    for suite in suites
                ),
            )
            for model in present
        ]
        axes = tuple(run.suites[suite].get("axis") or suite for suite in suites)
        found.append(Coverage(data=name, axes=axes, rows=tuple(rows)))
    return found


def _words(cells: Sequence[CellFile]) -> str:
    parts = [
        f"{count} {status}"
        for status in Status
        if (count := sum(cell.status is status for cell in cells))
    ]
    return ", ".join(parts)


def _null(
    numbers: Sequence[Number],
    metrics: Mapping[tuple[str, str], ShownMetric],
    missing: Callable[[Number], bool],
) -> list[MissingResults]:
    return _grouped(
        (
            number.data,
            f"{number.address.suite}/{number.address.scenario}: {metric_of(metrics, number).name}",
            number.model,
            number.reason,
        )
        for number in numbers
        if missing(number)
    )


def _grouped(entries: Iterable[tuple[str, str, str, str]]) -> list[MissingResults]:
    models: dict[tuple[str, str, str], list[str]] = {}
    for data, what, model, reason in entries:
        models.setdefault((data, what, reason), []).append(model)
    return [
        MissingResults(
            data=data,
            what=what,
            models=tuple(dict.fromkeys(names)),
            reason=reason,
            count=len(names),
        )
        for (data, what, reason), names in models.items()
    ]
