"""Items: dicts of JSON values, as they stand in a file of items."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import InputSpec
from crucibench.data import ids
from crucibench.data.modalities import ModalityReader, RolePass
from crucibench.data.options import InputCandidates


class ItemReader(ModalityReader):
    """Reads one column of canonical JSON objects."""

    name: ClassVar[str] = "item"
    rank: ClassVar[int] = 9

    @classmethod
    def claim(cls, found: InputCandidates) -> tuple[str, ...] | None:
        """Claims nothing: a source says that its samples are items."""
        return None

    def rows_at_once(self) -> int:
        """Returns how many samples are read at a time."""
        return 1024

    def digests(self, table: Any, casts: Mapping[str, Any], role: RolePass) -> NDArray[np.bytes_]:
        """Returns the digest of each item; notes how many have each field."""
        column = table.column(self.raw.inputs[0]).to_pylist()
        for text in column:
            role.facts.update((name, _kind(value)) for name, value in _read(text).items())
        return ids.text_digests([column])

    def form(self, passes: Mapping[str, RolePass]) -> dict[str, Any]:
        """Returns the types of each field that every item has."""
        names: dict[str, set[str]] = {}
        counts: dict[str, int] = {}
        for part in passes.values():
            for key, times in part.facts.items():
                name, kind = map(str, cast("tuple[str, str]", key))
                names.setdefault(name, set()).add(kind)
                counts[name] = counts.get(name, 0) + times
        total = sum(part.done for part in passes.values())
        whole = sorted(name for name, times in counts.items() if times == total)
        return {"fields": {name: "|".join(sorted(names[name])) for name in whole}}

    def features(self, form: Mapping[str, Any]) -> dict[str, str]:
        """Returns the fields that every item has, and their types."""
        return dict(form["fields"])

    def inputs(
        self, table: Any, origin: str, rows: NDArray[np.int64], spec: InputSpec
    ) -> tuple[Any, Sequence[tuple[int, int]]]:
        """Returns a list of dicts."""
        return [_read(text) for text in table.column(self.raw.inputs[0]).to_pylist()], ()


def _kind(value: Any) -> str:
    return f"list[{len(value)}]" if isinstance(value, list) else type(value).__name__


def _read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
