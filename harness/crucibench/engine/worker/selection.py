"""The samples that enter a stage: the engine chooses them once, and every worker reads them.

Arrays are kept next to the cell's records as ``.npy`` files, which workers map instead of reading,
so that a warm start for a large data set costs a worker memory for its batch alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.scenario import Selection
from crucibench.engine.plan.roles import Rows
from crucibench.util import doors
from crucibench.util.doors import storing

_KEEP = "keep.npy"


@dataclass(frozen=True)
class Chosen:
    """What enters a stage.

    Attributes:
        rows: of the role's selection.
        carry: arrays of a row a sample, mapped from disk.
    """

    rows: Rows
    carry: Mapping[str, NDArray[Any]]


def write(cell: Path, stage: int, chosen: Selection | None, count: int, name: str) -> int:
    """Keeps what `Mapped.select` chose; returns how many samples enter.

    Raises:
        ValueError: if the choice or what it carries is not as the contract says.
        StorageError: if the system refuses to write it.
    """
    folder = _folder(cell, stage)
    doors.remove_folder(folder, ignore_errors=True)
    if chosen is None:
        return count
    if chosen.keep.shape != (count,):
        raise ValueError(
            f"stage {name!r}: expected a choice of shape ({count},), got {chosen.keep.shape}"
        )
    for key, array in chosen.carry.items():
        if array.dtype == object or len(array) != count:
            raise ValueError(
                f"stage {name!r}: carry {key!r}: expected {count} rows of a plain dtype, got "
                f"{len(array)} of {array.dtype}"
            )
    with storing(folder):
        doors.make_folder(folder)
        for key, array in chosen.carry.items():
            _save(folder / f"carry-{key}.npy", array)
        _save(folder / _KEEP, chosen.keep.astype(bool))
    return int(chosen.keep.sum())


def digest(chosen: Selection) -> str:
    """Returns the SHA-256 of what was chosen and carried."""
    found = hashlib.sha256(chosen.keep.astype(bool).tobytes())
    for key, array in sorted(chosen.carry.items()):
        found.update(f"{key}:{array.dtype.str}:{array.shape}".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def read(cell: Path, stage: int, count: int) -> Chosen:
    """Returns what was kept; every sample where nothing was."""
    folder = _folder(cell, stage)
    if not folder.is_dir():
        return Chosen(range(count), {})
    carry = {
        path.stem.removeprefix("carry-"): np.load(path, mmap_mode="r", allow_pickle=False)
        for path in sorted(folder.glob("carry-*.npy"))
    }
    return Chosen(np.flatnonzero(np.load(folder / _KEEP, allow_pickle=False)), carry)


def forget(cell: Path, stages: int) -> None:
    """Drops what was kept for the stages of a cell that is done."""
    for stage in range(stages):
        doors.remove_folder(_folder(cell, stage), ignore_errors=True)


def _save(path: Path, array: NDArray[Any]) -> None:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    doors.write_bytes(path, content.getvalue())


def _folder(cell: Path, stage: int) -> Path:
    return cell / f".stage-{stage:02d}"
