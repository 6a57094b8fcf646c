"""What was answered, measured by the groups of one grouping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crucibench_suites.bias.decisions import Ints, Measure, Number
from crucibench_suites.bias.found import Measured
from crucibench_suites.bias.groupings import Grouping
from crucibench_suites.bias.tally import means, spanning, tally


@dataclass(frozen=True, kw_only=True)
class View:
    """One grouping of what was answered.

    Attributes:
        grouping: the groups.
        clusters: (n,) codes, or None.
        spans: whether a cluster lies in several groups.
        measures: what is measured, sample by sample.
        measured: the same by group.
    """

    grouping: Grouping
    clusters: Ints | None
    spans: bool
    measures: Mapping[str, Measure | Number]
    measured: Mapping[str, Measured]

    @classmethod
    def of(
        cls, grouping: Grouping, measures: Sequence[Measure | Number], clusters: Ints | None
    ) -> View:
        """Measures by group."""
        codes = np.where(grouping.known(), grouping.codes, -1)
        return cls(
            grouping=grouping,
            clusters=clusters,
            spans=spanning(codes, clusters),
            measures={one.id: one for one in measures},
            measured={
                one.id: by_codes(one, grouping.codes, len(grouping), clusters) for one in measures
            },
        )


def by_codes(one: Measure | Number, codes: Ints, k: int, clusters: Ints | None) -> Measured:
    """Returns a measure by group codes."""
    if isinstance(one, Measure):
        return Measured(id=one.id, by_group=tally(one, codes, k, clusters), undefined=one.undefined)
    return Measured(id=one.id, by_group=means(one, codes, k, clusters))
