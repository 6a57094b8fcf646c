"""Packages that are imported where they are used, and may be absent."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from crucibench.util.errors import InputError


def need(package: str, extra: str = "") -> ModuleType:
    """Returns the module `package`, imported now.

    Args:
        package: its import name, e.g. ``timm`` or ``onnxruntime``.
        extra: the extra of Crucibench that installs it; "" for what Crucibench itself requires.

    Raises:
        InputError: one sentence with the install line if it is absent, or with the cause if it is
            there and can't be imported.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package.partition(".")[0]:
            raise InputError(f"{package} can't be imported: {error}") from error
        raise _absent(package, extra) from error
    except Exception as error:
        raise InputError(f"{package} can't be imported: {type(error).__name__}: {error}") from error


def require(package: str, extra: str = "") -> None:
    """Does nothing where `package` is installed; it is not imported yet.

    Args:
        package: its import name, without a dot.
        extra: as of `need`.

    Raises:
        InputError: one sentence with the install line if it is absent.
    """
    if find_spec(package) is None:
        raise _absent(package, extra)


def _absent(package: str, extra: str) -> InputError:
    wanted = f"crucibench[{extra}]" if extra else "crucibench"
    return InputError(f'{package} is not installed: pip install "{wanted}"')
