"""Which kind of live object it is, and who reads it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd

from crucibench.contracts.source import DataOpening, RawData
from crucibench.data.objects.dataset import read_datasets
from crucibench.data.objects.frame import read_frames
from crucibench.data.objects.pair import read_pairs
from crucibench.data.objects.torch_dataset import read_torch
from crucibench.data.options import TABULAR, DataOptions
from crucibench.data.roles import roles_of, split_note
from crucibench.util.errors import InputError

OPTIONS = (*TABULAR, "layout")
EXPECTED = (
    "a datasets.Dataset, a torch Dataset of pairs, a DataFrame, (X, y), "
    "or a dict from role to one of these"
)


def is_data(data: object) -> bool:
    """Whether `read_object` takes this."""
    if isinstance(data, Mapping):
        return bool(data) and all(
            isinstance(name, str) and _kind(value) is not None for name, value in data.items()
        )
    return _kind(data) is not None


def read_object(data: Any, opening: DataOpening, options: DataOptions) -> RawData:
    """Returns live data as a source returns it.

    Raises:
        InputError: one clear sentence.
    """
    items = dict(data) if isinstance(data, Mapping) else {"test": data}
    chosen, left = roles_of(items)
    if "test" not in chosen:
        raise InputError(f"the data has no role test (got {', '.join(items)})")
    roles = {role: items[name] for role, name in chosen.items()}
    kinds = {role: _kind(value) for role, value in roles.items()}
    if len(set(kinds.values())) > 1:
        raise InputError(f"the roles are of unlike kinds: {kinds}")
    more: dict[str, Any] = {}
    if isinstance(data, Mapping):
        more["split"], more["notes"] = split_note(chosen, left)
    match kinds["test"]:
        case "dataset":
            return read_datasets(roles, opening, options, more)
        case "frame":
            return read_frames(roles, opening, options, more)
        case "pair":
            return read_pairs(roles, opening, options, more)
        case _:
            return read_torch(roles, opening, options, more)


def _kind(data: object) -> str | None:
    if isinstance(data, pd.DataFrame):
        return "frame"
    if isinstance(data, tuple):
        return "pair" if len(data) == 2 and all(map(_has_rows, data)) else None
    if _is_a(data, "datasets", "Dataset"):
        return "dataset"
    torch_data = _is_a(data, "torch.utils.data", "Dataset")
    return "torch" if torch_data and hasattr(data, "__len__") else None


def _has_rows(data: object) -> bool:
    return hasattr(data, "__len__") and not isinstance(data, str | bytes | Mapping)


def _is_a(data: object, module: str, name: str) -> bool:
    # An object of a library that is not loaded can't be there.
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(data, getattr(loaded, name))
