"""The one reader of metric rows: as typed rows, by their metrics, and as what is shown of them.

Beside numbers stand small marks: an interval as a whisker, a value as a bar. They repeat what the
figures say, so that readers of the page aloud don't hear them. The style sheet draws them from
their places in pixels, since a page holds thousands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from crucibench.contracts.rows import COLUMNS, Address, MetricRow
from crucibench.contracts.verdict import Verdict
from crucibench.passes.scenario import SUITE as PASS
from crucibench.passes.scenario import Pass
from crucibench.report.findings import IMPRECISE_MARK, VERDICT_MARKS
from crucibench.report.format import DASH, Shown, in_percent, show_count, show_number, show_plain
from crucibench.store.run import Run

_WIDTH = 112.0
_PAD = 4.0


class Scale(NamedTuple):
    """The ends of a common axis."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Returns a value's place in pixels."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return _PAD + share * (_WIDTH - 2 * _PAD)


def scale_of(values: Iterable[float | None], include: Iterable[float] = ()) -> Scale | None:
    """Returns the axis that holds all finite values, or None where it has no length."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    finite += list(include) if finite else []
    if not finite or min(finite) == max(finite):
        return None
    return Scale(min(finite), max(finite))


def whisker(scale: Scale, value: float, interval: tuple[float, float] | None) -> Markup:
    """Draws a value as a dot on its interval."""
    return _mark(_span(scale, interval), f"--v:{_px(scale.at(value))}")


def bar(scale: Scale, value: float, interval: tuple[float, float] | None, colour: int) -> Markup:
    """Draws a value as a bar from 0, with its interval."""
    start, stop = sorted((scale.at(0.0), scale.at(value)))
    ends = f"--s:{_px(start)};--e:{_px(stop)};--c:var(--line-{colour})"
    return _mark(ends, _span(scale, interval))


def _span(scale: Scale, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    low, high = (_px(scale.at(end)) for end in interval)
    return f"--l:{low};--h:{high}"


def _px(pixels: float) -> str:
    return f"{pixels:.1f}".removesuffix(".0")


def _mark(*places: str) -> Markup:
    # Every place is made of numbers alone. The table's class says what is drawn.
    return Markup(f'<i style="{";".join(filter(None, places))}"></i>')


_WHOSE = re.compile(r"(?:^|; )it is ([^;]+?)(?:, worst of|;|$)")
"""What the method of a worst group's or case's interval says it is."""


@dataclass(frozen=True, kw_only=True)
class ShownMetric:
    """What a run says of a metric, as its suite declared it.

    Attributes:
        suite: the suite's name.
        id: of the metric.
        name: for people.
        direction: which way is better.
        definition: "" where the run holds none.
        source: where the definition comes from.
        unit: "" for none.
        lower: None for no bound.
        upper: likewise.
        version: of the metric.
    """

    suite: str
    id: str
    name: str
    direction: str = "none"
    definition: str = ""
    source: str = ""
    unit: str = ""
    lower: float | None = None
    upper: float | None = None
    version: int = 1

    @property
    def percent(self) -> bool:
        """Whether it is shown in per cent, or in points."""
        return self.points or in_percent(self.lower, self.upper, self.unit)

    @property
    def points(self) -> bool:
        """Whether it is a loss or gap of shares, shown in percentage points.

        These run from -1 to 1 and are best low or at 0; a correlation is best high.
        """
        known = (self.lower, self.upper, self.unit) == (-1.0, 1.0, "")
        return known and self.direction in {"lower", "target=0"}

    @property
    def shown_unit(self) -> str:
        """The unit in which it is shown, or ""."""
        return "points" if self.points else "%" if self.percent else self.unit

    @property
    def factor(self) -> float:
        """What a number is multiplied with to be shown in that unit."""
        return 100.0 if self.percent else 1.0

    def scaled(self, number: MetricRow) -> tuple[float, tuple[float, float] | None]:
        """Returns value and interval, in the unit shown, of a number that has a value."""
        assert number.value is not None
        ends = number.interval
        scaled = None if ends is None else (self.factor * ends[0], self.factor * ends[1])
        return self.factor * number.value, scaled

    def show(self, number: MetricRow) -> Shown:
        """Writes a number of this metric that has a value."""
        assert number.value is not None
        return show_number(number.value, number.lower, number.upper, percent=self.percent)

    def show_gain(self, by: float, lower: float | None, upper: float | None) -> str:
        """Writes a difference of two such numbers with its interval; shares in points."""
        unit = "points" if self.percent else self.unit
        found = show_number(by, lower, upper, percent=self.percent)
        return " ".join(filter(None, (found.value, unit, found.interval)))

    def show_span(self, low: float, high: float) -> str:
        """Writes the ends of a drawn scale, which are no results and so rounded for reading."""
        return " to ".join(show_plain(float(f"{self.factor * end:.3g}")) for end in (low, high))


@dataclass(frozen=True, kw_only=True)
class ShownNumber:
    """What stands in a place for a number, in every format.

    Attributes:
        value: as text; "" where there is none.
        interval: e.g. ``[94.3, 98.1]``, or "".
        n: the denominator; "" without a value.
        verdict: how far it can be trusted.
        reason: why value or interval is missing.
        apart: whether there is a number that is listed apart, since it is not comparable.
        address: its permanent name.
        sort: what a column is sorted by; "" sorts last.
        href: where more is said of it; "" for nowhere.
        whisker: a mark of the value on its interval, on a page.
        whose: the group or case that a worst one is, as its method names it; else "".
    """

    value: str = ""
    interval: str = ""
    n: str = ""
    verdict: Verdict = Verdict.VALID
    reason: str = ""
    apart: bool = False
    address: str = ""
    sort: str = ""
    href: str = ""
    whisker: Markup | str = ""
    whose: str = ""

    @property
    def mark(self) -> str:
        """The mark of its verdict, or ""."""
        return VERDICT_MARKS[self.verdict]

    @property
    def text(self) -> str:
        """Value, interval and mark; a dash where there is no value."""
        value = f"{self.value} {self.interval}" if self.value else DASH
        return f"{value.rstrip()}{'†' if self.apart else ''} {self.mark}".rstrip()


def scale_of_numbers(
    numbers: Iterable[MetricRow | None], include: Iterable[float] = ()
) -> Scale | None:
    """Returns the axis that holds all values and intervals, or None where it has no length."""
    ends = (
        end
        for number in numbers
        if number is not None
        for end in (number.value, number.lower, number.upper)
    )
    return scale_of(ends, include)


def shown(
    metric: ShownMetric, number: MetricRow | None, href: str = "", scale: Scale | None = None
) -> ShownNumber:
    """Returns what stands for a metric row.

    Args:
        metric: by which it is written.
        number: the row; None where nothing was measured.
        href: where more is said of it.
        scale: of the whiskers beside it; None for no whisker.
    """
    if number is None:
        return ShownNumber(reason="not measured")
    if number.value is None:
        return ShownNumber(
            verdict=number.verdict, reason=number.reason, address=str(number.address), href=href
        )
    text = metric.show(number)
    return ShownNumber(
        value=f"{IMPRECISE_MARK}{text.value}" if "imprecise" in number.mark else text.value,
        interval=text.interval,
        n=show_count(number.n),
        whose=found[1] if (found := _WHOSE.search(number.method)) else "",
        verdict=number.verdict,
        reason="" if number.interval is not None else number.reason,
        address=str(number.address),
        sort=repr(number.value)
        if math.isfinite(number.value)
        else text.value.replace("\u2212", "-"),
        href=href,
        whisker="" if scale is None else whisker(scale, number.value, number.interval),
    )


def declared_metrics(suites: Mapping[str, Any]) -> dict[tuple[str, str], ShownMetric]:
    """Returns the metrics that suites declare, and the pass, by suite and id."""
    own = {PASS: {"metrics": [asdict(metric) for metric in Pass.metrics]}}
    return {
        (suite, entry["id"]): ShownMetric(
            suite=suite,
            id=entry["id"],
            name=entry.get("name") or entry["id"],
            direction=entry.get("direction") or "none",
            definition=entry.get("definition") or "",
            source=entry.get("source") or "",
            unit=entry.get("unit") or "",
            lower=_bound(entry.get("lower")),
            upper=_bound(entry.get("upper")),
            version=entry.get("version") or 1,
        )
        for suite, info in {**own, **suites}.items()
        for entry in info.get("metrics", [])
    }


def metric_of(metrics: Mapping[tuple[str, str], ShownMetric], number: MetricRow) -> ShownMetric:
    """Returns the metric of a number; one without a definition where the run holds none."""
    suite, metric = number.address.suite, number.address.metric
    return metrics.get((suite, metric)) or ShownMetric(
        suite=suite, id=metric, name=metric, direction=number.direction, unit=number.unit
    )


def numbers_of(run: Run) -> list[MetricRow]:
    """Returns a run's metric rows in their stored order."""
    return [number_of(entry, run.id) for entry in run.metric_table().to_pylist()]


