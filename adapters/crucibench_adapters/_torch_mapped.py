"""Weights that stay in their file: all processes that map it share its pages. Imports torch.

A tensor's content is exchanged, not the tensor: whoever refers to it, by another name or from a
list, sees the new one. The file must stay as it is while the model is in use, so that is looked at
after each answer.
"""

from __future__ import annotations

import os
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crucibench.contracts.task import OutputError

_WORTH_IT = 1 << 20
_ALIGNED = 64

_OFFSETS: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()


def map_weights(module: nn.Module, state: dict[str, torch.Tensor], file: Path) -> set[str]:
    """Lets large tensors of `module` have the memory of those in `state`, where that is the same.

    Args:
        module: as its factory made it.
        state: mapped from `file`, by the module's own names.
        file: which must not change from now on.

    Returns:
        The names of which nothing more is to be loaded.
    """
    if not _loads_plainly(module):
        return set()
    own: dict[str, Any] = dict(module.state_dict(keep_vars=True))
    names = Counter(id(own[key]) for key in state if key in own)
    fitting = [
        key
        for key, tensor in state.items()
        if key in own and names[id(own[key])] == 1 and _fits(own[key], tensor)
    ]
    for key in fitting:
        own[key].data = state[key]
    if fitting:
        offsets = sorted({state[key].data_ptr() % _ALIGNED for key in fitting})
        _OFFSETS[module] = "mapped, " + ", ".join(f"+{offset}" for offset in offsets)
        module.register_forward_hook(_Watch(file))
    return set(fitting)


def placement(module: nn.Module) -> str:
    """Returns how the weights of `module` lie in memory, which moves floats; "" if as usual."""
    found = _OFFSETS.get(module, "")
    return found if all(part.device.type == "cpu" for part in module.parameters()) else ""


class _Watch:
    """A hook: a file that changes under a model makes its answers another model's."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = _stat(file)

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if _stat(self._file) != self._seen:
            raise OutputError(
                f"weights {self._file.name} were changed while the model was in use; run the same "
                "command again"
            )


def _stat(file: Path) -> tuple[int, ...]:
    try:
        stat = os.stat(file)  # noqa: PTH116 - once a batch
    except OSError:
        return ()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _fits(own: Any, new: torch.Tensor) -> bool:
    """Whether a tensor can have another's memory: all else is equal, and no view holds its own."""
    if type(own) not in {torch.Tensor, nn.Parameter} or new.nbytes < _WORTH_IT:
        return False
    form = (own.dtype, own.device, own.shape, own.layout)
    if form != (new.dtype, new.device, new.shape, new.layout) or own.stride() != new.stride():
        return False
    whole = own.untyped_storage().nbytes() == own.nbytes
    return whole and _holders(own) == _holders(torch.empty(1))


def _holders(tensor: torch.Tensor) -> int:
    """Returns how many tensors have the memory of `tensor`, as far as torch tells."""
    storage = tensor.untyped_storage()
    count = getattr(torch._C, "_storage_Use_Count", None)
    return 0 if count is None else int(count(storage._cdata))


def _loads_plainly(module: nn.Module) -> bool:
    """Whether loading a state dict is copying it, in all parts of `module`."""
    plain = {
        nn.Module._load_from_state_dict,
        nn.modules.batchnorm._NormBase._load_from_state_dict,
    }
    return type(module).load_state_dict is nn.Module.load_state_dict and all(
        type(part)._load_from_state_dict in plain
        and not getattr(part, "_load_state_dict_pre_hooks", None)
        and not getattr(part, "_load_state_dict_post_hooks", None)
        for part in module.modules()
    )
