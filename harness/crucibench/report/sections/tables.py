"""Sections that are tables: numbers, stored tables, matrices, bars, heat maps, forest plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from crucibench.contracts.rows import MetricRow
from crucibench.contracts.section import Block, Section
from crucibench.contracts.verdict import Verdict
from crucibench.report.format import DASH, embedded, show_number, show_plain
from crucibench.report.numbers import (
    Scale,
    ShownMetric,
    bar,
    metric_of,
    scale_of,
    scale_of_numbers,
    shown,
)
from crucibench.report.page import (
    BarTable,
    Download,
    ForestTable,
    GroupTable,
    HeatCell,
    HeatGrid,
    Matrix,
    MetricTable,
    MetricView,
    PlainTable,
    Text,
)
from crucibench.report.sections import (
    MOST_ROWS,
    OPEN_ROWS,
    PageEvidence,
    PageSection,
    Stored,
    download,
    file_name,
    split_by_text,
    stored_tables,
    text_of,
    words,
)

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


class StoredTable(PageSection):
    """Draws a table a cell; cells whose tables are the same share one."""

    name = "table"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        found = _merged(stored_tables(section, evidence))
        return [
            PlainTable(
                caption=section.title,
                head=stored.head,
                columns=[
                    _column_head(stored.frame, name, evidence) for name in _shown(stored.frame)
                ],
                rows=[
                    [_value(row, name, evidence) for name in _shown(stored.frame)]
                    for row in stored.frame.head(MOST_ROWS).to_dict("records")
                ],
                total=len(stored.frame),
                data=download(section, stored),
                folded=len(found) > 1 or len(stored.frame) > OPEN_ROWS,
            )
            for stored in found
        ]


def _merged(found: Sequence[Stored]) -> list[Stored]:
    kept: list[Stored] = []
    for stored in found:
        for place, other in enumerate(kept):
            if stored.extra == other.extra and stored.frame.equals(other.frame):
                names = f"{other.head.name}, {stored.head.name}"
                kept[place] = replace(other, head=replace(other.head, name=names, colour=None))
                break
        else:
            kept.append(stored)
    return kept


def _shown(frame: pd.DataFrame) -> list[str]:
    """Leaves out ``NAME_lower`` and ``NAME_upper``: they stand with ``NAME``."""
    names = [str(name) for name in frame.columns]
    ends = {f"{name}_{end}" for name in names for end in ("lower", "upper")}
    return [name for name in names if name not in ends]


def _column_head(frame: pd.DataFrame, name: str, evidence: PageEvidence) -> Text:
    numeric = pd.api.types.is_numeric_dtype(frame[name])
    metric = evidence.metrics.get((evidence.suite, name))
    if metric is None:
        return Text(text=words(name), numeric=numeric)
    unit = f" [{metric.shown_unit}]" if metric.shown_unit else ""
    return Text(text=f"{metric.name}{unit}", numeric=numeric, href=evidence.href(metric))


def _value(row: Mapping[Any, Any], name: str, evidence: PageEvidence) -> Text:
    value = row[name]
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return text_of(value)
    metric = evidence.metrics.get((evidence.suite, name))
    ends: list[Any] = [row.get(f"{name}_{end}") for end in ("lower", "upper")]
    interval = (None, None) if pd.isna(ends).any() else (float(ends[0]), float(ends[1]))
    if math.isnan(value) or (metric is None and interval[0] is None):
        return text_of(value)
    percent = metric is not None and metric.percent
    return Text(text=str(show_number(float(value), *interval, percent=percent)), numeric=True)


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
    several = [
        name
        for name in ("scenario", "point")
        if len({getattr(number.address, name) for number in numbers}) > 1
    ]
    for number in numbers:
        groups.setdefault(_group(number, several), {})[number.model] = number
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


def _group(number: MetricRow, several: Sequence[str]) -> str:
    address = number.address
    return " ".join([address.group, *(getattr(address, name) for name in several)]).strip()


def _csv(numbers: Sequence[MetricRow]) -> str:
    names = ["model", "scenario", "point", "group", "value", "lower", "upper", "n"]
    rows = [
        [n.model, n.address.scenario, n.address.point, n.address.group, n.value, n.lower, n.upper,
         n.n]
        for n in numbers
    ]  # fmt: skip
    return embedded(names, rows)


_MOST_CLASSES = 30
_OPEN_MATRICES = 3


class ConfusionMatrix(PageSection):
    """Draws a confusion matrix a cell."""

    name = "matrix"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        blocks: list[Block] = []
        found = stored_tables(section, evidence)
        for stored in found:
            names, columns, counts = _counts(stored.frame, section)
            if len(columns) > _MOST_CLASSES:
                blocks.append(_confusions(section, stored, names, columns, counts))
                continue
            totals = counts.sum(axis=1)
            rows = []
            for name, row, total in zip(names, counts, totals, strict=True):
                shares = 100.0 * row / total if total else np.zeros(len(row))
                cells = [
                    HeatCell(text=show_plain(float(value)), share=round(float(share), 1),
                             diagonal=column == name)
                    for value, share, column in zip(row, shares, columns, strict=True)
                ]  # fmt: skip
                rows.append((name, cells, show_plain(float(total))))
            blocks.append(
                Matrix(
                    caption=f"{section.title}: rows are true classes, columns predicted ones",
                    head=stored.head,
                    columns=columns,
                    rows=rows,
                    data=download(section, stored),
                    folded=len(found) > _OPEN_MATRICES or len(columns) > OPEN_ROWS,
                )
            )
        return blocks


def _counts(
    frame: pd.DataFrame, section: Section
) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Reads a matrix: wide (a column of names, then one a class) or long (row, column, count)."""
    row, column = section.x, section.y
    if row in frame.columns and column in frame.columns:
        value = next(
            name
            for name in frame.columns
            if name not in {row, column} and pd.api.types.is_numeric_dtype(frame[name])
        )
        wide = frame.pivot_table(
            index=row, columns=column, values=value, aggfunc="sum", fill_value=0, sort=False
        )
        classes = list(dict.fromkeys([*wide.index, *wide.columns]))
        wide = wide.reindex(index=classes, columns=classes, fill_value=0)
        names = [str(name) for name in classes]
        return names, names, wide.to_numpy(dtype=np.float64)
    label = row if row in frame.columns else frame.columns[0]
    rest = [name for name in frame.columns if name != label]
    return (
        [str(name) for name in frame[label]],
        [str(name) for name in rest],
        frame[rest].to_numpy(dtype=np.float64),
    )


