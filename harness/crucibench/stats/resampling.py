"""Weights of resampled data: bootstrap counts, leave-one-out and delete-a-group weights.

Nothing here knows a statistic. What is drawn depends on the seed, the stream, n and the codes, and
on the position of a sample: keep samples in one canonical order (by id), so that two models get the
same draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.stats import _checks

MOST_UNITS = 1000
"""Above, whole groups of samples are drawn, so many of them: sums of that many groups vary as those
of all samples do, and what is made of sums then costs the same at any number of samples."""

_FEWEST_GROUPS = 100
"""Of a stratum, where it has so many units."""

_REMEMBERED = 1 << 21
"""Most counts of a draw that is kept, 8 bits each: 2 MiB."""

_ALL_REMEMBERED = 32 << 20
"""Most bytes of all draws that are kept."""

MAX_CELLS = 1 << 18
"""Most float64 cells of one block of weights (2 MiB): more leaves the caches."""


def generator(seed: int, stream: str) -> np.random.Generator:
    """Return the random generator of a named stream.

    Args:
        seed: Any integer.
        stream: A name; other names give independent generators.

    Returns:
        PCG64 seeded with SHA-256 of both.
    """
    digest = hashlib.sha256(f"{seed:d}\x00{stream}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


class Resampler:
    """Draws weights over n samples, in blocks of bounded size.

    The **units** of resampling are the samples, or the clusters where they are given: a cluster is
    drawn whole, since its members are not independent evidence. With strata, each stratum gives as
    many units as it has, so that its share is fixed by design.
    """

    def __init__(
        self,
        n: int,
        *,
        seed: int,
        stream: str,
        clusters: ArrayLike | None = None,
        strata: ArrayLike | None = None,
    ) -> None:
        """Set up the units.

        Args:
            n: Number of samples, at least 1.
            seed: Any integer.
            stream: Name of the draw.
            clusters: (n,) integer or string codes, equal for samples drawn together.
            strata: (n,) integer or string codes, equal for samples of one stratum. Each cluster
                must lie within one stratum.

        Raises:
            ValueError: n below 1, codes of another shape or type, or a cluster in two strata.
        """
        self.n = _checks.count("n", n, minimum=1)
        self.seed = int(seed)
        self.stream = str(stream)
        self.clustered = clusters is not None
        self.stratified = strata is not None
        if clusters is None:
            self._unit_of = None
            self.units = self.n
        else:
            self._unit_of, self.units = _checks.codes("clusters", clusters, self.n)
        self.strata = self._members(strata)
        """Positions of the units of each stratum, one array a stratum; one array without strata."""

    def _members(self, strata: ArrayLike | None) -> list[NDArray[np.intp]]:
        if strata is None:
            return [np.arange(self.units, dtype=np.intp)]
        codes, k = _checks.codes("strata", strata, self.n)
        if self._unit_of is not None:
            of_unit = np.empty(self.units, dtype=np.intp)
            of_unit[self._unit_of] = codes
            crossing = int(np.count_nonzero(of_unit[self._unit_of] != codes))
            if crossing:
                raise ValueError(
                    "strata: expected each cluster within one stratum, "
                    f"got {crossing} samples in another stratum than the rest of their cluster"
                )
            codes = of_unit
        return [np.flatnonzero(codes == code) for code in range(k)]

    @property
    def unit_of(self) -> NDArray[np.intp]:
        """(n,) the unit of each sample, 0 to ``units`` - 1."""
        return np.arange(self.n) if self._unit_of is None else self._unit_of

    def blocks(self, replicates: int, max_cells: int = MAX_CELLS) -> Iterator[NDArray[np.float64]]:
        """Yield bootstrap counts, (B, n) a block, B bounded by ``max_cells``; the same every call.

        Each replicate is drawn by itself, so the numbers do not depend on the block size. Blocks
        are read-only.
        """
        for units in self.draws(replicates, self.n, max_cells):
            yield self.over_samples(units)

    def draws(
        self, replicates: int, width: int, max_cells: int = MAX_CELLS
    ) -> Iterator[NDArray[np.float64]]:
        """Yield how often each unit is drawn, (B, units) a block of at most B x ``width`` cells."""
        sizes = tuple(members.size for members in self.strata)
        order = np.concatenate(self.strata)
        rng = generator(self.seed, self.stream)
        known = None
        if self.units < 1 << 16 and replicates * self.units <= _REMEMBERED:
            known = _remembered(self.seed, self.stream, replicates, sizes)
        done = 0
        for rows in block_rows(replicates, width, max_cells):
            units = np.empty((rows, self.units))
            if known is None:
                for row in units:
                    row[order] = _draw(rng, sizes)
            elif len(sizes) == 1:
                units[:] = known[done : done + rows]
            else:
                units[:, order] = known[done : done + rows]
            done += rows
            yield units

    @cached_property
    def coarse(self) -> Resampler:
        """What draws at most `MOST_UNITS` units: itself, or what draws groups of them."""
        each = max(_FEWEST_GROUPS, MOST_UNITS // len(self.strata))
        counts = [min(members.size, each) for members in self.strata]
        if self.units <= max(MOST_UNITS, sum(counts)):
            return self
        rng = generator(self.seed, f"{self.stream}/groups")
        group_of, stratum_of = np.empty((2, self.units), dtype=np.intp)
        for k, (members, count) in enumerate(zip(self.strata, counts, strict=True)):
            group_of[rng.permutation(members)] = sum(counts[:k]) + np.arange(members.size) % count
            stratum_of[members] = k
        strata = stratum_of[self.unit_of] if self.stratified else None
        groups = group_of if self._unit_of is None else group_of[self._unit_of]
        return Resampler(self.n, seed=self.seed, stream=self.stream, clusters=groups, strata=strata)

    def leave_one_out(self, max_cells: int = MAX_CELLS) -> Iterator[NDArray[np.float64]]:
        """Yield weights without one unit each, (B, n) a block, stratum by stratum.

        With strata, the others of the stratum are scaled up to keep its total, as the bootstrap
        keeps it. A stratum of one unit has nothing to be left out of, and gives no rows.
        """
        for members in self.strata:
            if members.size < 2:
                continue
            done = 0
            scale = members.size / (members.size - 1.0) if self.stratified else 1.0
            for rows in block_rows(members.size, self.n, max_cells):
                units = np.ones((rows, self.units))
                if self.stratified:
                    units[:, members] = scale
                units[np.arange(rows), members[done : done + rows]] = 0.0
                done += rows
                yield self.over_samples(units)

    def groups(self, count: int) -> NDArray[np.intp]:
        """Deal the units out at random to ``count`` groups, and give each sample its group.

        Args:
            count: Number of groups, 2 to ``units``.

        Returns:
            (n,) group of each sample. Groups have the same number of units, give or take one, and
            the same share of each stratum, give or take one unit.

        Raises:
            ValueError: ``count`` is outside 2 to ``units``.
        """
        count = _checks.count("count", count, minimum=2)
        if count > self.units:
            raise ValueError(f"count: expected at most {self.units} groups, got {count}")
        rng = generator(self.seed, f"{self.stream}/groups")
        shuffled = np.concatenate([rng.permutation(members) for members in self.strata])
        of_unit = np.empty(self.units, dtype=np.intp)
        # Dealt like cards, going on from stratum to stratum, so that sizes stay even.
        of_unit[shuffled] = np.arange(self.units) % count
        return of_unit[self.unit_of]

    def over_samples(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the samples' weights, (B, n), of their units', (B, units); read-only."""
        # take, since indexing by an array leaves the rows scattered in memory.
        weights = units if self._unit_of is None else units.take(self._unit_of, axis=1)
        weights.flags.writeable = False
        return weights


