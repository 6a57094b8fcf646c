"""Ranks on a leaderboard, in words and rows that every format shares."""

from __future__ import annotations

from crucibench.report.format import DASH, counted, listed, show_number
from crucibench.report.leaderboard import Board, Estimate

STANDING_HEADS = ("model", "columns", "beside", "win rate [%]", "mean rank", "front")


def rank_text(board: Board, label: str) -> str:
    """Returns a model's ranks in the column by which the board is sorted; "" without."""
    if board.ranks is None:
        return ""
    span = board.ranks.spans.get(board.sorted_by, {}).get(label)
    return DASH if span is None else str(span)


def shows_ranks(board: Board) -> bool:
    """Whether the column by which the board is sorted has ranks."""
    return board.ranks is not None and bool(board.ranks.spans.get(board.sorted_by))


def standing_rows(board: Board) -> list[tuple[str, ...]]:
    """Returns the texts under `STANDING_HEADS`, a row a model; none without ranks."""
    ranks = board.ranks
    if ranks is None:
        return []
    return [
        (
            one.label,
            f"{one.columns} of {len(ranks.spans)}",
            counted(one.others, "other") if one.others else DASH,
            _estimate(one.win_rate, percent=True),
            _estimate(one.mean_rank),
            {True: "yes", False: "no", None: DASH}[one.on_front],
        )
        for one in ranks.standings
    ]


def _estimate(estimate: Estimate | None, *, percent: bool = False) -> str:
    if estimate is None:
        return DASH
    return str(show_number(estimate.value, estimate.lower, estimate.upper, percent=percent))


def notes_on_ranks(board: Board) -> list[str]:
    """Says how ranks are to be read, and why some are missing."""
    ranks = board.ranks
    notes = list(board.left_out)
    if ranks is None or not board.columns:
        return notes
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
            "Win rate and mean rank weigh the columns in which a model stands alike, beside the "
            f"other models that stand in all of these, {how}."
        )
        if len({(one.columns, one.others) for one in ranks.standings}) > 1:
            notes.append(
                f"Models in more of the {len(ranks.spans)} ranked columns stand first: a rate over "
                "other columns, or beside other models, can't be held against theirs."
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
