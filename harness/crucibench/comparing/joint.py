"""Functions of tables of counts, compared over the joint table of both models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crucibench.comparing.resampled import ResamplingSettings, finished
from crucibench.stats import PairedDifference, WeightedStatistic
from crucibench.stats.replicates import summarise
from crucibench.stats.resampling import MAX_CELLS, block_rows, generator

Codes: TypeAlias = NDArray[np.int64]

OfStates: TypeAlias = Callable[[Codes], WeightedStatistic]
"""From the states of some cells, shape (m,), to a statistic of their counts."""


class Joint(NamedTuple):
    """Samples counted by what each of two models makes of them.

    Attributes:
        baseline: the state of each occupied cell under the baseline, shape (m,).
        candidate: under the candidate.
        counts: samples in the cell.
    """

    baseline: Codes
    candidate: Codes
    counts: Codes

    @classmethod
    def of(cls, baseline: Codes, candidate: Codes, states: int) -> Joint:
        """Counts n samples, given by their states in 0..states-1."""
        joint = baseline * states + candidate
        if states * states <= max(len(joint), 1 << 16):
            every = np.bincount(joint, minlength=states * states)
            occupied = np.flatnonzero(every)
            counts = every[occupied]
        else:
            occupied, counts = np.unique(joint, return_counts=True)
        return cls(occupied // states, occupied % states, counts.astype(np.int64))

    def canonical(self) -> tuple[Joint, NDArray[np.intp], bool]:
        """Returns the table, the cells' old positions, and whether the models were exchanged.

        Of a table and the same with the models exchanged it is the smaller: so both get the same
        draws, and exchanged models the same difference with its sign turned.
        """
        order = np.lexsort((self.candidate, self.baseline))
        turned = np.lexsort((self.baseline, self.candidate))
        own = [part[order] for part in (self.baseline, self.candidate, self.counts)]
        other = [part[turned] for part in (self.candidate, self.baseline, self.counts)]
        for first, second in zip(own, other, strict=True):
            unlike = np.flatnonzero(first != second)
            if len(unlike):
                exchanged = bool(second[unlike[0]] < first[unlike[0]])
                return (
                    Joint(*(other if exchanged else own)),
                    turned if exchanged else order,
                    exchanged,
                )
        return Joint(*own), order, False


def joint_differences(
    joint: Joint,
    statistics: Mapping[str, tuple[OfStates, OfStates]],
    settings: ResamplingSettings,
    kinds: Codes | None = None,
) -> dict[str, PairedDifference]:
    """Returns candidate minus baseline by the bootstrap of the joint table, exact at any n.

    Where few samples tell the models apart, resampling them alone would take their direction for
    granted: 4 losses and no gain would be significant, though the exact test gives p = 0.125. So
    the table that is drawn from holds one more sample that tells them apart as those do, and one
    with the models exchanged, as Bonett and Price add them to McNemar's table.

    Args:
        joint: the table.
        statistics: name to the statistic for the candidate and for the baseline.
        settings: level, replicates, seed.
        kinds: of each cell whose states differ, codes 0 and up, shape (m,): each kind has its two
            samples, so that changes that a statistic does not see don't stand for those it does.

    Returns:
        Name to difference.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 20 (a bootstrap sample
        is a multinomial vector); Bonett and Price 2012, Journal of Educational and Behavioral
        Statistics 37:479 (adjusted Wald interval for paired proportions).
    """
    joint, order, exchanged = joint.canonical()
    if kinds is not None:
        kinds = kinds[order]
    if exchanged:
        statistics = {name: (old, new) for name, (new, old) in statistics.items()}
    method = f"percentile-joint-table-bootstrap-{settings.replicates} (2 pseudo-pairs)"
    apart = np.flatnonzero(joint.baseline != joint.candidate)
    if not len(apart):
        reason = "no sample tells the two apart, which is no proof of precision"
        same = PairedDifference(0.0, None, 0.0, 1.0, method, reason, degenerate=True)
        return dict.fromkeys(statistics, same)
    kind = np.zeros(len(apart), dtype=np.int64) if kinds is None else kinds[apart]
    shares = joint.counts[apart] / np.bincount(kind, weights=joint.counts[apart])[kind]
    chances = np.concatenate([joint.counts.astype(np.float64), shares])
    chances[apart] += shares
    before = np.concatenate([joint.baseline, joint.candidate[apart]])
    after = np.concatenate([joint.candidate, joint.baseline[apart]])
    sides = {name: (new(after), old(before)) for name, (new, old) in statistics.items()}
    drawn = {name: np.empty(settings.replicates) for name in statistics}
    rng = generator(settings.seed, f"{settings.stream}/table")
    n, done = int(joint.counts.sum()), 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for rows in block_rows(settings.replicates, len(chances), MAX_CELLS):
            block = rng.multinomial(n, chances / chances.sum(), size=rows).astype(np.float64)
            for name, (new_side, old_side) in sides.items():
                drawn[name][done : done + rows] = new_side(block) - old_side(block)
            done += rows
        observed = np.concatenate([joint.counts, np.zeros(len(apart))])[None]
        estimates = {name: float((new(observed) - old(observed))[0])
                     for name, (new, old) in sides.items()}  # fmt: skip
    found = {}
    for name, replicates in drawn.items():
        summary = summarise(
            replicates, estimates[name], level=settings.level, influences=None, template=method
        )
        paired = finished(summary, settings.replicates)
        found[name] = _turned(paired) if exchanged else paired
    return found


def _turned(found: PairedDifference) -> PairedDifference:
    interval = found.interval
    if interval is not None:
        interval = interval._replace(lower=-interval.upper, upper=-interval.lower)
    return replace(found, estimate=-found.estimate, interval=interval)


def ratio(states: Codes) -> WeightedStatistic:
    """Returns hits by trials of cells whose states are 2 x (is counted) + (is a hit)."""
    hits, trials = (states == 3).astype(np.float64), (states >= 2).astype(np.float64)

    def compute(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.einsum("bc,c->b", counts, hits)
        whole = np.einsum("bc,c->b", counts, trials)
        return np.where(whole > 0, found / whole, math.nan)

    return compute
