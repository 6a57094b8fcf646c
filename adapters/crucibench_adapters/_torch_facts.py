"""What tells one torch module from another: weights, and all else that it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from torch import nn

from crucibench.util.content import Content, content_of, steady_content
from crucibench_adapters._torch_weights import known_tensors, weights_digest


def module_content(module: nn.Module, folders: Iterable[Path]) -> Content:
    """Returns all that a module is beside its weights: structure, code, attributes, hooks.

    Args:
        module: whose parameters and buffers are told by their names.
        folders: what may lie elsewhere in another run.

    Raises:
        OpaqueError: naming the first attribute whose content can't be told.
    """
    names = {id(tensor): name for name, tensor in reversed(known_tensors(module).items())}
    return content_of(module, folders=folders, known=names)


def module_digests(
    module: nn.Module, folders: Iterable[Path], ask: Callable[[int], object]
) -> tuple[dict[str, str], frozenset[str]]:
    """Returns digests of a module by field, and the libraries that it comes from.

    Args:
        module: the module.
        folders: as for `module_content`.
        ask: has the module answer something: what changes by that does not tell one module from
            another.

    Raises:
        OpaqueError: naming the first attribute whose content can't be told.
    """
    folders = tuple(folders)
    content = steady_content(lambda: module_content(module, folders), ask)
    digests = {"weights": weights_digest(module), "configuration": content.digest}
    return digests, content.libraries
