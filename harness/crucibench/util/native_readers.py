"""Readers in native code, which raise no audit event: their calls are noted while they are watched.

What a module of `READERS` has is wrapped once the module is imported, and put back at the end.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Self

READERS: Mapping[str, tuple[str, ...]] = {
    "pyarrow": ("memory_map", "OSFile", "input_stream"),
    "pyarrow.csv": ("read_csv", "open_csv"),
    "pyarrow.dataset": ("dataset",),
    "pyarrow.feather": ("read_table", "read_feather"),
    "pyarrow.json": ("read_json",),
    "pyarrow.parquet": ("read_table", "read_pandas", "ParquetFile.__init__"),
    "safetensors": ("safe_open",),
    "safetensors.numpy": ("safe_open",),  # by which `load_file` reads
    "safetensors.torch": ("safe_open",),
    "torch": ("from_file",),
    "onnxruntime": ("InferenceSession.__init__",),
    "cv2": ("imread",),
    "lightgbm": ("Booster.__init__",),
    "xgboost": ("Booster.__init__", "Booster.load_model"),
}
"""Module to the functions, classes and methods that read the files named in their arguments."""


class NativeReaders:
    """Calls `note` with each path that a reader is given while this is entered."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._replaced: list[tuple[Any, str, Any]] = []
        self._finder = _AfterImport(self._wrap)

    def __enter__(self) -> Self:
        for name in READERS:
            if (module := sys.modules.get(name)) is not None:
                self._wrap(module)
        sys.meta_path.insert(0, self._finder)
        return self

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self._finder)
        for holder, name, original in reversed(self._replaced):
            setattr(holder, name, original)
        self._replaced.clear()

    def _wrap(self, module: ModuleType) -> None:
        for place in READERS[module.__name__]:
            *outer, name = place.split(".")
            holder = functools.reduce(getattr, outer, module)
            original = getattr(holder, name, None)
            if original is not None:
                self._replaced.append((holder, name, original))
                setattr(holder, name, self._noting(original))

    def _noting(self, original: Any) -> Any:
        @functools.wraps(original, updated=())
        def read(*arguments: Any, **options: Any) -> Any:
            for one in (*arguments, *options.values()):
                for path in one if isinstance(one, list | tuple) else (one,):
                    if isinstance(path, str | os.PathLike) and _is_file(path):
                        self._note(os.fspath(path))
            return original(*arguments, **options)

        return read


def unwatched(value: Any) -> Any:
    """Returns the reader that a function of `NativeReaders` stands for; any other value itself.

    A module of the user's that was imported meanwhile may hold one for good.
    """
    ours = type(value) is FunctionType and value.__globals__ is globals()
    return getattr(value, "__wrapped__", value) if ours else value


def _is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a text or path names a file; a model given as a long text does not."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


class _AfterImport(importlib.abc.MetaPathFinder):
    """Hands a module of `READERS` on once it has been imported."""

    def __init__(self, done: Callable[[ModuleType], None]) -> None:
        self._done = done

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in READERS:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((one for one in found if one is not None), None)
        if spec is not None and spec.loader is not None:
            load, done = spec.loader.exec_module, self._done

            def run(module: ModuleType) -> None:
                load(module)
                done(module)

            spec.loader.exec_module = run  # type: ignore[method-assign]
        return spec
