"""A digest of a fitted estimator: what it learnt, and the source of what is the user's own."""

from __future__ import annotations

import inspect
import pickle
import sysconfig
import types
from pathlib import Path
from typing import Any

from crucibench.util.hashing import data_digest
from crucibench.util.user_errors import is_private, public_name

_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("purelib", "platlib", "stdlib")
)


def estimator_digest(estimator: Any) -> str | None:
    """Returns the digest, or None if the content of something in the estimator can't be told."""
    from joblib.hashing import NumpyHasher
    from numpy import ndarray
    from numpy.lib.recfunctions import repack_fields

    used: dict[str, Any] = {}

    class Hasher(NumpyHasher):  # type: ignore[misc]
        def save(self, value: Any) -> None:
            if isinstance(value, ndarray) and value.dtype.names:
                value = repack_fields(value)  # what lies between the fields of a tree is chance
            elif isinstance(value, type | types.FunctionType):
                used[public_name(value)] = value
                if is_private(value):
                    value = public_name(value)
            super().save(value)

    try:
        content = Hasher(hash_name="sha1").hash(estimator)
        sources = {
            name: inspect.getsource(value)
            for name, value in used.items()
            if not is_private(value) and not _is_library(value)
        }
    except (OSError, TypeError, AttributeError, pickle.PicklingError):
        return None
    return data_digest({"content": str(content), "sources": sources})


def _is_library(value: Any) -> bool:
    try:
        file = inspect.getfile(value)
    except (TypeError, OSError):
        return bool(value.__module__ != "__main__")  # compiled, or built in
    return str(Path(file).resolve()).startswith(_LIBRARIES)
