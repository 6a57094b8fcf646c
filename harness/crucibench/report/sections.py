"""The report's parts as suites declare them: each kind of section is drawn from its data alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from crucibench.contracts.verdict import Status, Verdict
from crucibench.report import marks, plots
from crucibench.report.csv_text import csv_text, data_uri
from crucibench.report.format import counted, listed, shorten, show_count, show_number, show_plain
from crucibench.report.numbers import Metric, Number, metric_of
from crucibench.report.page import (
    Anchors,
    BarTable,
    Block,
    Download,
    Figure,
    GroupTable,
    HeatCell,
    Matrix,
    Message,
    MetricTable,
    MetricView,
    ModelHead,
    NumberView,
    Panels,
    PlainTable,
    SectionView,
    Text,
    number_view,
)
from crucibench.stats import wilson
from crucibench.store.layout import slug

if TYPE_CHECKING:
    from crucibench.store.cells import CellFile
    from crucibench.store.run import Run

_MOST_ROWS = 60
_MOST_CLASSES = 30
_OPEN_ROWS = 14
_OPEN_MATRICES = 3
_GROUPINGS = ("scenario", "point")


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What sections are drawn from.

    Attributes:
        run: the run.
        data: the data set's name.
        suite: the suite's name.
        models: all models of the run in order: their places are their colours.
        numbers: those of this suite and data set, in stored order.
        metrics: what the run says of metrics.
        anchors: the page's ids.
    """

    run: Run
    data: str
    suite: str
    models: Sequence[str]
    numbers: Sequence[Number]
    metrics: Mapping[tuple[str, str], Metric]
    anchors: Anchors

    def cells(self, scenario: str) -> list[CellFile]:
        """Returns the suite's cells on this data set, of one scenario or (for "") of all."""
        order = {name: place for place, name in enumerate(self.models)}
        found = [
            cell
            for cell in self.run.cells.values()
            if (cell.suite, cell.data) == (self.suite, self.data)
            and scenario in {"", cell.scenario}
        ]
        return sorted(found, key=lambda cell: (cell.scenario, order.get(cell.model, 0)))

    def absent(self) -> list[tuple[str, str, str]]:
        """Returns model, scenario and reason of each cell that did not end well."""
        return [
            (cell.model, cell.scenario, f"{cell.status}: {cell.reason}")
            for cell in self.cells("")
            if cell.status is not Status.OK
        ]

    def head(self, model: str, verdict: Verdict | None = None, extra: str = "") -> ModelHead:
        """Returns a model's head."""
        colour = list(self.models).index(model) if model in self.models else 0
        return ModelHead(
            name=model,
            colour=colour % plots.COLOURS,
            dash=plots.dash(colour),
            verdict=verdict or Verdict.VALID,
            extra=extra,
        )

    def href(self, metric: Metric) -> str:
        """Returns the anchor of a metric's definition."""
        return self.anchors("metric", metric.suite, metric.id)


def section_view(section: Mapping[str, Any], sources: Sources) -> SectionView | None:
    """Fills a section, or returns None where the data set has no cell of it."""
    scenario = section.get("scenario") or ""
    cells = sources.cells(scenario)
    if not cells:
        return None
    draw = _DRAWERS.get(section.get("kind", ""))
    if draw is None:
        blocks: Sequence[Block] = [
            Message(text=f"This version can't draw a section of kind {section.get('kind')!r}.")
        ]
    else:
        blocks = draw(section, sources)
    if not blocks and all(cell.status is Status.OK for cell in cells):
        return None
    return SectionView(
        title=section.get("title") or "",
        note=section.get("note") or "",
        blocks=blocks or [Message(text="No cell of this part ran to its end.")],
    )


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """One cell's table, or the part of it that one line or panel shows."""

    cell: CellFile
    frame: pd.DataFrame
    head: ModelHead
    key: str
    extra: str = field(default="")


def _stored(section: Mapping[str, Any], sources: Sources) -> list[_Stored]:
    several = len({cell.scenario for cell in sources.cells(section.get("scenario") or "")}) > 1
    found = []
    for cell in sources.cells(section.get("scenario") or ""):
        if cell.status is not Status.OK:
            continue
        frame = sources.run.table(cell.cell, section.get("table") or "")
        if frame is None or not len(frame):
            continue
        extra = cell.scenario if several else ""
        key = sources.anchors("plot", cell.cell, section.get("table") or "", section["title"])
        head = sources.head(cell.model, cell.verdict, extra)
        found.append(_Stored(cell=cell, frame=frame, head=head, key=key, extra=extra))
    return found


