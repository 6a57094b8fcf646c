"""Plots as SVG that stands inside an HTML page.

Colours are variables of the page, so that a plot reads on light and dark; fonts are the page's. The
same data gives the same bytes. Names that users chose never enter a plot: legends and titles are
the page's. Lengths are in points, of which the page makes what its width leaves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray

from crucibench.util.hashing import data_digest
from crucibench.util.text import shorten, visible

COLOURS = 8
"""How many line colours the page has; more lines differ by their dashes."""

DASHES = ("solid", "dashed", "dashdot", "dotted")

_MOST_POINTS = 400

_SIZE = 9.0
"""Height of a letter."""

_LETTER = 0.64 * _SIZE
"""Width of a digit. Labels are counted, not measured: the font is the reader's."""

_GAP = 3.5
"""Between a plot's edge, its labels and its axes."""

_ALONE = 40
"""Up to so many points of a curve are drawn each."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_DASHED = {"solid": "", "dashed": "6 2.5", "dashdot": "10 2.5 1.6 2.5", "dotted": "1.6 2.6"}


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
    width, height = (223.0, 158.0) if small else (403.0, 238.0)
    across = _stretched(np.concatenate([curve.x for curve in curves]), 0.02)
    if span is None:
        seen = [each for curve in curves for each in (curve.y, curve.lower, curve.upper)]
        down = _stretched(np.concatenate([each for each in seen if each is not None]), 0.05)
    else:
        down = _stretched(np.array(span), 0.04)
    places = np.unique(np.concatenate([curve.x for curve in curves]))
    whole = len(places) <= 12 and bool(np.all(places == np.round(places)))
    panel = _placed((width, height), _Axis(across, places.tolist() if whole else None), _Axis(down))
    clip = f"p{data_digest(key)[:10]}"
    drawn = [_edges(panel), f'<g clip-path="url(#{clip})">']
    for curve in curves:
        paint = _paint(curve.colour)
        if curve.lower is not None and curve.upper is not None:
            around = panel.path(
                np.concatenate([curve.x, curve.x[::-1]]),
                np.concatenate([curve.lower, curve.upper[::-1]]),
            )
            drawn.append(f'<path d="{around}Z" fill="{paint}" fill-opacity="0.15"/>')
        drawn.append(_line(panel, curve))
    drawn.append("</g>")
    for curve in curves:
        if len(curve.x) <= _ALONE:
            drawn += _circles(panel, curve.x, curve.y, 1.75, _paint(curve.colour))
    drawn += _labels(panel, x, y, (width, height))
    return _svg((width, height), [_clip(panel, clip), *drawn], alt)


def scatter_svg(
    dots: Sequence[Dot], *, x: str, y: str, alt: str, size: tuple[float, float] = (223.0, 202.0)
) -> str:
    """Draws points with the intervals of both axes; arguments as of `line_svg`."""
    spans = [[end for dot in dots for end in (dot.x, *(dot.x_ends or ()))],
             [end for dot in dots for end in (dot.y, *(dot.y_ends or ()))]]  # fmt: skip
    panel = _placed(size, *(_Axis(_stretched(np.array(span), 0.08)) for span in spans))
    drawn = [_edges(panel)]
    for dot in dots:
        paint = _paint(dot.colour)
        for ends, along in ((dot.x_ends, True), (dot.y_ends, False)):
            if ends is not None:
                xs, ys = (ends, (dot.y, dot.y)) if along else ((dot.x, dot.x), ends)
                path = panel.path(np.array(xs), np.array(ys))
                drawn.append(_stroke(path, paint, 1.2, 'stroke-opacity="0.6"'))
        at = panel.place(dot.x, dot.y)
        fill = paint if dot.filled else "none"
        drawn.append(
            f'<circle cx="{at[0]}" cy="{at[1]}" r="3" fill="{fill}" stroke="{paint}" '
            'stroke-width="1.5"/>'
        )
    return _svg(size, [*drawn, *_labels(panel, x, y, size)], alt)


def reliability_svg(
    bins: Mapping[str, NDArray[np.float64]], *, colour: int, x: str, y: str, alt: str
) -> str:
    """Draws a reliability diagram over the counts of its bins; other arguments as of `line_svg`.

    Args:
        bins: of the filled bins, shape (n,) each: ``left`` and ``right`` ends, the ``count`` of
            samples, their mean ``confidence``, the ``share`` that came true, and the ``lower`` and
            ``upper`` ends of the share's interval.
        colour: its place in the page's colours.
        x: what the horizontal axis shows.
        y: what the vertical axis shows.
        alt: what the plot shows, in words.
    """
    size = (223.0, 252.0)
    unit = _Axis((0.0, 1.0), [0.0, 0.5, 1.0])
    most = max(1.0, float(bins["count"].max(initial=1.0)))
    # Fixed places: panels that stand side by side are then drawn to one measure.
    top = _Panel((40.0, 8.0, 212.0, 164.0), unit, unit)
    bottom = _Panel((40.0, 179.0, 212.0, 222.0), unit, _Axis((0.0, most), [0.0, float(int(most))]))
    paint = _paint(colour)
    diagonal = top.path(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    drawn = [
        _edges(top, labelled=False), _edges(bottom),
        _stroke(diagonal, "var(--muted)", 1.0, 'stroke-dasharray="4 2"'),
    ]  # fmt: skip
    for at, lower, upper in zip(bins["confidence"], bins["lower"], bins["upper"], strict=True):
        across, low = top.place(at, lower)
        high = top.place(at, upper)[1]
        drawn.append(
            _stroke(f"M{across} {low}V{high}M{across - 2.5:g} {low}h5M{across - 2.5:g} {high}h5",
                    paint, 1.3)
        )  # fmt: skip
    drawn.append(_stroke(top.path(bins["confidence"], bins["share"]), paint, 1.1))
    drawn += _circles(top, bins["confidence"], bins["share"], 2.0, paint)
    for left, right, count in zip(bins["left"], bins["right"], bins["count"], strict=True):
        start, high = bottom.place(left, count)
        end, low = bottom.place(max(right, left + 0.004), 0.0)
        drawn.append(
            f'<rect x="{start}" y="{high}" width="{end - start:.1f}" height="{low - high:.1f}" '
            f'fill="{paint}" fill-opacity="0.55" stroke="{paint}" stroke-width="0.6"/>'
        )
    beside = 40.0 - 0.15 * (212.0 - 40.0)
    drawn += [
        _turned(y, beside, (8.0 + 164.0) / 2), _turned("samples", beside, (179.0 + 222.0) / 2),
        _text(x, (40.0 + 212.0) / 2, size[1] - _GAP),
    ]  # fmt: skip
    return _svg(size, drawn, alt)


def trainings_svg(
    values: Sequence[float],
    interval: tuple[float, float] | None,
    variances: Sequence[tuple[str, float]],
    *,
    x: str,
    alt: str,
) -> str:
    """Draws the numbers of a recipe's trainings over a bar of where their variance comes from.

    Args:
        values: one a training.
        interval: of the recipe, drawn as a band, or None.
        variances: name and size of each part, at least one of them above 0 for a bar.
        x: what the values are.
        alt: for readers who do not see it.
    """
    size, line = (340.0, 118.0), 1.25 * _SIZE
    shown = np.array([*values, *(interval or ())], dtype=np.float64)
    across = _Axis(_stretched(shown, 0.06))
    panel = _Panel((6.0, 5.0, size[0] - 6.0, 44.0), across, _Axis((0.0, 1.0), []))
    parts = [_edges(panel)]
    if interval is not None:
        left, right = (panel.place(end, 0.0)[0] for end in interval)
        parts.append(
            f'<rect x="{left:g}" y="6" width="{right - left:.1f}" height="37" '
            f'fill="{_paint(0)}" fill-opacity="0.16"/>'
        )
        middle = panel.place(float(np.mean(values)), 0.0)[0]
        parts.append(_stroke(f"M{middle:g} 6V43", _paint(0), 1.6))
    # Dealt over three heights, so that trainings that are alike stay apart.
    heights = np.asarray(0.3 + 0.2 * (np.arange(len(values)) % 3), dtype=np.float64)
    parts += _circles(panel, np.sort(values), heights, 2.6, _paint(1))
    parts.append(_text(x, size[0] / 2, 44.0 + 2 * line + 2 * _GAP))
    whole = sum(variance for _, variance in variances)
    start, (left, _, right, _) = 0.0, panel.box
    for colour, (name, variance) in enumerate(variances if whole > 0 else ()):
        share = variance / whole
        wide = share * (right - left)
        at = left + start * (right - left)
        parts.append(
            f'<rect x="{at:.1f}" y="86" width="{wide:.1f}" height="13" '
            f'fill="{_paint(colour + 1)}"/>'
        )
        label = f"{name} {100 * share:.0f} %"
        if wide > _LETTER * len(label):
            parts.append(_text(label, at + wide / 2, 99.0 + line))
        start += share
    return _svg(size, parts, alt)


@dataclass(frozen=True)
class _Axis:
    """From which number to which, and where it is ticked; None for round numbers."""

    span: tuple[float, float]
    ticked: Sequence[float] | None = None

    def ticks(self, room: float) -> list[tuple[float, str]]:
        """Returns places and labels, as many as there is room for."""
        low, high = self.span
        if self.ticked is not None:
            places: Sequence[float] = self.ticked
            step = min((b - a for a, b in itertools.pairwise(places)), default=1.0)
        else:
            step = _round_step((high - low) / max(1.0, room))
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            places = [number * step for number in range(first, last + 1)]
        return [(place, _number(place, step)) for place in places]


@dataclass(frozen=True)
class _Panel:
    """A pair of axes: left, top, right and bottom, and what they run over."""

    box: tuple[float, float, float, float]
    across: _Axis
    down: _Axis

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Returns where a point lies: a tenth is finer than a line is wide."""
        left, top, right, bottom = self.box
        (x_low, x_high), (y_low, y_high) = self.across.span, self.down.span
        return (
            round(left + (float(x) - x_low) / (x_high - x_low) * (right - left), 1),
            round(bottom - (float(y) - y_low) / (y_high - y_low) * (bottom - top), 1),
        )

    def path(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
        """Returns a line through points, (n,) each."""
        points = [self.place(*point) for point in zip(x, y, strict=True)]
        return "M" + "L".join(f"{across:g} {down:g}" for across, down in points)

    def ticks(self) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
        """Returns the ticks of both axes."""
        left, top, right, bottom = self.box
        return self.across.ticks((right - left) / 45.0), self.down.ticks((bottom - top) / 24.0)


def _placed(size: tuple[float, float], across: _Axis, down: _Axis) -> _Panel:
    """Returns the only panel of a plot, with the room that its labels leave."""
    width, height = size
    line = 1.25 * _SIZE
    bottom = height - (_GAP + line + 2 * _GAP + line)
    top = max(_GAP, 0.5 * line)
    panel = _Panel((0.0, top, width, bottom), across, down)
    columns, rows = panel.ticks()
    longest = max((len(label) for _, label in rows), default=0)
    left = 2 * _GAP + line + 2 * _GAP + _LETTER * longest
    right = max(_GAP, 0.5 * _LETTER * len(columns[-1][1]) if columns else 0.0)
    return _Panel((round(left, 1), top, round(width - right, 1), bottom), across, down)


def _stretched(values: NDArray[np.float64], margin: float) -> tuple[float, float]:
    """Returns the lowest and highest value, with a share of their distance beyond them."""
    low, high = float(values.min()), float(values.max())
    beyond = margin * (high - low) or max(0.5 * abs(low) * margin, 1e-9 if low else 0.5)
    return low - beyond, high + beyond


def _round_step(at_least: float) -> float:
    power = 10.0 ** math.floor(math.log10(at_least))
    return next(power * step for step in _STEPS if power * step >= at_least * (1 - 1e-9))


def _number(value: float, step: float) -> str:
    """Returns a tick's label, with the digits that tell it from its neighbours."""
    if abs(value) >= 1e6 or 0 < step < 1e-4:
        text = f"{value:.3g}" if value else "0"
    else:
        places = max(0, -math.floor(math.log10(step) + 1e-9))
        places += not math.isclose(round(step, places), step, rel_tol=1e-6)
        text = f"{value:.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("-")


def _edges(panel: _Panel, *, labelled: bool = True) -> str:
    """Draws grid, axes and labels of ticks."""
    left, top, right, bottom = panel.box
    columns, rows = panel.ticks()
    lines, texts = [], []
    for value, label in columns:
        at = panel.place(value, panel.down.span[0])[0]
        lines.append(f"M{at:g} {top:g}V{bottom:g}")
        if labelled:
            down = bottom + 2 * _GAP + 0.5 * _SIZE
            texts.append(f'<text class="tick" x="{at:g}" y="{down:.1f}">{label}</text>')
    for value, label in rows:
        at = panel.place(panel.across.span[0], value)[1]
        lines.append(f"M{left:g} {at:g}H{right:g}")
        texts.append(
            f'<text class="tick end" x="{left - _GAP:g}" y="{at + 0.36 * _SIZE:.1f}">{label}</text>'
        )
    return (
        f'<path class="grid" d="{"".join(lines)}"/>'
        f'<path class="edge" d="M{left:g} {top:g}V{bottom:g}H{right:g}"/>{"".join(texts)}'
    )


def _labels(panel: _Panel, x: str, y: str, size: tuple[float, float]) -> Iterable[str]:
    left, top, right, bottom = panel.box
    below = _text(x, (left + right) / 2, size[1] - _GAP)
    return (below, _turned(y, _GAP + _SIZE, (top + bottom) / 2)) if y else (below,)


def _text(text: str, x: float, y: float, more: str = "") -> str:
    return f'<text class="tick" x="{x:g}" y="{y:g}"{more}>{escape(_plain(text))}</text>'


def _turned(text: str, x: float, y: float) -> str:
    return _text(text, x, y, f' transform="rotate(-90 {x:g} {y:g})"')


def _line(panel: _Panel, curve: Curve) -> str:
    dashes = _DASHED[dash(curve.colour)]
    more = f'stroke-dasharray="{dashes}"' if dashes else ""
    return _stroke(panel.path(curve.x, curve.y), _paint(curve.colour), 1.6, more)


def _circles(
    panel: _Panel, x: NDArray[np.float64], y: NDArray[np.float64], radius: float, paint: str
) -> list[str]:
    places = (panel.place(*point) for point in zip(x, y, strict=True))
    return [f'<circle cx="{at[0]}" cy="{at[1]}" r="{radius:g}" fill="{paint}"/>' for at in places]


def _stroke(path: str, paint: str, width: float, more: str = "") -> str:
    return f'<path d="{path}" fill="none" stroke="{paint}" stroke-width="{width:g}" {more}/>'


def _paint(colour: int) -> str:
    return f"var(--line-{colour % COLOURS})"


def _clip(panel: _Panel, name: str) -> str:
    left, top, right, bottom = panel.box
    return (
        f'<clipPath id="{name}"><rect x="{left:g}" y="{top:g}" width="{right - left:g}" '
        f'height="{bottom - top:g}"/></clipPath>'
    )


def _plain(text: str) -> str:
    return shorten(visible(text), 48)


def _svg(size: tuple[float, float], parts: Sequence[str], alt: str) -> str:
    width, height = size
    newline = "\n"
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" '
        f'style="max-width:{width * 1.4:.0f}px" role="img" '
        f'aria-label="{escape(visible(alt))}">\n{newline.join(parts)}\n</svg>'
    )
