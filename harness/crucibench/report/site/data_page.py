"""The pages of data sets: what they are, and how models did on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crucibench.report.leaderboard.shown import ShownBoard
from crucibench.report.provenance import card_facts
from crucibench.report.site.links import data_page, sealed
from crucibench.report.site.render import render

if TYPE_CHECKING:
    from crucibench.store.run import Run


def data_pages(runs: Sequence[Run], views: Mapping[str, ShownBoard], total: int) -> dict[str, str]:
    """Returns the page of every data set by its path; one under two names has both boards."""
    cards = {data_page(card): card for run in runs for card in run.cards.values()}
    names: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, card in run.cards.items():
            names.setdefault(data_page(card), {})[name] = None
    pages = {}
    for path, card in cards.items():
        # A fingerprint opens the seals of packs: what stands for it does not.
        facts = card_facts(card) | {"fingerprint": sealed(card)}
        pages[path] = render(
            "data.html.j2",
            root="../",
            runs_total=total,
            data=card.name,
            card=facts,
            boards=[views[name] for name in names[path] if name in views],
        )
    return pages
