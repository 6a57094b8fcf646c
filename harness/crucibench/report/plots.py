"""Plots as SVG that stands inside an HTML page.

matplotlib draws; then the file is made fit for a page that holds many: colours become variables of
the page, so that a plot reads on light and dark, identifiers get a prefix of their own, fonts are
the page's, and what says nothing is left out. The same data gives the same bytes. Names that users
chose never enter a plot: legends and titles are the page's.
"""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray

from crucibench.util.hashing import data_digest
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS = 8
"""How many line colours the page has; more lines differ by their dashes."""

DASHES = ("solid", "dashed", "dashdot", "dotted")

_MOST_POINTS = 400

_SIZE = 9.0
"""Points of a letter."""

_GAP = 3.5
"""Points between a plot's edge, its labels and its axes."""


_INK, _MUTED, _GRID = "#010101", "#020202", "#030303"
_LINE = "#0400{:02x}"
"""Stand for the page's colours while matplotlib draws."""

_VARIABLES = {_INK: "var(--ink)", _MUTED: "var(--muted)", _GRID: "var(--rule)"}
_PLACE = re.compile(r'\b(d|x|y|x1|x2|y1|y2|points|transform)="([^"]*)"')
_NAME = re.compile(r'(\bid="|\bhref="#|url\(#)([^")]*)([")])')
_LONG = re.compile(r"-?\d+\.\d{2,}")
_COMMON = {
    "fill: none; stroke: var(--rule); stroke-width: 0.6; stroke-linecap: square": "grid",
    "fill: none; stroke: var(--rule); stroke-width: 0.8; stroke-linejoin: miter; "
    "stroke-linecap: square": "edge",
    "font-size: 9px; text-anchor: middle; fill: var(--muted)": "tick",
    "font-size: 9px; text-anchor: end; fill: var(--muted)": "tick end",
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line.

    Attributes:
        colour: its place in the page's colours.
        x: finite, shape (n,).
        y: likewise.
        lower: of a band, or None.
        upper: likewise.
    """

    colour: int
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    lower: NDArray[np.float64] | None = None
    upper: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class ReliabilityBins:
    """The filled bins of a reliability diagram.

    Attributes:
        left: of each bin, shape (n,).
        right: likewise.
        count: samples in it.
        confidence: their mean confidence.
        share: the share that came true.
        lower: of the share's interval.
        upper: likewise.
    """

    left: NDArray[np.float64]
    right: NDArray[np.float64]
    count: NDArray[np.float64]
    confidence: NDArray[np.float64]
    share: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One point with its intervals.

    Attributes:
        colour: its place in the page's colours.
        x: finite.
        y: finite.
        x_ends: of its interval, or None.
        y_ends: likewise.
        filled: whether it is drawn full or hollow.
    """

    colour: int
    x: float
    y: float
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None
    filled: bool = True


def thinned(count: int, y: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Returns the rows of a curve to draw: all, or ends and extremes of equal stretches."""
    if count <= _MOST_POINTS:
        return np.arange(count)
    edges = np.linspace(0, count, _MOST_POINTS // 3 + 1).astype(np.int64)
    rows = {0, count - 1}
    for start, stop in itertools.pairwise(edges):
        rows.add(int(start))
        if y is not None:
            rows.add(int(start + np.argmin(y[start:stop])))
            rows.add(int(start + np.argmax(y[start:stop])))
    return np.array(sorted(rows), dtype=np.int64)


def dash(colour: int) -> str:
    """Returns the dashes of the line at that place of the page's colours."""
    return DASHES[(colour // COLOURS) % len(DASHES)]


def line_svg(
    curves: Sequence[Curve],
    *,
    x: str,
    y: str,
    key: str,
    alt: str,
    small: bool = False,
    span: tuple[float, float] | None = None,
) -> str:
    """Draws curves over a common axis.

    Args:
        curves: one or more.
        x: what the horizontal axis shows.
        y: what the vertical axis shows.
        key: no other plot of the page has it.
        alt: what the plot shows, in words.
        small: whether it stands beside others.
        span: the ends of the vertical axis; None for those of the curves.
    """
    with _style(key):
        figure = _figure(3.1, 2.2) if small else _figure(5.6, 3.3)
        axes = figure.add_subplot()
        for curve in curves:
            colour = _LINE.format(curve.colour % COLOURS)
            alone = len(curve.x) <= 40
            axes.plot(
                curve.x, curve.y, color=colour, linestyle=dash(curve.colour), linewidth=1.6,
                marker="o" if alone else None, markersize=3.5, clip_on=not alone, zorder=3,
            )  # fmt: skip
            if curve.lower is not None and curve.upper is not None:
                axes.fill_between(
                    curve.x, curve.lower, curve.upper, color=colour, alpha=0.15, linewidth=0
                )
        _label(axes, x, y)
        axes.margins(x=0.02)
        if span is not None:
            margin = 0.04 * (span[1] - span[0]) or 0.5
            axes.set_ylim(span[0] - margin, span[1] + margin)
        places = np.unique(np.concatenate([curve.x for curve in curves]))
        if len(places) <= 12 and bool(np.all(places == np.round(places))):
            axes.set_xticks(places.tolist())
        _place(figure, axes)
        return _svg(figure, key, alt)


def scatter_svg(dots: Sequence[Dot], *, x: str, y: str, key: str, alt: str) -> str:
    """Draws points with the intervals of both axes."""
    with _style(key):
        figure = _figure(3.1, 2.8)
        axes = figure.add_subplot()
        for dot in dots:
            paint = _LINE.format(dot.colour % COLOURS)
            for ends, along in ((dot.x_ends, axes.hlines), (dot.y_ends, axes.vlines)):
                if ends is not None:
                    at = dot.y if along == axes.hlines else dot.x
                    along(at, *ends, color=paint, linewidth=1.2, alpha=0.6, zorder=2)
            axes.plot(
                [dot.x], [dot.y], marker="o", markersize=6, color=paint, markeredgewidth=1.5,
                markerfacecolor=paint if dot.filled else "none", zorder=3,
            )  # fmt: skip
        _label(axes, x, y)
        axes.margins(0.08)
        _place(figure, axes)
        return _svg(figure, key, alt)


def reliability_svg(
    bins: ReliabilityBins, *, colour: int, x: str, y: str, key: str, alt: str
) -> str:
    """Draws a reliability diagram over the counts of its bins."""
    with _style(key):
        # Fixed places: panels that stand side by side are then drawn to one measure.
        figure = _figure(3.1, 3.5)
        top = figure.add_axes((0.18, 0.35, 0.77, 0.62))
        bottom = figure.add_axes((0.18, 0.12, 0.77, 0.17), sharex=top)
        paint = _LINE.format(colour % COLOURS)
        top.plot([0, 1], [0, 1], color=_MUTED, linestyle="dashed", linewidth=1, zorder=2)
        span = np.maximum([bins.share - bins.lower, bins.upper - bins.share], 0.0)
        top.errorbar(
            bins.confidence, bins.share, yerr=span, color=paint, ecolor=paint, fmt="o-",
            markersize=4, linewidth=1.1, elinewidth=1.3, capsize=2.5, clip_on=False, zorder=3,
        )  # fmt: skip
        top.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        bottom.bar(
            bins.left, bins.count, width=np.maximum(bins.right - bins.left, 0.004), align="edge",
            color=paint, alpha=0.55, edgecolor=paint, linewidth=0.6,
        )  # fmt: skip
        bottom.set_ylim(0, max(1.0, float(bins.count.max(initial=1.0))))
        bottom.set_yticks([0, int(bins.count.max(initial=1.0))])
        _label(top, "", y)
        _label(bottom, x, "samples")
        top.tick_params(labelbottom=False)
        for axes in (top, bottom):
            axes.yaxis.set_label_coords(-0.15, 0.5)
        return _svg(figure, key, alt)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.patch.set_visible(False)
    return figure


def _place(figure: Figure, axes: Axes) -> None:
    """Gives the only axes of a figure the room that their labels leave.

    Labels are counted, not measured: the reader's font is another one anyway, and matplotlib's
    own layouts take as long as all the rest of a plot.
    """
    width, height = (72 * side for side in figure.get_size_inches())
    line, letter = 1.25 * _SIZE, 0.64 * _SIZE
    # How many ticks there are depends on the room, and the room on the ticks.
    for _ in range(2):
        across, down = (_tick_labels(axis) for axis in (axes.xaxis, axes.yaxis))
        left = 2 * _GAP + line + 2 * _GAP + letter * max(map(len, down), default=0)
        right = max(_GAP, 0.5 * letter * len(across[-1]) if across else 0.0)
        bottom = _GAP + line + 2 * _GAP + line
        top = max(_GAP, 0.5 * line) + (line if axes.yaxis.get_offset_text().get_text() else 0.0)
        axes.set_position(
            (left / width, bottom / height, 1 - (left + right) / width,
             1 - (bottom + top) / height)
        )  # fmt: skip


def _tick_labels(axis: Axis) -> list[str]:
    low, high = sorted(axis.get_view_interval())
    places = [place for place in axis.get_majorticklocs() if low <= place <= high]
    labels = axis.get_major_formatter().format_ticks(places)
    offset = axis.get_major_formatter().get_offset()
    axis.get_offset_text().set_text(offset)
    return labels


def _style(key: str) -> Any:
    import matplotlib as mpl

    return mpl.rc_context(
        {
            "svg.hashsalt": key,
            "svg.fonttype": "none",
            "text.parse_math": False,
            "text.usetex": False,
            "font.family": "DejaVu Sans",
            "font.size": _SIZE,
            "axes.facecolor": "none",
            "axes.edgecolor": _GRID,
            "axes.labelcolor": _MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.unicode_minus": True,
            "grid.color": _GRID,
            "grid.linewidth": 0.6,
            "xtick.color": _MUTED,
            "ytick.color": _MUTED,
            "xtick.major.size": 0.0,
            "ytick.major.size": 0.0,
            "xtick.bottom": False,
            "ytick.left": False,
            "path.simplify": False,
        }
    )


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(_plain(x))
    axes.set_ylabel(_plain(y))


def _plain(text: str) -> str:
    # What the fonts that matplotlib measures with can't show would be a warning.
    return "".join(char if char.isprintable() and ord(char) < 0x2000 else "?" for char in
                   shorten(visible(text), 48))  # fmt: skip


def _svg(figure: Figure, key: str, alt: str) -> str:
    stream = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure.savefig(stream, format="svg", metadata=nothing)
    return _fit_for_page(stream.getvalue(), key, alt)


def _fit_for_page(text: str, key: str, alt: str) -> str:
    """Returns an SVG file as an element of a page.

    Args:
        text: of the file, as matplotlib writes it with fonts left to the reader.
        key: no other plot of the page has it.
        alt: what the plot shows, in words.
    """
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    prefix = f"p{data_digest(key)[:10]}"
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    # Groups carry names that repeat from plot to plot; only what is referred to keeps one.
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    short: dict[str, int] = {}
    body = _NAME.sub(
        lambda name: f"{name[1]}{prefix}-{short.setdefault(name[2], len(short))}{name[3]}",
        body.replace("xlink:href", "href"),
    )
    body = re.sub(r"font: ([0-9.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"#04000([0-7])", r"var(--line-\1)", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    for style, name in _COMMON.items():
        body = body.replace(f'style="{style}"', f'class="{name}"')
    body = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", body)
    body = re.sub(r'clip-path="[^"]*" (class="grid")', r"\1", body)
    body = _PLACE.sub(_rounded, _without_bare_groups(body))
    body = re.sub(r"\s*\n\s*", "\n", body).strip()
    width = float(box[1].split()[2])
    return (
        f'<svg class="plot" viewBox="{box[1]}" style="max-width:{width * 1.4:.0f}px" role="img" '
        f'aria-label="{escape(visible(alt))}">\n{body}\n</svg>'
    )


def _rounded(attribute: re.Match[str]) -> str:
    # A tenth of a point is finer than a line is wide.
    places = _LONG.sub(lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), attribute[2])
    if attribute[1] == "d":
        places = re.sub(r"\s*([A-Za-z])\s*", r"\1", places)
    return f'{attribute[1]}="{" ".join(places.split())}"'


def _without_bare_groups(body: str) -> str:
    """Takes out groups that have no attribute, and keeps what stands in them."""
    kept: list[str] = []
    bare: list[bool] = []
    for part in re.split(r"(</?g\b[^>]*>)", body):
        if not re.match(r"</?g\b", part):
            kept.append(part)
        elif part.endswith("/>"):
            continue
        elif part == "</g>":
            kept.append("" if bare.pop() else part)
        else:
            bare.append(part == "<g>")
            kept.append("" if bare[-1] else part)
    return "".join(kept)
