"""Which numbers of a column may stand side by side, and in what the others differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from crucibench.report.leaderboard.board import Column
from crucibench.report.leaderboard.drafts import Draft
from crucibench.util.hashing import differing_fields


def joined_key(column: Column, drafts: Sequence[Draft]) -> str:
    """Returns the comparison key that most numbers of a column have; of equals the first."""
    keys = [draft.numbers[column.place].key for draft in drafts if column.place in draft.numbers]
    return Counter(keys).most_common(1)[0][0]


def differing(
    draft: Draft, drafts: Sequence[Draft], column: Column, joined: str
) -> tuple[str, ...]:
    """Returns in what a draft's number differs from those that are joined in its column."""
    fields = _comparison(draft, column)
    for other in drafts:
        number = other.numbers.get(column.place)
        if number is not None and number.key == joined:
            names = differing_fields(_comparison(other, column), fields)
            return tuple(names) or ("the metric's version or the scoring options",)
    raise AssertionError("a joined key belongs to a number")


def _comparison(draft: Draft, column: Column) -> dict[str, object]:
    number = draft.numbers[column.place]
    for run in draft.runs:
        if run.id == number.run and number.cell in run.cells:
            return dict(run.cells[number.cell].comparison)
    return {}