def number_of(entry: Mapping[str, Any], run: str) -> MetricRow:
    """Returns one metric row, given by its columns, of the run of this id."""
    text = {name: entry[name] or "" for name in _TEXTS}
    return MetricRow(
        data=text["data"],
        address=Address(*(text[name] for name in Address._fields)),
        value=_float(entry["value"]),
        lower=_float(entry["lower"]),
        upper=_float(entry["upper"]),
        level=_float(entry["level"]),
        method=text["method"],
        n=0 if _float(entry["n"]) is None else int(entry["n"]),
        direction=text["direction"] or "none",
        unit=text["unit"],
        estimand=text["estimand"],
        mark=text["mark"],
        reason=text["reason"],
        verdict=Verdict(text["verdict"] or Verdict.VALID),
        cell=text["cell"],
        key=text["comparison_key"],
        run=run,
    )


_TEXTS = frozenset(COLUMNS) - {"value", "lower", "upper", "level", "n"}


def _float(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _bound(value: Any) -> float | None:
    # JSON has no infinity: no bound is null, or a word.
    return float(value) if value is not None and math.isfinite(float(value)) else None


def names_in_order(
    spec: Mapping[str, Any], section: str, found: set[str] | frozenset[str]
) -> list[str]:
    """Returns the found names of models or data in the spec's order; variants after their model."""
    order: dict[str, int] = {}
    for entry in spec.get(section) or []:
        order.setdefault(entry.get("name", ""), len(order))

    def rank(name: str) -> tuple[int, str]:
        stem = name if name in order else name.rpartition("@")[0]
        return order.get(stem, len(order)), "" if name in order else name

    return sorted(found, key=rank)
