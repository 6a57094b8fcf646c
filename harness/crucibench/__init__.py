"""Crucibench puts a trained model through accuracy, shift, attack, bias and speed.

Every number comes with an interval, a sample count, a direction and a verdict on its validity.
Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crucibench.api import compare, gate, run, verify
    from crucibench.contracts.adapter import Adapter
    from crucibench.contracts.source import DataSource
    from crucibench.contracts.suite import Suite
    from crucibench.store.find import load
    from crucibench.store.run import Run
    from crucibench.util.errors import CrucibenchError, InputError

_NAMES = {
    "Adapter": "crucibench.contracts.adapter",
    "CrucibenchError": "crucibench.util.errors",
    "DataSource": "crucibench.contracts.source",
    "InputError": "crucibench.util.errors",
    "Run": "crucibench.store.run",
    "Suite": "crucibench.contracts.suite",
    "compare": "crucibench.api",
    "gate": "crucibench.api",
    "load": "crucibench.store.find",
    "run": "crucibench.api",
    "verify": "crucibench.api",
}

__all__ = [
    "Adapter",
    "CrucibenchError",
    "DataSource",
    "InputError",
    "Run",
    "Suite",
    "compare",
    "gate",
    "load",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'crucibench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