def _split(stored: _Stored, sources: Sources) -> list[_Stored]:
    """Splits a table by its text columns: each combination is a line or panel of its own."""
    frame = stored.frame
    keys = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    if not keys:
        return [stored]
    parts = []
    for values, part in frame.groupby(keys, sort=False, dropna=False):
        extra = " ".join(str(value) for value in (stored.extra, *values) if str(value))
        parts.append(
            _Stored(
                cell=stored.cell,
                frame=part,
                head=sources.head(stored.cell.model, stored.cell.verdict, extra),
                key=sources.anchors("part", stored.key, *(str(value) for value in values)),
                extra=extra,
            )
        )
    return parts


def _draw_metrics(section: Mapping[str, Any], sources: Sources) -> list[Block]:
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
        caption=section["title"], heads=heads, rows=rows, folded=len(rows) > _OPEN_ROWS
    )


def _by_wish(numbers: Sequence[Number], wanted: Sequence[str]) -> list[Number]:
    order = {name: place for place, name in enumerate(wanted)}
    return sorted(numbers, key=lambda number: order.get(number.address.metric, len(order)))


def _verdict_of(sources: Sources, numbers: Sequence[Number], model: str) -> Verdict:
    verdicts = {number.verdict for number in numbers if number.model == model}
    for verdict in (Verdict.INVALID, Verdict.SUSPECT):
        if verdict in verdicts:
            return verdict
    return Verdict.VALID


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
                folded=len(rows) > _OPEN_ROWS or len(tables) > 1,
            )
        )
    return blocks


def _draw_table(section: Mapping[str, Any], sources: Sources) -> list[Block]:
    found = _stored(section, sources)
    return [
        PlainTable(
            caption=section["title"],
            head=stored.head,
            columns=[_column_head(stored.frame, name, sources) for name in _shown(stored.frame)],
            rows=[
                [_value(row, name, sources) for name in _shown(stored.frame)]
                for row in stored.frame.head(_MOST_ROWS).to_dict("records")
            ],
            total=len(stored.frame),
            data=_download(section, stored),
            folded=len(found) > 1 or len(stored.frame) > _OPEN_ROWS,
        )
        for stored in found
    ]


def _shown(frame: pd.DataFrame) -> list[str]:
    """Leaves out ``NAME_lower`` and ``NAME_upper``: they stand with ``NAME``."""
    names = [str(name) for name in frame.columns]
    ends = {f"{name}_{end}" for name in names for end in ("lower", "upper")}
    return [name for name in names if name not in ends]


def _column_head(frame: pd.DataFrame, name: str, sources: Sources) -> Text:
    numeric = pd.api.types.is_numeric_dtype(frame[name])
    metric = sources.metrics.get((sources.suite, name))
    if metric is None:
        return Text(text=_words(name), numeric=numeric)
    unit = f" [{metric.shown_unit}]" if metric.shown_unit else ""
    return Text(text=f"{metric.name}{unit}", numeric=numeric)


def _value(row: Mapping[Any, Any], name: str, sources: Sources) -> Text:
    value = row[name]
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return _text(value)
    metric = sources.metrics.get((sources.suite, name))
    ends: list[Any] = [row.get(f"{name}_{end}") for end in ("lower", "upper")]
    interval = (None, None) if pd.isna(ends).any() else (float(ends[0]), float(ends[1]))
    if math.isnan(value) or (metric is None and interval[0] is None):
        return _text(value)
    percent = metric is not None and metric.percent
    return Text(text=str(show_number(float(value), *interval, percent=percent)), numeric=True)


def _text(value: Any) -> Text:
    if isinstance(value, bool | np.bool_):
        return Text(text="yes" if value else "no")
    if isinstance(value, int | float | np.number):
        return Text(text=show_plain(float(value)), numeric=True)
    return Text(text="" if value is None else str(value))


def _draw_matrix(section: Mapping[str, Any], sources: Sources) -> list[Block]:
    blocks: list[Block] = []
    found = _stored(section, sources)
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
                caption=f"{section['title']}: rows are true classes, columns predicted ones",
                head=stored.head,
                columns=columns,
                rows=rows,
                data=_download(section, stored),
                folded=len(found) > _OPEN_MATRICES or len(columns) > _OPEN_ROWS,
            )
        )
    return blocks


