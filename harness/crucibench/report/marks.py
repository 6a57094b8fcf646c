"""Small marks beside numbers: an interval as a whisker, a value as a bar.

They repeat what stands beside them in figures, so that readers of the page aloud don't hear them.
The style sheet draws them from their places in pixels, since a page holds thousands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup

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
