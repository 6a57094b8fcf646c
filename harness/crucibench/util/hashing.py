"""Content digests: of files, of arrays and of plain data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_CHUNK = 1 << 18


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):  # `hashlib.file_digest` is half as fast on small files
            digest.update(chunk)
    return digest.hexdigest()


def file_digests(files: Iterable[Path], base: Path) -> dict[str, str]:
    """Returns the digest of each file by its name relative to `base`."""
    return {relative_name(path, base): file_digest(path) for path in files}


def relative_name(path: Path, base: Path) -> str:
    """Returns a file's name relative to `base`, with slashes; the whole on another drive."""
    text, start = str(path), f"{base.absolute()}{os.sep}"
    if text.startswith(start) and ".." not in text:
        return text[len(start) :].replace(os.sep, "/")  # `relpath` takes as long as opening it
    try:
        return os.path.relpath(path, base).replace(os.sep, "/")
    except ValueError:
        return path.as_posix()


def tree_digest(folder: Path) -> str:
    """Returns one digest over the relative names and contents of all files below `folder`."""
    parts = {
        str(path.relative_to(folder).as_posix()): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return data_digest(parts)


def canonical_json(data: Any) -> str:
    """Returns JSON with sorted keys and no spaces: equal data gives equal text.

    Raises:
        ValueError: if a number is NaN or infinite, which JSON can't hold.
    """
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def data_digest(data: Mapping[str, Any] | list[Any] | str) -> str:
    """Returns the SHA-256 of `data` as canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def differing_fields(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns the dotted names of the fields in which two nested mappings differ."""
    names: list[str] = []
    for key in sorted(a.keys() | b.keys()):
        name = f"{prefix}{key}"
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            names += differing_fields(left, right, f"{name}.")
        elif left != right or (key in a) != (key in b):
            names.append(name)
    return names
