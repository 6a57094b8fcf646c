"""Gaps between the groups of one grouping: value, interval, and what chance says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from crucibench.contracts.data import NO_GROUP
from crucibench.contracts.evidence import ScoringOptions
from crucibench.metrics.catalogue_groups import Gap
from crucibench.metrics.gap_chance import (
    corrected_gap,
    detectable_gap,
    p_chance_of_means,
    p_chance_of_rates,
)
from crucibench.metrics.gap_clusters import (
    Chance,
    ClusterTotals,
    p_chance_of_whole_clusters,
    p_chance_within_clusters,
)
from crucibench.metrics.gaps import gap_interval, gap_of
from crucibench.stats import Interval
from crucibench_suites.bias.groupings import MOST_GROUPS, Grouping
from crucibench_suites.bias.measures import Floats, Ints, Means, Measured, Tally

_UNTESTED = Chance(math.nan, "")


@dataclass(frozen=True, kw_only=True)
class GroupGap:
    """A gap between groups.

    Attributes:
        gap: which.
        grouping: between which groups.
        value: None with its `reason`.
        n: samples behind it.
        interval: None with its `reason`.
        reason: why value or interval is missing.
        note: which groups were left out.
        highest: the group with the highest value of the rate with the widest gap; "" without one.
        lowest: that with the lowest.
        detectable: the difference between these two that their sizes would show in 4 of 5 cases,
            at 5 % over all pairs of the grouping; nan where it is unknown.
        parts: what it was made of: a metric and the groups that were compared.
        tested: whether it is tested against chance.
        spans: whether a cluster lies in several groups.
        seed: of the draws.
        stream: names them.
    """

    gap: Gap
    grouping: Grouping
    value: float | None = None
    n: int = 0
    interval: Interval | None = None
    reason: str = ""
    note: str = ""
    highest: str = ""
    lowest: str = ""
    detectable: float = math.nan
    parts: tuple[tuple[Measured, Ints], ...] = ()
    tested: bool = False
    spans: bool = False
    seed: int = 0
    stream: str = ""

    @property
    def lower(self) -> float:
        """The lower bound of its interval; nan without one."""
        return math.nan if self.interval is None else self.interval.lower

    @property
    def upper(self) -> float:
        """The upper bound likewise."""
        return math.nan if self.interval is None else self.interval.upper

    @property
    def p_chance(self) -> float:
        """How likely so wide a gap is by chance alone; nan where that was not tested."""
        return self.chance.p

    @cached_property
    def chance(self) -> Chance:
        """The same, and how it was found: what was shuffled."""
        if not self.tested or not all(part.precise(places) for part, places in self.parts):
            return _UNTESTED
        stream = f"{self.stream}/chance"
        totals, k = _by_cluster(self.parts)
        rates = all(isinstance(part.by_group, Tally) for part, _ in self.parts)
        if totals and self.spans:
            return p_chance_within_clusters(
                totals, k, whole=rates, seed=self.seed, stream=stream
            )  # fmt: skip
        if totals and rates:
            return p_chance_of_whole_clusters(totals, k, seed=self.seed, stream=stream)
        if rates:
            p = p_chance_of_rates(_rates(self.parts), seed=self.seed, stream=stream)
            return Chance(p, "permutation-of-samples")
        part, places = self.parts[0]
        assert isinstance(part.by_group, Means)
        found = part.by_group
        p = p_chance_of_means(
            found.values[places], found.errors[places], found.freedoms[places].astype(np.float64),
            seed=self.seed, stream=stream,
        )  # fmt: skip
        return Chance(p, "studentized-range-of-clusters" if totals else "studentized-range")

    @cached_property
    def less_noise(self) -> float:
        """The value less what noise adds; nan where that is unknown."""
        if self.gap.kind != "difference" or self.spans or not self.parts:
            return math.nan
        rates = _rates(self.parts)
        if not rates:
            return math.nan
        return corrected_gap(
            rates, self.gap.combine, seed=self.seed, stream=f"{self.stream}/noise", draws=2000
        )


def why_uncompared(grouping: Grouping) -> str:
    """Returns why no two groups of a grouping can be compared; "" where they can."""
    if grouping.too_many:
        return (
            f"{grouping.title} has {len(grouping)} groups, more than the {MOST_GROUPS} that are "
            "compared: is it an id?"
        )
    known = [name for name in grouping.names if name != NO_GROUP]
    if len(known) < 2:
        return f"{grouping.title} has {'one group' if known else 'no group'} only"
    if len(grouping.compared) < 2:
        which = [repr(grouping.names[place]) for place in grouping.compared]
        who = f"only {which[0]} has" if which else "no group has"
        return f"{who} at least {grouping.least} samples"
    return ""


def find_gap(
    gap: Gap,
    grouping: Grouping,
    measured: Mapping[str, Measured],
    *,
    spans: bool,
    options: ScoringOptions,
    stream: str,
) -> GroupGap:
    """Measures a gap.

    Args:
        gap: which.
        grouping: between which groups.
        measured: the grouping's metrics by id, among them those that the gap looks at.
        spans: whether clusters lie in several groups.
        options: level and seed.
        stream: names the draws.
    """
    parts = tuple((measured[rate], measured[rate].defined(grouping.compared)) for rate in gap.rates)
    reason = why_uncompared(grouping) or _why_undefined(parts)
    if reason:
        return GroupGap(gap=gap, grouping=grouping, reason=reason)
    gaps = [float(gap_of(part.by_group.values[places], gap.kind)) for part, places in parts]
    if np.isnan(gaps).any():
        return GroupGap(gap=gap, grouping=grouping, reason="a ratio of rates that are all 0")
    which = int(np.argmax(gaps) if gap.kind == "difference" else np.argmin(gaps))
    value = float(np.mean(gaps)) if gap.combine == "mean" else gaps[which]
    widest, places = parts[which]
    values = widest.by_group.values[places]
    high, low = int(places[values.argmax()]), int(places[values.argmin()])
    left_out = len(grouping) - min(len(among) for _, among in parts)
    interval = interval_of(parts, gap, options.level)
    tested = gap.kind == "difference" and gap.combine == "worst"
    return GroupGap(
        gap=gap, grouping=grouping, value=value, n=_samples(parts),
        interval=None if isinstance(interval, str) else interval,
        reason=interval if isinstance(interval, str) else "",
        note=f"without {left_out} of {len(grouping)} groups" if left_out else "",
        tested=tested, spans=spans, seed=options.seed, stream=stream,
        highest=grouping.shown(high), lowest=grouping.shown(low),
        detectable=_detectable(widest, high, low, len(places)),
        parts=parts,
    )  # fmt: skip


def interval_of(parts: Sequence[tuple[Measured, Ints]], gap: Gap, level: float) -> Interval | str:
    """Returns the interval of a gap, or why there is none."""
    if not all(part.precise(places) for part, places in parts):
        return "a group shows too little spread for an interval"
    estimates = [part.by_group.estimates(places) for part, places in parts]
    return gap_interval(estimates, gap.kind, level, gap.combine)


def _samples(parts: Sequence[tuple[Measured, Ints]]) -> int:
    return sum(part.n(places) for part, places in parts)


def _why_undefined(parts: Sequence[tuple[Measured, Ints]]) -> str:
    for part, places in parts:
        if len(places) < 2:
            return f"fewer than two groups have a defined {part.id}: {part.undefined} in the others"
    return ""


def _rates(parts: Sequence[tuple[Measured, Ints]]) -> list[tuple[Floats | Ints, Ints]]:
    """Returns successes and trials of proportions: with clusters, of as many independent samples
    as say the same. Empty for means, and where clusters are too few to tell.
    """
    found: list[tuple[Floats | Ints, Ints]] = []
    for part, places in parts:
        if not isinstance(part.by_group, Tally) or not part.precise(places):
            return []
        trials = np.maximum(1, np.rint(part.by_group.size[places])).astype(np.int64)
        share = part.by_group.values[places]
        clustered = part.by_group.clustered
        found.append((share * trials if clustered else part.by_group.hits[places], trials))
    return found


def _by_cluster(parts: Sequence[tuple[Measured, Ints]]) -> tuple[list[ClusterTotals], int]:
    """Returns what clusters add to each part's groups, numbered alike, and how many groups."""
    every = np.unique(np.concatenate([places for _, places in parts]))
    found = []
    for part, places in parts:
        if part.by_group.clusters is None:
            return [], len(every)
        own = part.by_group.clusters.take(places)
        found.append(replace(own, groups=np.searchsorted(every, places)[own.groups]))
    return found, len(every)


def _detectable(part: Measured, high: int, low: int, groups: int) -> float:
    if not isinstance(part.by_group, Tally):
        return math.nan
    sizes = part.by_group.size[[high, low]]
    if not np.isfinite(sizes).all() or sizes.min() < 1:
        return math.nan
    share = float(np.average(part.by_group.values[[high, low]], weights=sizes))
    if not 0 < share < 1:
        return math.nan
    pairs = groups * (groups - 1) // 2
    return detectable_gap(float(sizes[0]), float(sizes[1]), share, alpha=0.05 / pairs)
