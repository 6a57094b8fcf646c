"""The project's own plots as pictures that stand alone."""

from __future__ import annotations

from pathlib import Path

_STYLE = (
    "text{font-family:sans-serif;font-size:9px;text-anchor:middle;fill:#57616c}"
    ".grid{stroke:#dde1e6;stroke-width:.6}.edge{fill:none;stroke:#dde1e6;stroke-width:.8}"
)
_COLOURS = (
    "#0b62a4", "#c2481a", "#00775a", "#8546a0", "#7a6a00", "#a03060", "#4a5560", "#1a8a9a",
)  # fmt: skip


def alone(svg: str) -> str:
    """Returns a plot of a page with the colours and the type that the page would give it."""
    for name, colour in enumerate(_COLOURS):
        svg = svg.replace(f"var(--line-{name})", colour)
    head, _, rest = svg.partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return f"{head}><style>{_STYLE}</style>{rest}\n"


def write(path: Path, svg: str) -> None:
    """Writes a plot as a file."""
    path.write_text(alone(svg), encoding="utf-8")
