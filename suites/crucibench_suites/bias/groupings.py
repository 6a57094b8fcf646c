"""Which group each sample is in: columns, cut at edges, and their intersections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.data import NO_GROUP
from crucibench.metrics.groups import crossed

MOST_GROUPS = 100
"""A column of more groups names samples, not groups: pairs of them are not compared."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Every sample's group by one column or by an intersection of some.

    Attributes:
        columns: those that are crossed.
        names: of the groups that occur, in order.
        codes: (n,) each sample's group, a position in `names`.
        reference: the group that others are held against; "" for all other samples.
        least: fewer samples are shown and not compared.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    codes: Ints
    reference: str = ""
    least: int = 30

    def __len__(self) -> int:
        return len(self.names)

    @property
    def title(self) -> str:
        """What rows over all its groups call it, e.g. ``sex, age``."""
        return ", ".join(self.columns)

    @cached_property
    def sizes(self) -> Ints:
        """Samples by group, shape (G,)."""
        return np.bincount(self.codes, minlength=len(self.names))

    @cached_property
    def why_not(self) -> tuple[str, ...]:
        """Why each group is not compared; "" where it is."""
        return tuple(
            "group not known"
            if name == NO_GROUP
            else f"fewer than {self.least} samples"
            if size < self.least
            else ""
            for name, size in zip(self.names, self.sizes, strict=True)
        )

    @cached_property
    def compared(self) -> Ints:
        """Positions of the groups that are compared."""
        return np.array([i for i, why in enumerate(self.why_not) if not why], dtype=np.int64)

    @property
    def too_many(self) -> bool:
        """Whether there are more groups than are compared."""
        return len(self.names) > MOST_GROUPS

    def known(self) -> NDArray[np.bool_]:
        """Says which samples' group is known, shape (n,)."""
        return np.asarray(self.codes != self._unknown)

    def sides(self, place: int, reference: int | None) -> NDArray[np.int64]:
        """Says of each group: 0 for `place`, 1 for what it is held against, -1 for others, (G,).

        Without a reference it is held against all others that are known.
        """
        groups = np.arange(len(self.names))
        against = groups != self._unknown if reference is None else groups == reference
        return np.where(groups == place, 0, np.where(against, 1, -1))

    @property
    def _unknown(self) -> int:
        return self.names.index(NO_GROUP) if NO_GROUP in self.names else -1

    def shown(self, place: int) -> str:
        """Returns the name of a group as rows have it, e.g. ``sex=(missing)``."""
        name = self.names[place]
        return f"{self.title}={name}" if name == NO_GROUP else name


def groupings(
    groups: pd.DataFrame, parameters: Mapping[str, Any], least: int
) -> tuple[Grouping, ...]:
    """Returns all groupings of a sample table: columns first, then intersections by depth.

    Args:
        groups: `Samples.groups`.
        parameters: of the scenario.
        least: the run's ``min_group_size``.
    """
    columns = list(parameters["columns"])
    cut = {
        name: pd.factorize(_cut(groups[name], parameters["edges"].get(name)), sort=True)
        for name in columns
    }
    found = []
    for depth in range(1, min(parameters["depth"], len(columns)) + 1):
        for chosen in combinations(columns, depth):
            reference = parameters["reference"].get(chosen[0], "") if depth == 1 else ""
            found.append(_grouping(cut, chosen, reference, least))
    return tuple(found)


def _grouping(
    cut: Mapping[str, tuple[Ints, pd.Index[Any]]], chosen: Sequence[str], reference: str, least: int
) -> Grouping:
    # Names are made of the combinations that occur, not of every sample.
    codes = cut[chosen[0]][0]
    for of_column, levels in (cut[name] for name in chosen[1:]):
        codes = np.unique(codes * len(levels) + of_column, return_inverse=True)[1]
    some = np.empty(codes.max(initial=-1) + 1, dtype=np.int64)
    some[codes] = np.arange(len(codes))  # a sample of each combination, whichever
    occurring = {name: cut[name][1].to_numpy()[cut[name][0][some]] for name in chosen}
    places, names = pd.factorize(crossed(pd.DataFrame(occurring, dtype=object)), sort=True)
    return Grouping(
        columns=tuple(chosen),
        names=tuple(str(name) for name in names),
        codes=np.asarray(places, dtype=np.int64)[codes],
        reference=f"{chosen[0]}={reference}" if reference else "",
        least=least,
    )


def _cut(values: pd.Series[Any], edges: Sequence[float] | None) -> pd.Series[Any]:
    """Returns a column as it is, or numbers as the intervals that they lie in."""
    if edges is None:
        return values.astype(object)
    numbers = pd.to_numeric(values.where(values != NO_GROUP), errors="coerce").to_numpy(np.float64)
    names = [f"below {edges[0]:g}"]
    names += [f"{low:g} to below {high:g}" for low, high in pairwise(edges)]
    names.append(f"{edges[-1]:g} and above")
    placed = np.searchsorted(np.array(edges), numbers, side="right")
    labels = np.array(names, dtype=object)[placed]
    labels[np.isnan(numbers)] = NO_GROUP
    return pd.Series(labels, index=values.index)
