"""What is missing, by reason: one reason that forty numbers lack a value for is told once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from crucibench.report.gaps import MissingResults

_PARTICULAR = re.compile(r"'[^']*'|\d+(?:[.,]\d+)*")
"""What reasons of one kind differ in: names in quotation marks, and numbers."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Numbers that are missing for reasons of one kind.

    Attributes:
        text: the reason; with ``…`` for what differs, where it differs.
        gaps: what is missing, each with its own words.
    """

    text: str
    gaps: tuple[MissingResults, ...]

    @property
    def count(self) -> int:
        """How many numbers."""
        return sum(gap.count for gap in self.gaps)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that they are of."""
        return tuple(dict.fromkeys(model for gap in self.gaps for model in gap.models))

    @property
    def alike(self) -> bool:
        """Whether the reason is the same for all, to the letter."""
        return len({gap.reason for gap in self.gaps}) == 1


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """What a suite's numbers on one data set are missing for, the most frequent reason first."""

    data: str
    suite: str
    reasons: tuple[Reason, ...]

    @property
    def count(self) -> int:
        """How many numbers."""
        return sum(reason.count for reason in self.reasons)


def by_reason(gaps: Iterable[MissingResults]) -> list[Reasons]:
    """Groups what is missing by data set, suite and kind of reason."""
    found: dict[tuple[str, str], dict[str, list[MissingResults]]] = {}
    for gap in gaps:
        suite = gap.what.partition("/")[0]
        kinds = found.setdefault((gap.data, suite), {})
        kinds.setdefault(_PARTICULAR.sub("…", gap.reason), []).append(gap)
    return [
        Reasons(data=data, suite=suite, reasons=tuple(sorted(_reasons(kinds), key=_most_first)))
        for (data, suite), kinds in found.items()
    ]


def _reasons(kinds: dict[str, list[MissingResults]]) -> Iterable[Reason]:
    for kind, gaps in kinds.items():
        one = Reason(text=gaps[0].reason, gaps=tuple(gaps))
        yield one if one.alike else Reason(text=kind, gaps=tuple(gaps))


def _most_first(reason: Reason) -> tuple[int, str]:
    return -reason.count, reason.text
