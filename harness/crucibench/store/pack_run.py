"""Reading a pack as a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.records import Records
from crucibench.store.archive import Unpacked
from crucibench.store.cells import CellFile
from crucibench.store.packed_run import PackedRun
from crucibench.store.run import Run
from crucibench.store.seal import Seal
from crucibench.store.tables import read_table


class PackRun(PackedRun):
    """A run read from an unpacked pack; with a run on the same data its ids can be read."""

    def __init__(self, place: Unpacked, run: str, by: Run | None = None) -> None:
        """Opens it.

        Args:
            place: where it was unpacked.
            run: the run's id.
            by: a run that may have the same data.
        """
        super().__init__(place, run)
        self._by = by

    def opened(self, by: Run) -> PackRun:
        """Returns the pack with the ids of `by` wherever that has the same data."""
        return PackRun(self._place, self.id, by)

    @cached_property
    def cards(self) -> dict[str, DataCard]:
        """The data cards by data set name."""
        found = super().cards
        clear = self._clear
        return {
            name: replace(
                card,
                fingerprint=clear.get(card.fingerprint, card.fingerprint),
                ids_digest={
                    role: clear.get(digest, digest) for role, digest in card.ids_digest.items()
                },
                further={role: clear.get(digest, digest) for role, digest in card.further.items()},
            )
            for name, card in found.items()
        }

    @cached_property
    def cells(self) -> dict[str, CellFile]:
        """All cells by id, in the order of their ids."""
        found = super().cells
        clear = self._clear
        return {
            name: file.model_copy(
                update={
                    "ids_digest": clear.get(file.ids_digest, file.ids_digest),
                    "comparison": _opened(file.comparison, clear),
                }
            )
            for name, file in found.items()
        }

    def cell_records(self, cell: str) -> Records:
        """Returns what the pack has of a cell's records; empty if there are none."""
        records = super().cell_records(cell)
        file = self.cells[cell]
        if not len(records) or file.data not in self._partners:
            return records
        ids = pa.array(self._names(file.data, file.role, records.ids), pa.string())
        table = records.table
        return Records(table.set_column(table.column_names.index("id"), "id", ids))

    def probes(self, cell: str, names: Iterable[str]) -> dict[str, Records]:
        """Returns none: probes are evidence for audits, which were made before packing."""
        return {}

    def samples(self, data: str, role: str) -> Samples:
        """Returns a role's sample table; empty where the pack has none.

        Of data that the other run has, it has the group columns that the pack was made without.
        """
        if not self.layout.sample_table(data, role).is_file():
            empty = np.empty(0, dtype=object)
            return Samples(empty, np.empty(0, dtype=np.int64), pd.DataFrame())
        samples = super().samples(data, role)
        if data not in self._partners or self._by is None:
            return samples
        samples = replace(samples, ids=self._names(data, role, samples.ids))
        theirs = self._by.samples(self._partners[data], role)
        rows = pd.Index(theirs.ids).get_indexer(pd.Index(samples.ids))
        if len(samples.groups.columns) or (rows < 0).any():
            return samples
        groups = theirs.groups.iloc[rows].reset_index(drop=True)
        return replace(samples, groups=groups)

    def rows_within(self, data: str, role: str, limit: int) -> NDArray[np.int64] | None:
        """Returns the rows that a limit keeps: sealed ids can't say so themselves."""
        table = read_table(self.layout.sample_table(data, role))
        name = f"limit:{limit}"
        if name not in table.column_names:
            return None
        chosen = table.column(name).to_numpy(zero_copy_only=False).astype(np.bool_)
        return np.flatnonzero(chosen).astype(np.int64)

    @cached_property
    def _partners(self) -> dict[str, str]:
        """The pack's data sets that the other run has too, by their names there."""
        if self._by is None:
            return {}
        known = {Seal(card.fingerprint).data: name for name, card in self._by.cards.items()}
        stored = super().cards if "cards" not in self.__dict__ else self._stored_cards()
        return {
            name: known[card.fingerprint]
            for name, card in stored.items()
            if card.fingerprint in known
        }

    def _stored_cards(self) -> Mapping[str, DataCard]:
        return Run(self.root).cards

    @cached_property
    def _clear(self) -> dict[str, str]:
        """What seals stand for, as far as the other run knows."""
        if self._by is None:
            return {}
        clear: dict[str, str] = {}
        for name in self._partners.values():
            card = self._by.cards[name]
            seal = Seal(card.fingerprint)
            clear[seal.data] = card.fingerprint
            digests = [*card.ids_digest.values(), *card.further.values()]
            digests += [file.ids_digest for file in self._by.cells.values() if file.data == name]
            clear |= {seal.digest(digest): digest for digest in digests}
        return clear

    def _names(self, data: str, role: str, ids: NDArray[Any]) -> NDArray[np.object_]:
        """Returns the ids that sealed ones stand for, where the other run has them."""
        index, names = self._sealed(data, role)
        rows = index.get_indexer(pd.Index(ids))
        found = np.asarray(ids, dtype=object).copy()
        found[rows >= 0] = names[rows[rows >= 0]]
        return found

    def _sealed(self, data: str, role: str) -> tuple[pd.Index[str], NDArray[np.object_]]:
        if (data, role) not in self._sealed_ids:
            by, name = self._by, self._partners[data]
            ids = np.empty(0, dtype=object)
            if by is not None and by.layout.sample_table(name, role).is_file():
                ids = by.samples(name, role).ids
                sealed = Seal(by.cards[name].fingerprint).identities(ids)
            else:
                sealed = ids
            self._sealed_ids[data, role] = (pd.Index(sealed), ids)
        return self._sealed_ids[data, role]

    @cached_property
    def _sealed_ids(self) -> dict[tuple[str, str], tuple[pd.Index[str], NDArray[np.object_]]]:
        return {}


def _opened(fields: Mapping[str, Any], clear: Mapping[str, str]) -> dict[str, Any]:
    """Returns fields with what seals stand for, one mapping deep: the further roles' digests."""
    found: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, str):
            found[key] = clear.get(value, value)
        elif key == "further":
            found[key] = {role: clear.get(digest, digest) for role, digest in value.items()}
        else:
            found[key] = value
    return found
