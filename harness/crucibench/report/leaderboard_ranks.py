"""Ranks on a leaderboard, in words and rows that every format shares."""

from __future__ import annotations

from crucibench.report.format import DASH, listed, show_number
from crucibench.report.leaderboard import Board, Estimate, Standing

STANDING_HEADS = ("model", "win rate [%]", "mean rank", "columns", "front")


def rank_text(board: Board, label: str) -> str:
    """Returns a model's ranks in the column by which the board is sorted; "" without."""
    if board.ranks is None:
        return ""
    span = board.ranks.spans.get(board.sorted_by, {}).get(label)
    return DASH if span is None else str(span)


def shows_ranks(board: Board) -> bool:
    """Whether the column by which the board is sorted has ranks."""
    return board.ranks is not None and bool(board.ranks.spans.get(board.sorted_by))


def standing_row(standing: Standing) -> tuple[str, ...]:
    """Returns the texts under `STANDING_HEADS`."""
    front = {True: "yes", False: "no", None: DASH}[standing.on_front]
    return (
        standing.label,
        _estimate(standing.win_rate, percent=True),
        _estimate(standing.mean_rank),
        str(standing.columns),
        front,
    )


def _estimate(estimate: Estimate, *, percent: bool = False) -> str:
    return str(show_number(estimate.value, estimate.lower, estimate.upper, percent=percent))


def notes_on_ranks(board: Board) -> list[str]:
    """Says how ranks are to be read, and why some are missing."""
    ranks = board.ranks
    if ranks is None or not board.columns:
        return []
    notes = []
    if ranks.spans:
        notes.append(
            "Ranks are intervals that hold together at 95 %: models are told apart by paired tests "
            "on the same samples, corrected for all pairs (Holm); those of the same first rank "
            "form a group."
        )
    if ranks.standings:
        how = (
            f"without intervals: {ranks.no_intervals}"
            if ranks.no_intervals
            else "with 95 % intervals from joint resampling"
        )
        notes.append(
            f"Win rate and mean rank weigh the {len(ranks.spans)} ranked columns alike, {how}."
        )
    if len(ranks.front) > 1:
        titles = listed(column.title for column in ranks.front)
        notes.append(f"Front: no other model is as good in all of {titles} and better in one.")
    titles_of = {column.place: column.title for column in board.columns}
    together: dict[str, list[str]] = {}
    for place, why in ranks.unranked.items():
        together.setdefault(why, []).append(titles_of[place])
    notes += [f"No ranks in {listed(titles)}: {why}." for why, titles in together.items()]
    return notes
