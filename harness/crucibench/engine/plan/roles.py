"""The samples of a role that a run asks about, and how many a batch and a shard hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import DataCard, EvalSet, Samples
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.task import Modality
from crucibench.data.subset import take
from crucibench.passes.scenario import best_answer
from crucibench.util.draws import Draws

if TYPE_CHECKING:
    from crucibench.engine.plan.plan import PlannedCell

Rows: TypeAlias = range | NDArray[np.int64]

_DIGEST_BLOCK = 65536
_BATCH = {Modality.TABLE: 4096, Modality.TEXT: 32, Modality.IMAGE: 256}
_OTHER_BATCH = 32
_LARGE_IMAGE_BATCH = 64
_LARGE_IMAGE_PIXELS = 64 * 64
_SHARD_BATCHES = 16
_SHARDS = 16


class SelectedRole:
    """A role, less what a limit leaves out; rows count from 0 within the selection.

    Without a limit it holds nothing per sample, so that collecting needs O(batch) memory.
    """

    def __init__(self, evalset: EvalSet, role: str, limit: int | None, seed: int) -> None:
        self.evalset = evalset
        self.role = role
        count = evalset.card.counts[role]
        self._rows: Rows = range(count)
        if limit is not None and limit < count:
            self._rows = _chosen(evalset.samples(role), evalset.card, role, limit, seed)

    def __len__(self) -> int:
        return len(self._rows)

    def samples(self) -> Samples:
        """Returns the sample table, whole: O(n) memory."""
        if isinstance(self._rows, range):
            return self.evalset.samples(self.role)
        return self.evalset.samples(self.role).take(self._rows)

    def slice(self, rows: Rows) -> Samples:
        """Returns the sample table at `rows` of the selection."""
        return self.evalset.slice(self.role, self._own(rows))

    def batch(self, rows: Rows, spec: InputSpec) -> Batch:
        """Returns the samples at `rows` of the selection in canonical form."""
        return self.evalset.batch(self.role, self._own(rows), spec)

    def work(
        self, rows: Rows, carry: Mapping[str, NDArray[Any]], adapter: Adapter,
        *keep: Callable[[str, Columns], None],
    ) -> Work:  # fmt: skip
        """Returns what a `Mapped` scenario is given of the samples at `rows` of the selection.

        Args:
            rows: of the selection.
            carry: arrays of a row a sample of the selection (`Selection.carry`).
            adapter: the model that will be asked.
            keep: takes artefacts, where any are kept.
        """
        picked = np.asarray(rows)
        carried = {key: np.asarray(value[picked]) for key, value in carry.items()}
        return Work(self.batch(rows, adapter.input_spec), self.slice(rows), carried, *keep)

    def probe_rows(self, wanted: int) -> Rows:
        """Returns at most `wanted` rows, spread over the samples, or over the first block."""
        return probe_rows(min(len(self), self.evalset.card.block or len(self)), wanted)

    def ids_digest(self) -> str:
        """Returns the digest of the selected ids in order, in O(block) memory."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _DIGEST_BLOCK):
            part = self.slice(range(start, min(start + _DIGEST_BLOCK, len(self))))
            ids = part.names.column.combine_chunks()
            lines = pc.binary_join(pa.ListArray.from_arrays([0, len(ids)], ids), "\n")
            digest.update(lines[0].as_buffer())
            digest.update(b"\n")
        return digest.hexdigest()

    def _own(self, rows: Rows) -> Rows:
        if isinstance(self._rows, range):
            return rows
        if isinstance(rows, range):
            return self._rows[rows.start : rows.stop : rows.step]
        return self._rows[rows]


def limited(samples: Samples, card: DataCard, role: str, limit: int | None, seed: int) -> Samples:
    """Returns what a limit keeps of a role's sample table, or of what a larger limit kept of it."""
    if limit is None or limit >= len(samples):
        return samples
    return samples.take(_chosen(samples, card, role, limit, seed))


def _chosen(
    samples: Samples, card: DataCard, role: str, limit: int, seed: int
) -> NDArray[np.int64]:
    sizes = card.class_counts.get(role) or None
    return take(samples.ids, samples.targets, limit, seed, sizes)


def map_context(
    cell: PlannedCell, role: SelectedRole, adapter: Adapter, seed: int, *,
    at_most: int | None = None, showing: float = 0.0,
) -> MapContext:  # fmt: skip
    """Returns what a `Mapped` scenario is given of its cell.

    Args:
        cell: the cell.
        role: its samples.
        adapter: the model.
        seed: of every draw.
        at_most: the batch that memory holds, where it is less than the planned one.
        showing: the share of the samples that are kept as examples.
    """
    return MapContext(
        adapter=adapter,
        draws=Draws(seed, cell.scenario.stream),
        outputs=cell.outputs or best_answer(cell.data.task, cell.model),
        batch_size=min(cell.batch_size, at_most or cell.batch_size),
        load=lambda rows: role.batch(np.asarray(rows, dtype=np.int64), adapter.input_spec),
        showing=showing,
    )


def probe_rows(count: int, wanted: int) -> Rows:
    """Returns at most `wanted` rows spread evenly over `count`: every class of sorted data."""
    if count <= wanted:
        return range(count)
    rows: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, wanted).astype(np.int64))
    return rows


def batches(rows: Rows, size: int) -> Sequence[Rows]:
    """Returns `rows` cut at the canonical batch boundaries."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def largest_batch(geometry: Mapping[str, Any], modality: Modality) -> int:
    """Returns the batch size that ``auto`` starts from; larger ones are no faster."""
    size = geometry.get("size")
    if size and size[0] * size[1] > _LARGE_IMAGE_PIXELS:
        return _LARGE_IMAGE_BATCH
    return _BATCH.get(modality, _OTHER_BATCH)


def shard_size(samples: int, batch_size: int) -> int:
    """Returns the samples to a shard: a whole number of batches.

    A cell has some sixteen shards, so that workers share it and a kill costs little, and no shard
    more than sixteen batches, so that memory does not grow with the data.
    """
    whole = -(-samples // batch_size)
    return batch_size * min(_SHARD_BATCHES, max(1, -(-whole // _SHARDS)))
