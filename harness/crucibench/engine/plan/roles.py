"""The samples of a role that a run asks about, and their batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import DataCard, EvalSet, Samples
from crucibench.data.subset import take

Rows: TypeAlias = range | NDArray[np.int64]

_DIGEST_BLOCK = 65536


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

    def ids_digest(self) -> str:
        """Returns the digest of the selected ids in order, in O(block) memory."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _DIGEST_BLOCK):
            part = self.slice(range(start, min(start + _DIGEST_BLOCK, len(self))))
            digest.update("\n".join(part.ids).encode())
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


def probe_rows(count: int, wanted: int) -> Rows:
    """Returns at most `wanted` rows spread evenly over `count`: every class of sorted data."""
    if count <= wanted:
        return range(count)
    rows: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, wanted).astype(np.int64))
    return rows


def batches(rows: Rows, size: int) -> Sequence[Rows]:
    """Returns `rows` cut at the canonical batch boundaries."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
