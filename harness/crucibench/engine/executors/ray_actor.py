"""The class of Ray's actors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def actor_class() -> type:
    """Returns the class of the actors.

    A class that is made in a function is sent whole, so that a node that can't import Crucibench
    can still say so.
    """

    class Worker:
        def __init__(self, path: Sequence[str], folder: str, threads: int) -> None:
            import platform
            import sys
            from pathlib import Path

            self._host = platform.node()
            self._node: Any = None
            self._trouble = ""
            known = set(sys.path)
            sys.path += [entry for entry in path if entry not in known and Path(entry).exists()]
            try:
                from crucibench.engine.executors import ray_node

                self._node = ray_node.Node(ray_node.Home(tuple(path), folder), threads)
            except Exception as error:
                self._trouble = f"{type(error).__name__}: {error}"

        def place(self) -> tuple[str, str, str]:
            """Returns the node's name, Ray's id of it, and what is wrong."""
            import ray

            return self._host, ray.get_runtime_context().get_node_id(), self._trouble

        def call(self, name: str, *arguments: Any) -> Any:
            return getattr(self._node, name)(*arguments)

    return Worker
