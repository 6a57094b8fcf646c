"""Live objects from Python: what tells one from another."""

from __future__ import annotations

import inspect
import secrets
import sys
from typing import Any

from crucibench.util.hashing import data_digest

_LIBRARIES = frozenset({"numpy", "pandas", "torch", "sklearn", "datasets"})


def live_digest(value: Any) -> str:
    """Returns a digest of a live object's content, or a random one where there is none to be had.

    A torch module is its weights and the source of its classes; estimators, frames and arrays are
    their values. For a function nobody can tell, so that a run with it is always a new run.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        return _module_digest(value)
    return _hash(value) if _has_content(value) else _unknown()


def _module_digest(module: Any) -> str:
    import torch

    weights = {
        name: [str(tensor.dtype), tensor.detach().cpu().contiguous().view(torch.uint8).numpy()]
        if tensor.ndim
        else [str(tensor.dtype), tensor.item()]
        for name, tensor in module.state_dict().items()
    }
    classes = {type(part) for part in module.modules()}
    try:
        sources = sorted(
            inspect.getsource(kind)
            for kind in classes
            if kind.__module__.partition(".")[0] not in _LIBRARIES
        )
    except (OSError, TypeError):
        return _unknown()
    return _hash([repr(module), sources, weights])


def _has_content(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_has_content(entry) for entry in value)
    if isinstance(value, dict):
        return all(_has_content(entry) for entry in value.values())
    if isinstance(value, str | int | float | bool | type(None)):
        return True
    return type(value).__module__.partition(".")[0] in _LIBRARIES and not callable(value)


def _hash(value: Any) -> str:
    import joblib

    return data_digest(str(joblib.hash(value, hash_name="sha1")))


def _unknown() -> str:
    return f"unknown-{secrets.token_hex(8)}"
