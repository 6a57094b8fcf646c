"""What packages register by entry points: found by name, loaded when used.

A third party adds an adapter with one line in its own package, and any other kind likewise::

    [project.entry-points."crucibench.adapters"]
    myformat = "my_package.adapter:MyAdapter"
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.audit import audits
from crucibench.contracts.source import DataSource
from crucibench.contracts.suite import Suite
from crucibench.util.errors import InputError
from crucibench.util.registry import Registered, Registry

T = TypeVar("T")


@cache
def adapters() -> Registry[type[Adapter]]:
    """Returns the registry of adapters, by URI scheme."""
    return Registry(KINDS["models"].group, KINDS["models"].what, Adapter)


@cache
def suites() -> Registry[type[Suite]]:
    """Returns the registry of suites."""
    return Registry(KINDS["suites"].group, KINDS["suites"].what, Suite)


@cache
def sources() -> Registry[type[DataSource]]:
    """Returns the registry of data sources, by URI scheme."""
    return Registry(KINDS["data"].group, KINDS["data"].what, DataSource)


class Kind(NamedTuple):
    """One kind of thing that packages register.

    Attributes:
        group: of the entry points.
        what: what messages call one of them.
        title: what tables call them.
        registry: returns their registry, which loads them; None where they are only listed.
        required: whether none at all is a problem.
    """

    group: str
    what: str
    title: str
    registry: Callable[[], Registry[Any]] | None = None
    required: bool = False

    def entries(self) -> list[Registered]:
        """Returns what is registered, by name, importing none of it."""
        found = self.registry() if self.registry else Registry[Any](self.group, self.what, object)
        return found.entries()


KINDS = {
    "models": Kind(
        "crucibench.adapters", "model scheme", "Model schemes (SCHEME:REST)", adapters, True
    ),
    "data": Kind("crucibench.data", "data scheme", "Data schemes (SCHEME:REST)", sources, True),
    "suites": Kind("crucibench.suites", "suite", "Suites", suites, True),
    "tasks": Kind("crucibench.tasks", "task kind", "Task kinds"),
    "metrics": Kind("crucibench.metrics", "metric", "Metrics"),
    "attacks": Kind("crucibench.attacks", "attack", "Attacks"),
    "detectors": Kind("crucibench.detectors", "detector", "Detectors of unfamiliar inputs"),
    "corruptions": Kind("crucibench.corruptions", "corruption", "Corruptions"),
    "audits": Kind("crucibench.audits", "audit", "Audits", audits),
    "sections": Kind("crucibench.sections", "report section", "Report sections"),
}
"""Every kind by the word that users type; ``list`` and ``doctor`` show them in this order."""


def accepting_adapter(model: object, name: str) -> type[Adapter]:
    """Returns the adapter that takes a live object.

    Raises:
        InputError: if none does.
    """
    if isinstance(model, Adapter):
        return type(model)
    return _accepting(adapters(), model, f"model {name!r}")


def accepting_source(data: object, name: str) -> type[DataSource]:
    """Returns the data source that takes a live object.

    Raises:
        InputError: if none does.
    """
    return _accepting(sources(), data, f"data {name!r}")


def _accepting(registry: Registry[T], value: object, what: str) -> T:
    for entry in registry.entries():
        try:
            candidate = registry.get(entry.name)
        except InputError:
            continue  # a broken plug-in must not stop a live object that another one takes
        accepts = getattr(candidate, "accepts", None)
        if accepts is not None and accepts(value):
            return candidate
    raise InputError(f"{what}: no installed adapter or source takes a {type(value).__name__}")
