"""Data sets as the engine and the suites see them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.lists import Lists
from crucibench.contracts.task import Task
from crucibench.util.names import Names

NO_GROUP = "(missing)"

OF_OBJECTS = "object:"
"""Begins the name of a group column that holds, for each sample, a JSON list: a text or null for
each of the objects in its target, in their order."""
"""The group of a sample whose group column holds nothing."""


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """What there is to know about a data set; stored with every run.

    Attributes:
        name: as the spec calls it.
        uri: where it comes from; secrets never stand in it.
        task: what it asks.
        features: what a sample holds: column name to type, or ``image`` to its shape.
        target: the name of the target.
        groups: the group columns.
        cluster: the column that names what samples are drawn together, or "".
        counts: samples by role.
        class_counts: samples by role and class, in class order; empty for regression.
        fingerprint: a digest of all roles' ids, targets and clusters, and of the task and features:
            neither the data's name nor which columns are its groups moves it.
        group_digests: role to a digest of its group columns; empty without any.
        ids_digest: role to a digest of its sample ids alone.
        revision: of the source.
        split: how test and train were told apart.
        licence: of the data, "" where unknown.
        citation: how its authors want it cited.
        notes: what a reader must know, one sentence each.
        unlabelled: the roles that have no targets: those of their samples are -1 for
            classification and NaN for regression.
        block: how many samples of the role test are asked at a time, in the order of content
            hashes, until a policy is decided; 0 for all at once, in the order of the data.
        role_fingerprints: the roles that are data sets of their own (`SuiteConfig.data_sets`),
            each with its fingerprint: `fingerprint` leaves them out, so that cells that don't
            read them stay what they are.
    """

    name: str
    uri: str
    task: Task
    features: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    groups: tuple[str, ...] = ()
    cluster: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    class_counts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    fingerprint: str = ""
    group_digests: Mapping[str, str] = field(default_factory=dict)
    ids_digest: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""
    split: str = "all test"
    licence: str = ""
    citation: str = ""
    notes: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    role_fingerprints: Mapping[str, str] = field(default_factory=dict)
    block: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, as it is stored."""
        data = dict(self.__dict__)
        if not self.block:
            del data["block"]
        return data | {
            "task": self.task.as_dict(),
            "features": dict(self.features),
            "groups": list(self.groups),
            "counts": dict(self.counts),
            "class_counts": {role: list(counts) for role, counts in self.class_counts.items()},
            "group_digests": dict(self.group_digests),
            "ids_digest": dict(self.ids_digest),
            "notes": list(self.notes),
            "unlabelled": list(self.unlabelled),
            "role_fingerprints": dict(self.role_fingerprints),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DataCard:
        """The inverse of `as_dict`."""
        return cls(
            **{
                **data,
                "task": Task.from_dict(data["task"]),
                "groups": tuple(data["groups"]),
                "notes": tuple(data["notes"]),
                "unlabelled": tuple(data.get("unlabelled", ())),
            }
        )


@final
class Samples:
    """What score, audit, compare and gate need of a role without the data; not to be changed."""

    def __init__(
        self,
        ids: NDArray[np.object_] | Names,
        targets: Any,
        groups: pd.DataFrame | Callable[[], pd.DataFrame],
        clusters: NDArray[np.object_] | None = None,
        keys: NDArray[np.object_] | Names | None = None,
    ) -> None:
        """Takes a sample table.

        Args:
            ids: shape (n,), str.
            targets: as the task's kind reads them, n rows: class indices (int64) or values
                (float64); -1 or NaN throughout in a role without targets (`DataCard.unlabelled`);
                or `Lists`, all of them empty there.
            groups: one str column per group column, rows as `ids`; or what makes them once
                something asks.
            clusters: shape (n,), str, or None.
            keys: shape (n,), str: the user's own names for the samples, or None.
        """
        self.names = ids if isinstance(ids, Names) else Names(ids)
        self.targets = targets
        self._groups = groups
        self.clusters = clusters
        self.own_names = Names(keys) if isinstance(keys, np.ndarray) else keys

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def groups(self) -> pd.DataFrame:
        """The groups of the samples, n rows: one str column per group column."""
        return self._groups() if callable(self._groups) else self._groups

    @property
    def ids(self) -> NDArray[np.object_]:
        """The sample ids, shape (n,), str."""
        return self.names.array

    @property
    def keys(self) -> NDArray[np.object_] | None:
        """The user's own names for the samples, shape (n,), str, or None."""
        return None if self.own_names is None else self.own_names.array

    def replaced(
        self, *, ids: NDArray[np.object_] | None = None, targets: Any = None,
        groups: pd.DataFrame | None = None,
    ) -> Samples:  # fmt: skip
        """Returns the table with other columns in place of some."""
        return Samples(
            self.names if ids is None else ids,
            self.targets if targets is None else targets,
            self.groups if groups is None else groups,
            self.clusters,
            self.own_names,
        )

    @property
    def labelled(self) -> bool:
        """Whether there are targets."""
        if not len(self.targets):
            return True
        if isinstance(self.targets, Lists):
            return bool(len(self.targets.values))
        if self.targets.dtype.kind == "f":
            return not bool(np.isnan(self.targets).all())
        return not bool((self.targets == -1).all())

    def take(self, rows: NDArray[np.int64]) -> Samples:
        """Returns the samples at `rows`."""
        clusters = None if self.clusters is None else self.clusters[rows]
        keys = None if self.own_names is None else self.own_names.take(rows)
        groups = self.groups.iloc[rows].reset_index(drop=True)
        return Samples(self.names.take(rows), self.targets[rows], groups, clusters, keys)

    def within(self, ids: NDArray[np.object_]) -> Samples:
        """Returns the samples of `ids`, in their order.

        Raises:
            ValueError: if one is not there.
        """
        if len(ids) == len(self.ids) and bool(np.all(ids == self.ids)):
            return self
        rows = pd.Index(self.ids).get_indexer(pd.Index(ids))
        if (rows < 0).any():
            raise ValueError(f"samples: {int((rows < 0).sum())} of {len(ids)} ids are not there")
        return self.take(rows)


class EvalSet(ABC):
    """A data set, opened: roles, ids, and samples in canonical form."""

    card: DataCard

    @property
    def task(self) -> Task:
        """What the data set asks."""
        return self.card.task

    @property
    def roles(self) -> tuple[str, ...]:
        """``test``, and perhaps ``train``, ``ood/near/NAME``, ..."""
        return tuple(self.card.counts)

    @abstractmethod
    def samples(self, role: str) -> Samples:
        """Returns the sample table of a role, whole: O(n) memory."""

    @abstractmethod
    def slice(self, role: str, rows: Sequence[int] | NDArray[np.int64] | range) -> Samples:
        """Returns the sample table at `rows`, in O(rows) memory."""

    @abstractmethod
    def batch(
        self, role: str, rows: Sequence[int] | NDArray[np.int64] | range, spec: InputSpec
    ) -> Batch:
        """Returns the samples at `rows` in the canonical form that `spec` asks for.

        Raises:
            InputError: if the data can't be brought into that form.
        """
