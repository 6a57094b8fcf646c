"""What a page is built of: templates, and the plain views that they render."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from markupsafe import Markup

from crucibench.contracts.section import Block
from crucibench.contracts.verdict import Verdict
from crucibench.report.format import direction_mark, direction_words, show_count
from crucibench.report.numbers import ShownMetric, ShownNumber
from crucibench.util import doors
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    from jinja2 import Environment, FileSystemBytecodeCache


_UNSAFE = re.compile(r"[^a-z0-9]+")


class Anchors:
    """Gives each thing an id of its own within the page."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, ...], str] = {}
        self._taken: set[str] = set()

    def __call__(self, *thing: str) -> str:
        """Returns the id of a thing, the same each time it is asked for."""
        if thing not in self._of:
            stem = "-".join(_UNSAFE.sub("-", part.lower()).strip("-") for part in thing)[:80] or "x"
            name, count = stem, 2
            while name in self._taken:
                name, count = f"{stem}-{count}", count + 1
            self._taken.add(name)
            self._of[thing] = name
        return self._of[thing]


@dataclass(frozen=True, kw_only=True)
class ModelHead:
    """A model as the head of a column or an entry of a legend.

    Attributes:
        name: of the model.
        colour: its place in the page's colours, or None.
        dash: of its line.
        verdict: of the cell behind it.
        extra: what distinguishes two lines of one model.
    """

    name: str
    colour: int | None = None
    dash: str = "solid"
    verdict: Verdict = Verdict.VALID
    extra: str = ""


@dataclass(frozen=True, kw_only=True)
class MetricView:
    """A metric as the head of a row or column."""

    name: str
    unit: str
    arrow: str
    words: str
    href: str
    context: str = ""
    scale: str = ""

    @classmethod
    def of(cls, metric: ShownMetric, href: str, context: str = "", scale: str = "") -> MetricView:
        """Makes the view of a metric."""
        return cls(
            name=metric.name,
            unit=metric.shown_unit,
            arrow=direction_mark(metric.direction),
            words=direction_words(metric.direction),
            href=href,
            context=context,
            scale=scale,
        )


@dataclass(frozen=True, kw_only=True)
class Text:
    """A cell of a plain table; as a head it may lead to a metric's definition."""

    text: str
    numeric: bool = False
    href: str = ""


@dataclass(frozen=True, kw_only=True)
class Download:
    """The data behind what is shown."""

    href: str
    name: str


@dataclass(frozen=True, kw_only=True)
class CaptionedBlock(Block):
    """A block below a caption.

    Attributes:
        caption: what it shows.
        folded: whether a reader must open it to see it.
    """

    caption: str
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelBlock(CaptionedBlock):
    """A captioned block of one model, whose head stands in its caption."""

    head: ModelHead


@dataclass(frozen=True, kw_only=True)
class MetricTable(CaptionedBlock):
    """Metrics as rows, models as columns."""

    kind: ClassVar[str] = "metric_table"
    heads: Sequence[ModelHead]
    rows: Sequence[tuple[MetricView, Sequence[ShownNumber]]]

    @property
    def one_metric(self) -> bool:
        """Whether all rows are of one metric, so that a column has an order."""
        return len({metric.href for metric, _ in self.rows}) == 1


@dataclass(frozen=True, kw_only=True)
class GroupTable(ModelBlock):
    """Groups as rows, metrics as columns, of one model."""

    kind: ClassVar[str] = "group_table"
    metrics: Sequence[MetricView]
    rows: Sequence[tuple[str, Sequence[ShownNumber]]]


@dataclass(frozen=True, kw_only=True)
class PlainTable(ModelBlock):
    """A table as it was stored."""

    kind: ClassVar[str] = "plain_table"
    columns: Sequence[Text]
    rows: Sequence[Sequence[Text]]
    total: int
    data: Download


@dataclass(frozen=True, kw_only=True)
class HeatCell:
    """A count, and its share of the row from 0 to 100."""

    text: str
    share: float
    diagonal: bool = False


@dataclass(frozen=True, kw_only=True)
class Matrix(ModelBlock):
    """A matrix with a row a true class."""

    kind: ClassVar[str] = "matrix"
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[HeatCell], str]]
    data: Download


@dataclass(frozen=True, kw_only=True)
class Figure(Block):
    """One plot with its legend and its data."""

    kind: ClassVar[str] = "figure"
    svg: Markup
    caption: str
    legend: Sequence[ModelHead]
    data: Download | None = None
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Panels(Block):
    """Plots side by side, with a legend of each or one of all."""

    kind: ClassVar[str] = "panels"
    figures: Sequence[Figure]
    legend: Sequence[ModelHead] = ()


