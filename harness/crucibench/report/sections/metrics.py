"""Numbers with their intervals: models side by side, and groups a model."""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.contracts.rows import MetricRow
from crucibench.contracts.section import Block, Section
from crucibench.contracts.verdict import Verdict
from crucibench.report.numbers import metric_of, scale_of_numbers, shown
from crucibench.report.page import (
    GroupTable,
    MetricTable,
    MetricView,
)
from crucibench.report.sections.evidence import PageEvidence, PageSection
from crucibench.report.sections.stored import OPEN_ROWS

_GROUPINGS = ("scenario", "point")


class Metrics(PageSection):
    """Draws numbers, models side by side, then a table a model of those of groups."""

    name = "metrics"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        wanted = set(section.metrics)
        scenario = section.scenario
        numbers = [
            number
            for number in evidence.rows
            if scenario in {"", number.address.scenario}
            and (number.address.metric in wanted if wanted else not number.address.group)
        ]
        plain = [number for number in numbers if not number.address.group]
        grouped = [number for number in numbers if number.address.group]
        blocks: list[Block] = []
        if plain:
            blocks.append(_metric_table(section, evidence, plain))
        return blocks + _group_tables(section, evidence, grouped)


def _metric_table(
    section: Section, evidence: PageEvidence, numbers: Sequence[MetricRow]
) -> MetricTable:
    several = {name: len({getattr(n.address, name) for n in numbers}) > 1 for name in _GROUPINGS}
    models = [name for name in evidence.models if any(n.model == name for n in numbers)]
    by_place: dict[str, dict[str, MetricRow]] = {}
    for number in _in_order(numbers, section.metrics):
        by_place.setdefault(number.place, {})[number.model] = number
    rows = []
    for found in by_place.values():
        first = next(iter(found.values()))
        metric = metric_of(evidence.metrics, first)
        context = " ".join(
            getattr(first.address, name) for name in _GROUPINGS if several[name]
        ).strip()
        href = evidence.href(metric)
        scale = scale_of_numbers(found.values()) if len(found) > 1 else None
        cells = [shown(metric, found.get(model), href, scale) for model in models]
        rows.append((MetricView.of(metric, href, context), cells))
    heads = [evidence.head(model, _verdict_of(evidence, numbers, model)) for model in models]
    return MetricTable(caption=section.title, heads=heads, rows=rows, folded=len(rows) > OPEN_ROWS)


def _group_tables(
    section: Section, evidence: PageEvidence, numbers: Sequence[MetricRow]
) -> list[Block]:
    blocks: list[Block] = []
    tables: dict[tuple[str, str, str], list[MetricRow]] = {}
    for number in numbers:
        address = number.address
        tables.setdefault((number.model, address.scenario, address.point), []).append(number)
    order = {name: place for place, name in enumerate(evidence.models)}
    scenarios = {key[1] for key in tables}
    for (model, scenario, point), own_numbers in sorted(
        tables.items(), key=lambda item: (order.get(item[0][0], 0), item[0][1:])
    ):
        found = _in_order(own_numbers, section.metrics)
        places = dict.fromkeys(number.address.metric for number in found)
        by_metric = {
            name: metric_of(evidence.metrics, next(n for n in found if n.address.metric == name))
            for name in places
        }
        scales = {
            name: scale_of_numbers(n for n in found if n.address.metric == name) for name in places
        }
        groups: dict[str, dict[str, MetricRow]] = {}
        for number in found:
            groups.setdefault(number.address.group, {})[number.address.metric] = number
        rows = [
            (
                group,
                [
                    shown(metric, own.get(name), evidence.href(metric), scales[name])
                    for name, metric in by_metric.items()
                ],
            )
            for group, own in groups.items()
        ]
        extra = " ".join(part for part in (scenario if len(scenarios) > 1 else "", point) if part)
        blocks.append(
            GroupTable(
                caption=section.title,
                head=evidence.head(model, _verdict_of(evidence, found, model), extra),
                metrics=[MetricView.of(m, evidence.href(m)) for m in by_metric.values()],
                rows=rows,
                folded=len(rows) > OPEN_ROWS or len(tables) > 1,
            )
        )
    return blocks


def _in_order(numbers: Sequence[MetricRow], wanted: Sequence[str]) -> list[MetricRow]:
    order = {name: place for place, name in enumerate(wanted)}
    return sorted(numbers, key=lambda number: order.get(number.address.metric, len(order)))


def _verdict_of(evidence: PageEvidence, numbers: Sequence[MetricRow], model: str) -> Verdict:
    verdicts = {number.verdict for number in numbers if number.model == model}
    for verdict in (Verdict.INVALID, Verdict.SUSPECT):
        if verdict in verdicts:
            return verdict
    return Verdict.VALID
