"""All differences of a verdict with their intervals, as one SVG made by hand.

Each line has its own scale, with the rule's bound at the same place for all, since a loss of
accuracy and one of log loss share no unit: what is drawn is the gain in bounds of its rule.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from crucibench.gating.result import Check, Outcome, Verdict
from crucibench.gating.table import headline, many_data, ordered, where
from crucibench.gating.text import between, change
from crucibench.util.text import shorten, visible

_COLOURS = {
    Outcome.PASS: "#2a7f3f", Outcome.REGRESSION: "#c0272d", Outcome.INCONCLUSIVE: "#a86b00",
    Outcome.INVALID: "#6b6b6b", Outcome.SKIPPED: "#6b6b6b",
}  # fmt: skip
_ROW, _TOP, _LEFT, _PLOT, _RIGHT = 22, 56, 380, 300, 230
_SPAN = 3.0
"""How many bounds the axis shows to either side; what lies beyond is cut and marked."""
_MOST = 200


def deltas_svg(verdict: Verdict) -> str:
    """Draws the checks that have a difference, those that stop the gate first."""
    data = many_data(verdict.checks)
    drawn = [check for check in ordered(verdict) if check.gain is not None and check.bound][:_MOST]
    height = _TOP + _ROW * max(len(drawn), 1) + 16
    width = _LEFT + _PLOT + _RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{_text(headline(verdict), 200)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="20" font-size="14" font-weight="bold">{_text(headline(verdict), 110)}'
        "</text>",
    ]
    if drawn:
        bottom = _TOP + _ROW * len(drawn)
        parts += [
            _rule(-1.0, bottom, "the loss allowed", "#c0272d"),
            _rule(0.0, bottom, "0", "#888"),
        ]
    else:
        parts.append(f'<text x="8" y="{_TOP}">no difference to draw</text>')
    for position, check in enumerate(drawn):
        parts.append(_line(check, _TOP + _ROW * position + _ROW / 2, where(check, data=data)))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _at(gain: float) -> float:
    share = (min(max(gain, -_SPAN), _SPAN) + _SPAN) / (2 * _SPAN)
    return _LEFT + share * _PLOT


def _rule(gain: float, bottom: float, label: str, colour: str) -> str:
    x = _at(gain)
    return (
        f'<path d="M{x:.1f} {_TOP - 4}V{bottom:.1f}" stroke="{colour}" stroke-dasharray="4 3"/>'
        f'<text x="{x:.1f}" y="{_TOP - 10}" text-anchor="middle" fill="{colour}">{label}</text>'
    )


def _line(check: Check, y: float, name: str) -> str:
    assert check.gain is not None and check.bound
    colour = _COLOURS[check.outcome]
    parts = [f'<text x="8" y="{y + 4:.1f}">{_text(name, 58)}</text>']
    said = change(check.gain, percent=check.percent, sign=True)
    if check.lower is not None and check.upper is not None:
        half = (check.upper - check.lower) / 2
        low, high = _at(check.lower / check.bound), _at(check.upper / check.bound)
        parts.append(
            f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" stroke="{colour}" stroke-width="3" '
            'stroke-linecap="round" opacity="0.55"/>'
        )
        said = change(check.gain, half=half, percent=check.percent, sign=True)
        said += f" {between(check.lower, check.upper, percent=check.percent)}"
    x = _at(check.gain / check.bound)
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
    parts.append(f'<text x="{_LEFT + _PLOT + 12}" y="{y + 4:.1f}">{_text(said, 60)}</text>')
    return "".join(parts)


def _text(text: str, limit: int) -> str:
    return escape(shorten(visible(text), limit))
