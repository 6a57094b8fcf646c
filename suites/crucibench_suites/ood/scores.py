"""A detector's scores, as they were recorded: familiar and unfamiliar samples, and who is who."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence
from crucibench_suites.ood.detector import Floats, Ints
from crucibench_suites.ood.part import Part
from crucibench_suites.ood.sources import KNOWN, UNFIT, members


class Scores:
    """All scores of one detector.

    Attributes:
        known_ids: of the familiar samples, shape (n,).
        known: their scores.
        sets: scores of each OOD set by address.
        chosen: the value of the detector's setting; NaN where it has none.
        unfit: why the detector could not be fitted, so that there is no score; else "".
    """

    def __init__(self, cell: CellEvidence, samples: Samples, *, by_cluster: bool = True) -> None:
        """Takes a detector's cell and the sample table of the test role.

        Args:
            cell: the detector's.
            samples: of the test role.
            by_cluster: whether samples of a cluster are one unit.
        """
        records = cell.records
        ids, points = records.ids, records.array("point")
        scores = records.array("score")
        rows = {point: np.flatnonzero(points == point) for point in pd.unique(points)}
        self.unfit = str(records.array("reason")[0]) if rows.pop(UNFIT, None) is not None else ""
        known = rows.pop(KNOWN, np.array([], dtype=np.int64))
        self.known_ids, self.known = ids[known], scores[known]
        self.sets: Mapping[str, Floats] = {point: scores[at] for point, at in rows.items()}
        chosen = records.array("value")
        self.chosen = float(chosen[0]) if len(chosen) else np.nan
        self._ids = {point: ids[at] for point, at in rows.items()}
        self._samples = samples
        self._by_cluster = by_cluster
        self._parts: dict[str, Part] = {}

    @cached_property
    def known_rows(self) -> Ints:
        """The rows of the familiar samples in the sample table, shape (n,)."""
        rows = pd.Index(self._samples.ids, dtype=object).get_indexer(
            pd.Index(self.known_ids, dtype=object)
        )
        return np.asarray(rows, dtype=np.int64)

    @cached_property
    def known_units(self) -> Ints:
        """Codes of samples, or clusters, of the familiar samples; shape (n,), from 0 on."""
        clusters = self._samples.clusters if self._by_cluster else None
        names = self.known_ids if clusters is None else clusters[self.known_rows]
        codes, _ = pd.factorize(names, sort=True)
        return np.asarray(codes, dtype=np.int64)

    def units(self, address: str) -> Ints:
        """Returns codes of the rows of a set: those of the samples that they were made of.

        Samples of a set of its own are units of their own, counted on from set to set.
        """
        rows = self._rows[address]
        first = int(self.known_units.max(initial=-1)) + 1
        for other in self.sets:
            if other == address:
                break
            first += int((self._rows[other] < 0).sum())
        fresh = first + np.cumsum(rows < 0) - 1
        return np.asarray(np.where(rows >= 0, self.known_units[rows], fresh), dtype=np.int64)

    @cached_property
    def unit_samples(self) -> Samples | None:
        """What the units are, where some are no test samples: a row a unit; else None.

        It needs units that are samples (`by_cluster` False).
        """
        own = {name: self._ids[name][rows < 0] for name, rows in self._rows.items()}
        if not any(len(ids) for ids in own.values()):
            return None
        order = np.argsort(self.known_units)
        names = [self.known_ids[order]]
        names += [np.array([f"{name}/{one}" for one in ids], dtype=object)
                  for name, ids in own.items()]  # fmt: skip
        ids = np.concatenate(names)
        clusters = self._samples.clusters
        if clusters is not None:
            clusters = np.concatenate([clusters[self.known_rows[order]], *names[1:]])
        nothing = pd.DataFrame(index=range(len(ids)))
        return Samples(ids, np.zeros(len(ids), dtype=np.int64), nothing, clusters)

    @cached_property
    def _rows(self) -> dict[str, Ints]:
        """The row among the familiar samples of each of a set's, -1 for one that is none."""
        index = pd.Index(self.known_ids, dtype=object)
        return {name: np.asarray(index.get_indexer(pd.Index(ids, dtype=object)), dtype=np.int64)
                for name, ids in self._ids.items()}  # fmt: skip

    def part(self, address: str) -> Part:
        """Returns a set against the familiar samples."""
        if address not in self._parts:
            strange = self.sets[address]
            self._parts[address] = Part(
                scores=np.concatenate([self.known, strange]),
                strange=np.arange(len(self.known) + len(strange)) >= len(self.known),
                units=np.concatenate([self.known_units, self.units(address)]),
            )
        return self._parts[address]

    def parts(self, point: str) -> list[Part] | None:
        """Returns the sets of a point; None where there is none, or a side has no sample."""
        parts = [self.part(address) for address in self.members(point)]
        return parts if parts and all(part.whole for part in parts) else None

    def members(self, point: str) -> list[str]:
        """Returns the sets that a point is the mean of, or the one that it is."""
        return [point] if point in self.sets else members(point, self.sets)
