"""Small marks beside numbers, as inline SVG: an interval as a whisker, a value as a bar.

They repeat what stands beside them in figures, so that readers of the page aloud don't hear them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup

_WIDTH, _HEIGHT = 112.0, 12.0
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
    middle = _HEIGHT / 2
    parts = [f'<path class="track" d="M{_PAD} {middle}H{_WIDTH - _PAD}"/>']
    if interval is not None:
        low, high = (scale.at(end) for end in interval)
        parts.append(f'<path class="span" d="M{low:.1f} {middle}H{high:.1f}"/>')
    parts.append(f'<circle cx="{scale.at(value):.1f}" cy="{middle}" r="3"/>')
    return _svg("whisker", parts)


def bar(scale: Scale, value: float, interval: tuple[float, float] | None, colour: int) -> Markup:
    """Draws a value as a bar from 0, with its interval."""
    middle = _HEIGHT / 2
    start, stop = sorted((scale.at(0.0), scale.at(value)))
    parts = [
        f'<rect x="{start:.1f}" y="2" width="{stop - start:.1f}" height="{_HEIGHT - 4}" '
        f'style="fill:var(--line-{colour})"/>'
    ]
    if interval is not None:
        low, high = (scale.at(end) for end in interval)
        parts.append(f'<path class="span" d="M{low:.1f} {middle}H{high:.1f}"/>')
    return _svg("bar", parts)


def _svg(name: str, parts: list[str]) -> Markup:
    box = f'viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" width="{_WIDTH:.0f}" height="{_HEIGHT:.0f}"'
    body = "".join(parts)
    # Every part is made of numbers alone.
    return Markup(f'<svg class="{name}" {box} aria-hidden="true">{body}</svg>')
