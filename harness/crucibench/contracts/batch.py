"""A batch of samples in canonical form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Batch:
    """Samples in canonical form.

    Attributes:
        ids: content-hash sample ids.
        inputs: image: float32 tensor (N, C, H, W) in [0, 1], or a list of N tensors (C, H, W) for
            a model that takes them in their own sizes (`InputSpec.own_sizes`); text: ``list[str]``
            or a list of tuples; table: DataFrame with the data's own columns, dtypes
            and missing values.
        role: the role they belong to.
        rows: their positions in the role's data; only logged predictions look at them.
        keys: the user's own names for them, where the data has an ``id`` column.
        stored: of images, the (height, width) that each was stored in; it stays with a sample
            whatever is done to its pixels.
        draw: which asking about these samples it is, from 0, where they are asked about several
            times; only logged predictions look at it.
    """

    ids: tuple[str, ...]
    inputs: Any
    role: str = "test"
    rows: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    stored: tuple[tuple[int, int], ...] = ()
    draw: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Batch:
        """Returns the samples at `rows`, in that order."""
        if isinstance(self.inputs, list):
            inputs: Any = [self.inputs[row] for row in rows]
        elif hasattr(self.inputs, "iloc"):
            inputs = self.inputs.iloc[list(rows)].reset_index(drop=True)
        else:
            inputs = self.inputs[list(rows)]
        return Batch(
            tuple(self.ids[row] for row in rows),
            inputs,
            self.role,
            tuple(self.rows[row] for row in rows) if self.rows else (),
            tuple(self.keys[row] for row in rows) if self.keys else (),
            tuple(self.stored[row] for row in rows) if self.stored else (),
            self.draw,
        )

    def with_inputs(self, inputs: Any) -> Batch:
        """Returns the same samples, perturbed."""
        return replace(self, inputs=inputs)
