"""OOD sets by address, and which of the test samples are kept apart to choose by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.data import Samples
from crucibench.contracts.scenario import Scenario
from crucibench.util.draws import order_key
from crucibench.util.ids import contents, together
from crucibench_suites.ood.generators import Kind

KNOWN = "id"
"""The point of in-distribution scores."""

UNFIT = "unfit"
"""The point of the one record of a detector that could not be fitted."""

MEANS = ("near", "far", "overall")
"""The points of means over sets, each set counting alike."""


@dataclass(frozen=True, kw_only=True)
class OODSet:
    """One OOD set.

    Attributes:
        kind: near, far, or validation: never scored.
        name: the generator's, or the user's own.
        generated: whether it is made of the test role; else it is a role of its own.
        meaning: what gives it its meaning: its fingerprint, or the version of its generator.
    """

    kind: Kind
    name: str
    generated: bool = True
    meaning: str = ""

    @property
    def address(self) -> str:
        """``KIND/NAME``: the point of its scores."""
        return f"{self.kind}/{self.name}"

    @property
    def role(self) -> str:
        """The role that a set of the user's own has."""
        return f"ood/{self.address}"

    @property
    def cell(self) -> str:
        """The cell that holds the model's answers."""
        return f"ood/{self.address}" if self.generated else f"pass/{self.role}"

    @property
    def inputs(self) -> str:
        """The cell that holds what its inputs look like."""
        return f"ood/{self.address}" if self.generated else f"ood/inputs/{self.address}"


def scored(sets: Iterable[OODSet]) -> list[OODSet]:
    """Returns the sets that are scored, near ones first."""
    return [
        entry for kind in ("near", "far") for entry in sets if entry.kind == kind
    ]  # fmt: skip


def meanings(sets: Iterable[OODSet]) -> dict[str, str]:
    """Returns what the sets are, by address: part of the identity of whatever is made of them."""
    return {one.address: one.meaning for one in sets}


def mark_perturbing(scenario: Scenario, sets: Iterable[OODSet]) -> None:
    """Marks a scenario that reads generated sets: models of other geometry got other inputs."""
    object.__setattr__(scenario, "perturbs", any(one.generated for one in sets))


def points_of(sets: Sequence[OODSet]) -> tuple[str, ...]:
    """Returns the points at which a detector is read: its sets, and the means that there are."""
    return (*(entry.address for entry in scored(sets)), *means_of(sets))


def means_of(sets: Sequence[OODSet]) -> tuple[str, ...]:
    """Returns the means that there are: of near ones, of far ones, of all."""
    kinds = {entry.kind for entry in scored(sets)}
    return tuple(mean for mean in MEANS if mean == "overall" or mean in kinds)


def members(point: str, addresses: Iterable[str]) -> list[str]:
    """Returns the sets whose mean is read at a point."""
    return [
        address for address in addresses if point == "overall" or address.startswith(f"{point}/")
    ]


def kept_apart(samples: Samples, share: float) -> NDArray[np.bool_]:
    """Says which samples are kept to choose hyper-parameters by, shape (n,); they are never scored.

    It follows from a sample's content alone (or its cluster's), so that repetitions and samples
    drawn together never lie on both sides, and other seeds score the same samples.
    """
    clusters = samples.clusters
    kept = _kept_apart(
        tuple(samples.ids.tolist()), None if clusters is None else tuple(clusters.tolist()), share
    )
    return kept.copy()


@lru_cache(maxsize=8)  # every detector asks for it
def _kept_apart(
    ids: tuple[str, ...], clusters: tuple[str, ...] | None, share: float
) -> NDArray[np.bool_]:
    own = np.array(ids, dtype=object)
    names = contents(own) if clusters is None else together(own, np.array(clusters, dtype=object))
    limit = int(share * 2**64)
    drawn = {name: order_key(0, f"ood-validation\x1f{name}") < limit for name in set(names)}
    return np.array([drawn[name] for name in names], dtype=np.bool_)


def partners(samples: Samples, among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns for each sample the row of another of `among`, of another class where there is one.

    It is the next of another class in the order of the hashes of ids, around the end to the start.
    """
    rows = np.flatnonzero(among)
    keys = np.array([order_key(1, identity) for identity in samples.ids[rows]], dtype=np.uint64)
    ring = rows[np.argsort(keys, kind="stable")]
    classes = np.concatenate([samples.targets[ring]] * 2)
    changes = np.flatnonzero(classes[1:] != classes[:-1]) + 1
    found = np.arange(len(samples), dtype=np.int64)
    places = np.arange(len(ring))
    if len(changes):
        following = changes[
            np.searchsorted(changes, places, side="right").clip(max=len(changes) - 1)
        ]
    else:
        following = places + 1
    found[ring] = ring[following % len(ring)]
    return found
