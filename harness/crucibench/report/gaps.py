"""What was not measured, and why: failures, skips, null numbers, subsets, axes not covered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crucibench.contracts.rows import MetricRow
from crucibench.contracts.verdict import Status
from crucibench.report.facts import environment_of
from crucibench.report.findings import address_of
from crucibench.report.format import counted, listed, show_count
from crucibench.report.numbers import (
    ShownMetric,
    declared_metrics,
    metric_of,
    names_in_order,
    numbers_of,
)
from crucibench.store.cells import CellFile
from crucibench.store.run import Run

WITHHELD = "the run itself says why"
"""Stands for the reason of a failure: an error's words may quote a sample."""


@dataclass(frozen=True, kw_only=True)
class MissingResults:
    """Things of one kind that are missing for one reason."""

    data: str
    what: str
    models: tuple[str, ...]
    reason: str
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """All that a run did not measure, as far as it knows."""

    sentences: list[str] = field(default_factory=list)
    coverage: list[dict[str, Any]] = field(default_factory=list)
    failures: list[CellFile] = field(default_factory=list)
    skipped: list[MissingResults] = field(default_factory=list)
    inapplicable: list[MissingResults] = field(default_factory=list)
    undefined: list[MissingResults] = field(default_factory=list)
    unbounded: list[MissingResults] = field(default_factory=list)


def gaps_of(
    run: Run,
    numbers: Sequence[MetricRow],
    metrics: Mapping[tuple[str, str], ShownMetric],
    models: Sequence[str],
    data: Sequence[str],
) -> Gaps:
    """Gathers what a run did not measure."""
    cells = list(run.cells.values())
    return Gaps(
        sentences=[*_axes(run, cells), *_subsets(run, cells)],
        coverage=_coverage(run, cells, models, data),
        failures=[cell for cell in cells if cell.status is Status.FAILED],
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
) -> list[dict[str, Any]]:
    """Returns how many cells each suite ran for each model, in words, by data set."""
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
        found.append({"data": name, "axes": axes, "rows": rows})
    return found


def _words(cells: Sequence[CellFile]) -> str:
    parts = [
        f"{count} {status}"
        for status in Status
        if (count := sum(cell.status is status for cell in cells))
    ]
    return ", ".join(parts)


def _null(
    numbers: Sequence[MetricRow],
    metrics: Mapping[tuple[str, str], ShownMetric],
    missing: Callable[[MetricRow], bool],
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


_PARTICULAR = re.compile(r"'[^']*'|\d+(?:[.,]\d+)*")
"""What reasons of one kind differ in: names in quotation marks, and numbers."""


def by_reason(gaps: Iterable[MissingResults]) -> list[dict[str, Any]]:
    """Groups what is missing by data set, suite and kind of reason, the most frequent first.

    Returns:
        ``data``, ``suite``, ``count`` (of numbers) and ``reasons``, each with its ``text`` (``…``
        stands for what differs), ``count``, ``models``, ``gaps``, and whether it is ``alike`` for
        all, to the letter.
    """
    found: dict[tuple[str, str], dict[str, list[MissingResults]]] = {}
    for gap in gaps:
        suite = gap.what.partition("/")[0]
        kinds = found.setdefault((gap.data, suite), {})
        kinds.setdefault(_PARTICULAR.sub("…", gap.reason), []).append(gap)
    return [
        {
            "data": data, "suite": suite, "reasons": _reasons(kinds),
            "count": sum(gap.count for gaps in kinds.values() for gap in gaps),
        }
        for (data, suite), kinds in found.items()
    ]  # fmt: skip


def _reasons(kinds: Mapping[str, Sequence[MissingResults]]) -> list[dict[str, Any]]:
    found = []
    for kind, gaps in kinds.items():
        alike = len({gap.reason for gap in gaps}) == 1
        found.append(
            {
                "text": gaps[0].reason if alike else kind, "alike": alike, "gaps": gaps,
                "count": sum(gap.count for gap in gaps),
                "models": list(dict.fromkeys(model for gap in gaps for model in gap.models)),
            }
        )  # fmt: skip
    return sorted(found, key=lambda one: (-one["count"], one["text"]))


def not_measured(run: Run, numbers: Sequence[MetricRow] | None = None) -> list[str]:
    """Returns a sentence for each axis, cell and number that is missing, failures first.

    Args:
        run: the run.
        numbers: its metric rows, where they have been read already.
    """
    if numbers is None:
        numbers = numbers_of(run)
    models = names_in_order(run.spec, "models", {name for name, _ in run.models})
    data = names_in_order(run.spec, "data", set(run.cards))
    gaps = gaps_of(run, numbers, declared_metrics(run.suites), models, data)
    sentences = [
        f"{cell.model} on {cell.data}, {address_of(cell)} failed: {WITHHELD}."
        for cell in gaps.failures
    ]
    sentences += gaps.sentences
    for why, kind in (
        ("skipped", gaps.skipped), ("not applicable", gaps.inapplicable),
        ("no value", gaps.undefined), ("no interval", gaps.unbounded),
    ):  # fmt: skip
        sentences += [
            f"{gap.what} on {gap.data} ({listed(gap.models)}), {why}: {gap.reason}" for gap in kind
        ]
    return sentences
