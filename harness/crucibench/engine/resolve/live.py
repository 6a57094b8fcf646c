"""Live objects from Python: what tells one from another."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

from crucibench.util.content import OpaqueError, content_of

_LIBRARIES = frozenset({"numpy", "pandas", "torch", "sklearn", "datasets"})


def live_digest(value: Any) -> str:
    """Returns a digest of a live object's content, or a random one where there is none to be had.

    A torch module and an estimator are all that they hold, their classes' code too; frames and
    arrays are their values. For a function nobody can tell, so that a run with it is always a new
    run.
    """
    try:
        if _has_content(value):
            return content_of(value, folders=[Path.cwd()]).digest
    except OpaqueError:
        pass
    return f"unknown-{secrets.token_hex(8)}"


def _has_content(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_has_content(entry) for entry in value)
    if isinstance(value, dict):
        return all(_has_content(entry) for entry in value.values())
    if isinstance(value, str | int | float | bool | type(None)) or _is_model(value):
        return True
    return type(value).__module__.partition(".")[0] in _LIBRARIES and not callable(value)


def _is_model(value: Any) -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        return True
    return not isinstance(value, type) and hasattr(value, "fit") and hasattr(value, "predict")