def _draw(rng: np.random.Generator, sizes: Sequence[int]) -> NDArray[np.intp]:
    """Return how often each unit is drawn, (units,), one stratum after the other."""
    parts = []
    for size in sizes:
        # 16 bits a draw take half the time of 32, and the method is as exact: Lemire's, with
        # rejection. Fixed types, since the default integer differs between platforms.
        kind = np.uint16 if size <= 1 << 16 else np.uint32 if size <= 1 << 32 else np.uint64
        drawn = rng.integers(0, size, size=size, dtype=kind)
        parts.append(np.bincount(drawn, minlength=size))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


_known: dict[tuple[int, str, int, tuple[int, ...]], NDArray[np.uint8]] = {}
_lock = Lock()


def _remembered(
    seed: int, stream: str, replicates: int, sizes: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Return (replicates, units) counts as `_draw` makes them: models of a run share draws.

    8 bits hold them: of 10,000 units, one is drawn 256 times once in 10^500 replicates.
    """
    key = seed, stream, replicates, sizes
    with _lock:
        counts = _known.pop(key, None)
    if counts is None:
        rng = generator(seed, stream)
        counts = np.empty((replicates, sum(sizes)), dtype=np.uint8)
        for row in counts:
            row[:] = _draw(rng, sizes)
        counts.flags.writeable = False
    with _lock:
        _known[key] = counts  # the last used stands last
        while sum(one.nbytes for one in _known.values()) > _ALL_REMEMBERED:
            del _known[next(iter(_known))]
    return counts


def delete_groups(
    groups: NDArray[np.intp], count: int, max_cells: int = MAX_CELLS
) -> Iterator[NDArray[np.float64]]:
    """Yield weights without one group each, (B, n) a block, in the order of the groups."""
    done = 0
    for rows in block_rows(count, groups.size, max_cells):
        weights = (groups[None, :] != np.arange(done, done + rows)[:, None]).astype(np.float64)
        weights.flags.writeable = False
        done += rows
        yield weights


def block_rows(total: int, n: int, max_cells: int) -> Iterator[int]:
    """Yield the numbers of rows of the blocks that make ``total`` rows of ``n`` cells."""
    rows = max(1, _checks.count("max_cells", max_cells, minimum=1) // n)
    for start in range(0, total, rows):
        yield min(rows, total - start)