def _confusions(
    section: Section,
    stored: Stored,
    names: Sequence[str],
    columns: Sequence[str],
    counts: NDArray[np.float64],
) -> PlainTable:
    """Lists the most frequent confusions of a matrix that is too large to be shown."""
    pairs = [
        (-counts[row, column], row, column)
        for row, column in zip(*np.nonzero(counts), strict=True)
        if names[row] != columns[column]
    ]
    rows = [
        [Text(text=names[row]), Text(text=columns[column]), text_of(-count)]
        for count, row, column in sorted(pairs)[:MOST_ROWS]
    ]
    heads = [Text(text="true"), Text(text="predicted"), Text(text="samples", numeric=True)]
    return PlainTable(
        caption=f"{section.title}: the most frequent confusions of {len(columns)} classes",
        head=stored.head,
        columns=heads,
        rows=rows,
        total=len(pairs),
        data=download(section, stored),
        folded=True,
    )


class Bars(PageSection):
    """Draws one table of bars, the cells side by side."""

    name = "bars"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        x, y = section.x or "x", section.y or "y"
        parts = stored_tables(section, evidence, x, y)
        if not parts:
            return []
        ends = [
            float(value)
            for part in parts
            for name in (y, "lower", "upper")
            if name in part.frame.columns
            for value in part.frame[name]
        ]
        scale = scale_of(ends, include=[0.0])
        categories = dict.fromkeys(name for part in parts for name in part.frame[x])
        values = [{row[x]: row for row in part.frame.to_dict("records")} for part in parts]
        rows = [
            (
                text_of(category).text,
                [
                    _bar(own.get(category), y, scale, part.head.colour or 0)
                    for own, part in zip(values, parts, strict=True)
                ],
            )
            for category in categories
        ]
        names = ["model", *(str(name) for name in parts[0].frame.columns)]
        lines = [
            [f"{part.cell.model} {part.extra}".strip(), *row]
            for part in parts
            for row in part.frame.itertuples(index=False, name=None)
        ]
        return [
            BarTable(
                caption=f"{section.title}: {words(y)} by {words(x)}",
                label=words(x),
                heads=[part.head for part in parts],
                rows=rows,
                data=Download(
                    href=embedded(names, lines),
                    name=file_name(evidence.data, section.title),
                ),
            )
        ]


