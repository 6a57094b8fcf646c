"""What is said of a model beside its numbers: its card, its seeds, and whether it still counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crucibench.report.leaderboard.board import About, Retired
from crucibench.report.leaderboard.drafts import Draft

if TYPE_CHECKING:
    from crucibench.contracts.data import DataCard
    from crucibench.spec.notes import RowNote

FIELDS = ("authors", "paper", "licence", "trained_on")
"""Fields of a model's card that stand on its row."""


def about(draft: Draft, data: str, notes: Sequence[RowNote]) -> About:
    """Returns what the runs' model cards and the notes say of a line.

    A card's keys ``withdrawn`` and ``superseded`` (with ``superseded_by``) hold the reason; a note
    goes before them.
    """
    card: dict[str, Any] = {}
    group = ""
    for run in draft.runs:
        info = run.models.get((draft.model, data))
        if info is not None:
            group = group or info.group
            card |= {name: value for name, value in info.card.items() if value not in (None, "")}
    if "license" in card:
        card.setdefault("licence", card["license"])
    runs = tuple(run.id for run in draft.runs)
    return About(
        card={name: words(card[name]) for name in FIELDS if name in card},
        group=group,
        trained_on_test=_named_in(_entries(card.get("trained_on")), _cards(draft, data)),
        retired=_retired(card, next((n for n in notes if n.fits(draft.model, data, runs)), None)),
    )


def words(value: Any) -> str:
    """Returns a field of a card as one text; what is no text or number stays unsaid."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {words(entry)}" for key, entry in value.items())
    return ", ".join(_entries(value))


def _entries(value: Any) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list | tuple | set) else [value]
    return [str(entry) for entry in values]


def _cards(draft: Draft, data: str) -> list[DataCard]:
    return [run.cards[data] for run in draft.runs if data in run.cards]


def _named_in(trained_on: Sequence[str], cards: Sequence[DataCard]) -> str:
    """Returns the entry of `trained_on` that names the test data, or ""."""
    known = set()
    for card in cards:
        address = card.uri.partition("?")[0]
        named = (card.name, card.uri, address, address.partition(":")[2], card.fingerprint)
        known |= {name.casefold() for name in named if name}
    return next((entry for entry in trained_on if entry.strip().casefold() in known), "")


def _retired(card: Mapping[str, Any], note: RowNote | None) -> Retired | None:
    if note is not None:
        if note.withdrawn is not None:
            return Retired("withdrawn", note.withdrawn)
        return Retired("superseded", note.superseded or "", note.by)
    if card.get("withdrawn"):
        return Retired("withdrawn", words(card["withdrawn"]))
    if card.get("superseded"):
        return Retired("superseded", words(card["superseded"]), words(card.get("superseded_by")))
    return None
