"""Forest plots: the same number of many groups, with intervals, against a null value."""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.contracts.rows import MetricRow
from crucibench.contracts.section import Block, Section
from crucibench.report.csv_text import embedded
from crucibench.report.format import show_plain
from crucibench.report.numbers import ShownMetric, metric_of, scale_of_numbers, shown
from crucibench.report.page import (
    Download,
    ForestTable,
    MetricView,
)
from crucibench.report.sections.evidence import PageEvidence, PageSection
from crucibench.report.sections.stored import OPEN_ROWS, file_name


class Forest(PageSection):
    """Draws a table a metric, in the section's order: groups as rows, models as columns."""

    name = "forest"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        scenario = section.scenario
        found: dict[str, list[MetricRow]] = {name: [] for name in section.metrics}
        for number in evidence.rows:
            wanted = number.address.group and number.address.metric in found
            if wanted and scenario in {"", number.address.scenario}:
                found[number.address.metric].append(number)
        return [_forest(section, evidence, numbers) for numbers in found.values() if numbers]


def _forest(section: Section, evidence: PageEvidence, numbers: Sequence[MetricRow]) -> ForestTable:
    metric = metric_of(evidence.metrics, numbers[0])
    null = _null(metric)
    scale = scale_of_numbers(numbers, include=[null])
    models = [name for name in evidence.models if any(n.model == name for n in numbers)]
    groups: dict[str, dict[str, MetricRow]] = {}
    for number in numbers:
        groups.setdefault(_group(number, numbers), {})[number.model] = number
    href = evidence.href(metric)
    rows = [
        (group, [shown(metric, own.get(model), href, scale) for model in models])
        for group, own in groups.items()
    ]
    return ForestTable(
        caption=f"{section.title}: {metric.name}",
        metric=MetricView.of(metric, href, scale=metric.show_span(*scale) if scale else ""),
        null=show_plain(null),
        zero="" if scale is None else f"{scale.at(null):.1f}",
        heads=[evidence.head(model) for model in models],
        rows=rows,
        data=Download(href=_csv(numbers), name=file_name(evidence.data, section.title, metric.id)),
        folded=len(rows) > OPEN_ROWS,
    )


def _null(metric: ShownMetric) -> float:
    """Where groups are alike: the metric's target, or no difference."""
    kind, _, target = metric.direction.partition("=")
    return float(target) if kind == "target" else 0.0


def _group(number: MetricRow, numbers: Sequence[MetricRow]) -> str:
    address = number.address
    several = [
        name
        for name in ("scenario", "point")
        if len({getattr(other.address, name) for other in numbers}) > 1
    ]
    return " ".join([address.group, *(getattr(address, name) for name in several)]).strip()


def _csv(numbers: Sequence[MetricRow]) -> str:
    names = ["model", "scenario", "point", "group", "value", "lower", "upper", "n"]
    rows = [
        [n.model, n.address.scenario, n.address.point, n.address.group, n.value, n.lower, n.upper,
         n.n]
        for n in numbers
    ]  # fmt: skip
    return embedded(names, rows)