def _counts(
    frame: pd.DataFrame, section: Mapping[str, Any]
) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Reads a matrix: wide (a column of names, then one a class) or long (row, column, count)."""
    row, column = section.get("x") or "", section.get("y") or ""
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
    section: Mapping[str, Any],
    stored: _Stored,
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
        [Text(text=names[row]), Text(text=columns[column]), _text(-count)]
        for count, row, column in sorted(pairs)[:_MOST_ROWS]
    ]
    heads = [Text(text="true"), Text(text="predicted"), Text(text="samples", numeric=True)]
    return PlainTable(
        caption=f"{section['title']}: the most frequent confusions of {len(columns)} classes",
        head=stored.head,
        columns=heads,
        rows=rows,
        total=len(pairs),
        data=_download(section, stored),
        folded=True,
    )


def _draw_line(section: Mapping[str, Any], sources: Sources) -> list[Block]:
    x, y = section.get("x") or "x", section.get("y") or "y"
    by_scenario: dict[str, list[_Stored]] = {}
    for stored in _stored(section, sources):
        missing = {x, y} - set(stored.frame.columns)
        if missing:
            return [_lacking(section, missing)]
        by_scenario.setdefault(stored.cell.scenario, []).extend(_split(stored, sources))
    return [
        _line_figure(section, sources, scenario, found) for scenario, found in by_scenario.items()
    ]


def _line_figure(
    section: Mapping[str, Any], sources: Sources, scenario: str, found: Sequence[_Stored]
) -> Figure:
    x, y = section.get("x") or "x", section.get("y") or "y"
    curves, legend, rows, said, thinned = [], [], [], [], False
    single = len({part.cell.model for part in found}) == len(found)
    for place, part in enumerate(found):
        frame = part.frame.dropna(subset=[x, y]).sort_values(x, kind="stable")
        if not len(frame):
            continue
        values = frame[y].to_numpy(dtype=np.float64)
        keep = plots.thinned(len(frame), values)
        thinned |= len(keep) < len(frame)
        frame = frame.iloc[keep]
        band = [
            frame[name].to_numpy(dtype=np.float64) if name in frame.columns else None
            for name in ("lower", "upper")
        ]
        index = list(sources.models).index(part.cell.model) if single else place
        curves.append(
            plots.Curve(
                colour=index,
                x=frame[x].to_numpy(dtype=np.float64),
                y=frame[y].to_numpy(dtype=np.float64),
                lower=band[0],
                upper=band[1],
            )
        )
        legend.append(
            ModelHead(
                name=part.cell.model,
                colour=index % plots.COLOURS,
                dash=plots.dash(index),
                verdict=part.cell.verdict or Verdict.VALID,
                extra=part.extra,
            )
        )
        name = f"{part.cell.model} {part.extra}".strip()
        first, last = frame.iloc[0], frame.iloc[-1]
        said.append(f"{shorten(name)} goes from {_at(first, x, y)} to {_at(last, x, y)}")
        rows += [[name, *row] for row in frame.itertuples(index=False, name=None)]
    axes = f"{_words(y)} against {_words(x)}"
    alt = f"Line plot of {axes}. " + "; ".join(said[:8]) + "."
    names = ["model", *(str(name) for name in found[0].frame.columns)]
    key = sources.anchors("lines", sources.data, sources.suite, section["title"], scenario)
    note = " Long lines are drawn through fewer points, their extremes kept." if thinned else ""
    return Figure(
        svg=Markup(plots.line_svg(curves, x=_words(x), y=_words(y), key=key, alt=alt)),
        caption=f"{axes[:1].upper()}{axes[1:]}.{note}",
        legend=legend,
        data=Download(
            href=data_uri(csv_text(names, rows)),
            name=_file_name(sources.data, section["title"], scenario),
        ),
    )


def _at(row: pd.Series[Any], x: str, y: str) -> str:
    return f"{show_plain(float(row[y]))} at {show_plain(float(row[x]))}"


def _draw_reliability(section: Mapping[str, Any], sources: Sources) -> list[Block]:
    x, y = section.get("x") or "confidence", section.get("y") or "accuracy"
    figures = []
    for whole in _stored(section, sources):
        missing = {x, y, "count"} - set(whole.frame.columns)
        if missing:
            return [_lacking(section, missing)]
        for stored in _split(whole, sources):
            figure = _reliability_figure(section, stored, x, y)
            if figure is not None:
                figures.append(figure)
    return [Panels(figures=figures)] if figures else []


def _reliability_figure(
    section: Mapping[str, Any], stored: _Stored, x: str, y: str
) -> Figure | None:
    frame = stored.frame[stored.frame["count"] > 0].dropna(subset=[x, y])
    if not len(frame):
        return None
    count = frame["count"].to_numpy(dtype=np.float64)
    level, share = (frame[name].to_numpy(dtype=np.float64) for name in (x, y))
    hits = frame["hits"].to_numpy(dtype=np.float64) if "hits" in frame.columns else share * count
    intervals = [
        wilson(min(round(hit), round(total)), round(total))
        for hit, total in zip(hits, count, strict=True)
    ]
    # `lower` and `upper` are the share's interval or, without `bin_lower`, the bin's ends.
    own = "bin_lower" in frame.columns
    sides = [_column(frame, f"bin_{name}" if own else name, level) for name in ("lower", "upper")]
    ends = [
        _column(frame, name if own else "", np.array([getattr(entry, name) for entry in intervals]))
        for name in ("lower", "upper")
    ]
    bins = plots.ReliabilityBins(
        left=sides[0],
        right=sides[1],
        count=count,
        confidence=level,
        share=share,
        lower=ends[0],
        upper=ends[1],
    )
    gaps = np.abs(share - level)
    worst = int(np.argmax(gaps))
    alt = (
        f"Reliability diagram of {shorten(stored.head.name)} {stored.extra}: "
        f"{counted(round(count.sum()), 'sample')} in {counted(len(frame), 'filled bin')}; the "
        f"largest gap is {100 * gaps[worst]:.1f} points at {_words(x)} {level[worst]:.2f}, where "
        f"{show_count(round(count[worst]))} samples lie."
    )
    svg = plots.reliability_svg(
        bins, colour=stored.head.colour or 0, x=_words(x), y=_words(y), key=stored.key, alt=alt
    )
    return Figure(
        svg=Markup(svg),
        caption=f"{counted(round(count.sum()), 'sample')} in {counted(len(frame), 'filled bin')}",
        legend=[stored.head],
        data=_download(section, stored),
    )


def _column(frame: pd.DataFrame, name: str, other: NDArray[np.float64]) -> NDArray[np.float64]:
    return frame[name].to_numpy(dtype=np.float64) if name in frame.columns else other


def _draw_bars(section: Mapping[str, Any], sources: Sources) -> list[Block]:
    x, y = section.get("x") or "x", section.get("y") or "y"
    parts: list[_Stored] = []
    for stored in _stored(section, sources):
        missing = {x, y} - set(stored.frame.columns)
        if missing:
            return [_lacking(section, missing)]
        parts.append(stored)
    if not parts:
        return []
    ends = [
        float(value)
        for part in parts
        for name in (y, "lower", "upper")
        if name in part.frame.columns
        for value in part.frame[name]
    ]
    scale = marks.scale_of(ends, include=[0.0])
    categories = dict.fromkeys(name for part in parts for name in part.frame[x])
    values = [{row[x]: row for row in part.frame.to_dict("records")} for part in parts]
    rows = [
        (
            _text(category).text,
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
            caption=f"{section['title']}: {_words(y)} by {_words(x)}",
            label=_words(x),
            heads=[part.head for part in parts],
            rows=rows,
            data=Download(
                href=data_uri(csv_text(names, lines)),
                name=_file_name(sources.data, section["title"]),
            ),
        )
    ]


def _bar(
    row: Mapping[Any, Any] | None, y: str, scale: marks.Scale | None, colour: int
) -> tuple[str, Markup]:
    if row is None or pd.isna(row[y]):
        return "", Markup()
    ends: list[Any] = [row.get("lower"), row.get("upper")]
    interval = None if pd.isna(ends).any() else (float(ends[0]), float(ends[1]))
    text = str(show_number(float(row[y]), *interval)) if interval else show_plain(float(row[y]))
    if scale is None:
        return text, Markup()
    return text, marks.bar(scale, float(row[y]), interval, colour)


def _lacking(section: Mapping[str, Any], missing: set[str]) -> Message:
    return Message(
        text=f"The table {section.get('table')!r} has no column {listed(sorted(missing))}."
    )


def _download(section: Mapping[str, Any], stored: _Stored) -> Download:
    columns = [str(name) for name in stored.frame.columns]
    rows = stored.frame.head(5000).itertuples(index=False, name=None)
    name = _file_name(stored.cell.cell, section.get("table") or "table")
    return Download(href=data_uri(csv_text(columns, rows)), name=name)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _file_name(*parts: str) -> str:
    return "-".join(slug(part) for part in parts if part) + ".csv"


_DRAWERS: Mapping[str, Callable[[Mapping[str, Any], Sources], list[Block]]] = {
    "metrics": _draw_metrics,
    "table": _draw_table,
    "matrix": _draw_matrix,
    "line": _draw_line,
    "bars": _draw_bars,
    "reliability": _draw_reliability,
}
