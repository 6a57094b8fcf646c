"""How many samples a batch and a shard hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crucibench.contracts.task import Modality
from crucibench.spec.yaml_file import read_yaml
from crucibench.util.errors import InputError
from crucibench.util.memory import available_memory, free_memory, is_out_of_memory, resident_memory

_BATCH = {Modality.TABLE: 1024, Modality.TEXT: 32, Modality.IMAGE: 256}
_LARGE_IMAGE_BATCH = 64
_LARGE_IMAGE_PIXELS = 64 * 64
_SHARD_BATCHES = 16
_SHARDS = 16


def largest_batch(geometry: Mapping[str, Any], modality: Modality) -> int:
    """Returns the batch that ``auto`` starts from: beyond it nothing gets faster."""
    size = geometry.get("size")
    if size and size[0] * size[1] > _LARGE_IMAGE_PIXELS:
        return _LARGE_IMAGE_BATCH
    return _BATCH[modality]


def shard_size(samples: int, batch_size: int) -> int:
    """Returns the samples to a shard: a whole number of batches.

    A cell has some sixteen shards, so that workers share it and a kill costs little, and no shard
    more than sixteen batches, so that memory does not grow with the data.
    """
    whole = -(-samples // batch_size)
    return batch_size * min(_SHARD_BATCHES, max(1, -(-whole // _SHARDS)))


def fitting_batch(ask: Callable[[int], object], asked: int, grown: int, ceiling: int) -> int:
    """Returns the largest batch, `ceiling` halved as often as it must be, that memory holds.

    Args:
        ask: answers a batch of so many of the largest inputs.
        asked: how many were in the batch that was asked already.
        grown: by how many bytes memory grew for it.
        ceiling: where to start.
    """
    free = available_memory()
    if free is not None and 2 * grown * ceiling // max(1, asked) < free:
        return ceiling  # far from the limit: nothing to try
    size = ceiling
    while size > 1:
        try:
            ask(size)
        except Exception as error:
            if not is_out_of_memory(error):
                return size  # not a question of size: the cell will say what it is
            free_memory()
            size = max(1, size // 2)
        else:
            return size
    return size


def memory_in_use(device: str) -> int:
    """Returns the bytes in use where a model on `device` answers; the highest so far on CUDA."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    import os

    return resident_memory(os.getpid()) or 0


def batch_sizes_of(file: Path) -> Mapping[str, Mapping[str, int]]:
    """Returns what ``auto`` came to in the run whose ``spec.yaml`` this is; empty if unknown."""
    try:
        found = read_yaml(file)["resolved"]["batch_sizes"]
    except (InputError, OSError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