@dataclass(frozen=True, kw_only=True)
class BarTable(Block):
    """Values as bars: a row a category, a column a model."""

    kind: ClassVar[str] = "bar_table"
    caption: str
    label: str
    heads: Sequence[ModelHead]
    rows: Sequence[tuple[str, Sequence[tuple[str, Markup]]]]
    data: Download


@dataclass(frozen=True, kw_only=True)
class HeatGrid(ModelBlock):
    """A value by row and column, of one model; shaded on a scale that all models share.

    Attributes:
        label: what the rows are.
        across: what the columns are.
        ends: of the scale, in words.
    """

    kind: ClassVar[str] = "heat_grid"
    label: str
    across: str
    ends: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[HeatCell]]]
    data: Download


@dataclass(frozen=True, kw_only=True)
class ForestTable(CaptionedBlock):
    """A metric's numbers on one scale with a line at its null value: groups as rows.

    Attributes:
        null: the value at which groups are alike.
        zero: its place on the scale in pixels.
    """

    kind: ClassVar[str] = "forest_table"
    metric: MetricView
    null: str
    zero: str
    heads: Sequence[ModelHead]
    rows: Sequence[tuple[str, Sequence[ShownNumber]]]
    data: Download


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a text.

    Attributes:
        text: of it.
        kind: whether it was left as it was, put in, or taken out, or stands for what is not shown.
    """

    text: str
    kind: Literal["same", "put-in", "taken-out", "gap"] = "same"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image within the page.

    Attributes:
        source: a data URI.
        alt: what it shows, in words.
        width: CSS pixels.
        note: what stands beneath, or "".
    """

    source: str
    alt: str
    width: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A sample as the model was asked about it.

    Attributes:
        title: the point, or that nothing was changed.
        answer: what the model answered, with its confidence.
        right: whether that is the target; None where it is not known, or there is no right.
        pictures: of an image: it, and perhaps what was changed.
        parts: of a text: pieces of each of its columns.
    """

    title: str
    answer: str
    right: bool | None = None
    pictures: Sequence[Picture] = ()
    parts: Sequence[Sequence[Piece]] = ()


@dataclass(frozen=True, kw_only=True)
class ShownSample:
    """A sample, as it is and changed.

    Attributes:
        scenario: what changed it.
        target: what would have been right.
        versions: as it is, then changed.
        cells: of a table's row: each column that some version changed, with a piece a version.
        alike: what of the sample is the same in all versions, in words, or "".
    """

    scenario: str
    target: str
    versions: Sequence[Version]
    cells: Sequence[tuple[str, Sequence[Piece]]] = ()
    alike: str = ""


@dataclass(frozen=True, kw_only=True)
class Gallery(ModelBlock):
    """A few samples of one model."""

    kind: ClassVar[str] = "gallery"
    samples: Sequence[ShownSample]


@dataclass(frozen=True, kw_only=True)
class FilledSection:
    """One section of a suite, filled.

    Attributes:
        title: its heading.
        note: what a reader must know.
        blocks: in order.
    """

    title: str
    note: str
    blocks: Sequence[Block]


def environment(package: str) -> Environment:
    """Returns what renders the templates of a package, in its folder ``templates``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
        auto_reload=False,
        bytecode_cache=_compiled(package),
    )
    made.filters["short"] = lambda text, limit=60: shorten(visible(str(text)), limit)
    made.filters["count"] = show_count
    return made


def _compiled(package: str) -> FileSystemBytecodeCache | None:
    """Returns where compiled templates are kept: beside them, as Python keeps modules."""
    from jinja2 import FileSystemBytecodeCache

    folder = Path(str(resources.files(package))) / "templates" / "__pycache__"
    if sys.dont_write_bytecode or not os.access(folder.parent, os.W_OK):
        return None
    doors.make_folder(folder)
    return FileSystemBytecodeCache(str(folder), "%s.pyc")


@cache
def part(name: str, package: str = "crucibench.report") -> Markup:
    """Returns a part of a page that is written by hand: a style sheet or a script."""
    path = resources.files(package) / "templates" / name
    return Markup(path.read_text(encoding="utf-8"))


def source_digest(script: str) -> str:
    """Returns how a content security policy names a script: no other may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _finalize(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value, keep="\n\t")
    return value
