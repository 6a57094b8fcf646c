"""Lets torchvision be imported beside a torch that its compiled operators were not built for.

`make vision` copies this file into an environment of its own. Torchvision's wheels hold operators
for object detection that link to CUDA; beside a torch for CPUs they can't be loaded, and importing
torchvision then fails where it describes them. Declaring them, without a body, is enough: the
models and transforms that are tested here call none of them.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _Declaring:
    """Steps in once, before torchvision is looked for."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            _declare(importlib.util.find_spec(name))
        return None


def _declare(found: ModuleSpec | None) -> None:
    import torch

    for folder in (found.submodule_search_locations or ()) if found else ():
        for operators in Path(folder).glob("_C*.so"):
            try:
                torch.ops.load_library(str(operators))
            except OSError:
                library = torch.library.Library("torchvision", "DEF")
                for operator in ("nms", "qnms"):
                    library.define(f"{operator}{_SCHEMA}")
                sys.modules["torchvision_operators"] = library  # it unloads when it is collected


sys.meta_path.insert(0, _Declaring())
