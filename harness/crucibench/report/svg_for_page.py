"""Makes a plot of matplotlib's fit to stand inside a page that holds many.

Colours become CSS variables of the page, so that a plot reads on light and dark, identifiers get a
prefix of their own, fonts are the page's, and what says nothing is left out.
"""

from __future__ import annotations

import re

from markupsafe import escape

from crucibench.util.hashing import data_digest
from crucibench.util.text import visible

INK, MUTED, GRID = "#010101", "#020202", "#030303"
LINE = "#0400{:02x}"
"""Stand for the page's colours while matplotlib draws."""

_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--rule)"}
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


def fit_for_page(text: str, key: str, alt: str) -> str:
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
