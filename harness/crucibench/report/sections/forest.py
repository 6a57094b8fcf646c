"""Forest plots: the same number of many groups, with intervals, against a null value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crucibench.report import marks
from crucibench.report.csv_text import embedded
from crucibench.report.format import show_plain
from crucibench.report.numbers import Metric, Number, metric_of
from crucibench.report.page import (
    Block,
    Download,
    ForestTable,
    MetricView,
    NumberView,
    number_view,
)
from crucibench.report.sections.plain import OPEN_ROWS
from crucibench.report.sections.sources import Sources
from crucibench.report.sections.stored import file_name


def draw_forest(section: Mapping[str, Any], sources: Sources) -> list[Block]:
    """Draws a table a metric, in the section's order: groups as rows, models as columns."""
    scenario = section.get("scenario") or ""
    found: dict[str, list[Number]] = {name: [] for name in section.get("metrics") or ()}
    for number in sources.numbers:
        wanted = number.address.group and number.address.metric in found
        if wanted and scenario in {"", number.address.scenario}:
            found[number.address.metric].append(number)
    return [_forest(section, sources, numbers) for numbers in found.values() if numbers]


def _forest(section: Mapping[str, Any], sources: Sources, numbers: Sequence[Number]) -> ForestTable:
    metric = metric_of(sources.metrics, numbers[0])
    null = _null(metric)
    scale = marks.scale_of(
        (end for number in numbers for end in (number.value, number.lower, number.upper)),
        include=[null],
    )
    models = [name for name in sources.models if any(n.model == name for n in numbers)]
    groups: dict[str, dict[str, Number]] = {}
    for number in numbers:
        groups.setdefault(_group(number, numbers), {})[number.model] = number
    href = sources.href(metric)
    rows = [
        (
            group,
            [
                number_view(metric, own[model], href, scale)
                if model in own
                else NumberView(reason="not measured")
                for model in models
            ],
        )
        for group, own in groups.items()
    ]
    return ForestTable(
        caption=f"{section['title']}: {metric.name}",
        metric=MetricView.of(metric, href, scale=metric.show_span(*scale) if scale else ""),
        null=show_plain(null),
        zero="" if scale is None else f"{scale.at(null):.1f}",
        heads=[sources.head(model) for model in models],
        rows=rows,
        data=Download(
            href=_csv(numbers), name=file_name(sources.data, section["title"], metric.id)
        ),
        folded=len(rows) > OPEN_ROWS,
    )


def _null(metric: Metric) -> float:
    """Where groups are alike: the metric's target, or no difference."""
    kind, _, target = metric.direction.partition("=")
    return float(target) if kind == "target" else 0.0


def _group(number: Number, numbers: Sequence[Number]) -> str:
    address = number.address
    several = [
        name
        for name in ("scenario", "point")
        if len({getattr(other.address, name) for other in numbers}) > 1
    ]
    return " ".join([address.group, *(getattr(address, name) for name in several)]).strip()


def _csv(numbers: Sequence[Number]) -> str:
    names = ["model", "scenario", "point", "group", "value", "lower", "upper", "n"]
    rows = [
        [n.model, n.address.scenario, n.address.point, n.address.group, n.value, n.lower, n.upper,
         n.n]
        for n in numbers
    ]  # fmt: skip
    return embedded(names, rows)