def _bar(
    row: Mapping[Any, Any] | None, y: str, scale: Scale | None, colour: int
) -> tuple[str, Markup]:
    if row is None or pd.isna(row[y]):
        return "", Markup()
    ends: list[Any] = [row.get("lower"), row.get("upper")]
    interval = None if pd.isna(ends).any() else (float(ends[0]), float(ends[1]))
    text = str(show_number(float(row[y]), *interval)) if interval else show_plain(float(row[y]))
    if scale is None:
        return text, Markup()
    return text, bar(scale, float(row[y]), interval, colour)


_OPEN_GRIDS = 4


class Heat(PageSection):
    """Draws a grid a model: a row a scenario and text columns' values, a column a value of x."""

    name = "heat"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        x, y = section.x or "x", section.y or "y"
        by_model: dict[str, list[Stored]] = {}
        for stored in stored_tables(section, evidence, x, y):
            by_model.setdefault(stored.cell.model, []).extend(split_by_text(stored, evidence))
        parts = [part for found in by_model.values() for part in found]
        # A grid of one row says less than the numbers beside it.
        if len({_row_name(part) for part in parts}) < 2:
            return []
        scale = scale_of(float(value) for part in parts for value in part.frame[y])
        places = sorted({float(value) for part in parts for value in part.frame[x].dropna()})
        return [
            _grid(section, evidence, found, scale, places, folded=len(by_model) > _OPEN_GRIDS)
            for found in by_model.values()
        ]


def _grid(
    section: Section,
    evidence: PageEvidence,
    found: list[Stored],
    scale: Scale | None,
    places: list[float],
    *,
    folded: bool,
) -> HeatGrid:
    x, y = section.x or "x", section.y or "y"
    rows, lines = [], []
    for part in found:
        values = {
            float(at): float(value)
            for at, value in zip(part.frame[x], part.frame[y], strict=True)
            if not pd.isna(at)
        }
        rows.append((_row_name(part), [_cell(values.get(place), scale) for place in places]))
        lines += [[part.cell.scenario, part.within, *pair] for pair in values.items()]
    ends = "" if scale is None else (
        f"Shaded from {show_plain(float(f'{scale.low:.3g}'))} (faint) to "
        f"{show_plain(float(f'{scale.high:.3g}'))} (full), alike for all models."
    )  # fmt: skip
    return HeatGrid(
        caption=f"{section.title}: {words(y)}",
        head=evidence.head(found[0].cell.model, found[0].cell.verdict),
        label=words(y),
        across=words(x),
        ends=ends,
        columns=[show_plain(place) for place in places],
        rows=rows,
        data=Download(
            href=embedded(["scenario", "part", x, y], lines),
            name=file_name(evidence.data, section.title, found[0].cell.model),
        ),
        folded=folded,
    )


def _row_name(part: Stored) -> str:
    return f"{words(part.cell.scenario.rpartition('/')[2])} {part.within}".strip()


def _cell(value: float | None, scale: Scale | None) -> HeatCell:
    if value is None or pd.isna(value):
        return HeatCell(text=DASH, share=0.0)
    share = 50.0 if scale is None else 100 * (value - scale.low) / (scale.high - scale.low)
    return HeatCell(text=f"{value:.2f}", share=round(share, 1))
