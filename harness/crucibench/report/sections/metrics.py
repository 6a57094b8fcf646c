"""Numbers with their intervals: models side by side, and groups a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crucibench.contracts.verdict import Verdict
from crucibench.report import marks
from crucibench.report.numbers import Number, metric_of
from crucibench.report.page import (
    Block,
    GroupTable,
    MetricTable,
    MetricView,
    NumberView,
    number_view,
)
from crucibench.report.sections.plain import OPEN_ROWS
from crucibench.report.sections.sources import Sources

_GROUPINGS = ("scenario", "point")


def draw_metrics(section: Mapping[str, Any], sources: Sources) -> list[Block]:
    """Draws numbers, models side by side, then a table a model of those of groups."""
    wanted = set(section.get("metrics") or ())
    scenario = section.get("scenario") or ""
    numbers = [
        number
        for number in sources.numbers
        if scenario in {"", number.address.scenario}
        and (number.address.metric in wanted if wanted else not number.address.group)
    ]
    plain = [number for number in numbers if not number.address.group]
    grouped = [number for number in numbers if number.address.group]
    blocks: list[Block] = []
    if plain:
        blocks.append(_metric_table(section, sources, plain))
    return blocks + _group_tables(section, sources, grouped)


def _metric_table(
    section: Mapping[str, Any], sources: Sources, numbers: Sequence[Number]
) -> MetricTable:
    several = {name: len({getattr(n.address, name) for n in numbers}) > 1 for name in _GROUPINGS}
    models = [name for name in sources.models if any(n.model == name for n in numbers)]
    by_place: dict[str, dict[str, Number]] = {}
    for number in _by_wish(numbers, section.get("metrics") or ()):
        by_place.setdefault(number.place, {})[number.model] = number
    rows = []
    for found in by_place.values():
        first = next(iter(found.values()))
        metric = metric_of(sources.metrics, first)
        context = " ".join(
            getattr(first.address, name) for name in _GROUPINGS if several[name]
        ).strip()
        href = sources.href(metric)
        scale = marks.scale_of(
            end for n in found.values() for end in (n.value, n.lower, n.upper) if len(found) > 1
        )
        cells = [
            number_view(metric, found[model], href, scale)
            if model in found
            else NumberView(reason="not measured")
            for model in models
        ]
        rows.append((MetricView.of(metric, href, context), cells))
    heads = [sources.head(model, _verdict_of(sources, numbers, model)) for model in models]
    return MetricTable(
        caption=section["title"], heads=heads, rows=rows, folded=len(rows) > OPEN_ROWS
    )


def _group_tables(
    section: Mapping[str, Any], sources: Sources, numbers: Sequence[Number]
) -> list[Block]:
    blocks: list[Block] = []
    tables: dict[tuple[str, str, str], list[Number]] = {}
    for number in numbers:
        address = number.address
        tables.setdefault((number.model, address.scenario, address.point), []).append(number)
    order = {name: place for place, name in enumerate(sources.models)}
    scenarios = {key[1] for key in tables}
    for (model, scenario, point), own_numbers in sorted(
        tables.items(), key=lambda item: (order.get(item[0][0], 0), item[0][1:])
    ):
        found = _by_wish(own_numbers, section.get("metrics") or ())
        places = dict.fromkeys(number.address.metric for number in found)
        by_metric = {
            name: metric_of(sources.metrics, next(n for n in found if n.address.metric == name))
            for name in places
        }
        scales = {
            name: marks.scale_of(
                end
                for n in found
                if n.address.metric == name
                for end in (n.value, n.lower, n.upper)
            )
            for name in places
        }
        groups: dict[str, dict[str, Number]] = {}
        for number in found:
            groups.setdefault(number.address.group, {})[number.address.metric] = number
        rows = [
            (
                group,
                [
                    number_view(metric, own[name], sources.href(metric), scales[name])
                    if name in own
                    else NumberView(reason="not measured")
                    for name, metric in by_metric.items()
                ],
            )
            for group, own in groups.items()
        ]
        extra = " ".join(part for part in (scenario if len(scenarios) > 1 else "", point) if part)
        blocks.append(
            GroupTable(
                caption=section["title"],
                head=sources.head(model, _verdict_of(sources, found, model), extra),
                metrics=[MetricView.of(m, sources.href(m)) for m in by_metric.values()],
                rows=rows,
                folded=len(rows) > OPEN_ROWS or len(tables) > 1,
            )
        )
    return blocks


def _by_wish(numbers: Sequence[Number], wanted: Sequence[str]) -> list[Number]:
    order = {name: place for place, name in enumerate(wanted)}
    return sorted(numbers, key=lambda number: order.get(number.address.metric, len(order)))


def _verdict_of(sources: Sources, numbers: Sequence[Number], model: str) -> Verdict:
    verdicts = {number.verdict for number in numbers if number.model == model}
    for verdict in (Verdict.INVALID, Verdict.SUSPECT):
        if verdict in verdicts:
            return verdict
    return Verdict.VALID
