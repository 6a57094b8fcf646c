"""Weights, read safely and fitted to a module; digests of what tells modules apart."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crucibench.util.content import Content, content_of, steady_content
from crucibench.util.content.arrays import tensor_bytes
from crucibench.util.errors import InputError
from crucibench.util.user_errors import one_line
from crucibench_adapters._torch_mapped import map_weights

_WRAPPED = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_SHOWN = 3
_GLOBAL = re.compile(r"(?:GLOBAL|class) ([\w.]+)")
"""What torch names of a file that its safe reader refuses."""

State = dict[str, torch.Tensor]


def load_weights(module: nn.Module, file: Path, what: str, *, allow_pickle: bool) -> list[str]:
    """Loads the weights in `file` into `module`; returns what had to be done to their names.

    Raises:
        InputError: as `read_weights` and `fit_weights` do.
    """
    return fit_weights(module, read_weights(file, allow_pickle=allow_pickle), file, what)


def read_weights(file: Path, *, allow_pickle: bool) -> State:
    """Returns the state dict in `file`, on the CPU.

    Raises:
        InputError: if the file holds no state dict, or more than tensors without `allow_pickle`.
    """
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(file, device="cpu"))
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"weights {file.name} can't be read: {one_line(error)}") from error
    try:
        with warnings.catch_warnings():
            # torch asks people to report to it what it can't read.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            stored = torch.load(file, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        named = _GLOBAL.search(str(error))
        held = f" ({named[1]})" if named else ""
        raise InputError(
            f"weights {file.name} hold more than tensors{held}, or are damaged: save the state "
            "dict alone, best as .safetensors, or pass --allow-pickle, which lets the file run code"
        ) from error
    except Exception as error:
        reason = one_line(error).partition(". ")[0]  # what follows is torch's advice
        raise InputError(f"weights {file.name} can't be read: {reason}") from error
    return _state_dict(stored, file)


def fit_weights(module: nn.Module, state: State, file: Path, what: str) -> list[str]:
    """Loads `state` into `module`; returns what had to be done to the names, in sentences.

    Raises:
        InputError: naming the keys that are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    notes: list[str] = []
    for prefix in _PREFIXES:
        stripped = all(key.startswith(prefix) for key in state) and state
        if stripped and not any(key.startswith(prefix) for key in own):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
            notes.append(f"the prefix {prefix!r} was taken off all names in {file.name}")
    missing = [key for key in own if key not in state and not _may_lack(key, own, state)]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key}: {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in own
        if key in state and _shape(own[key]) != _shape(state[key])
    ]
    parts = [
        f"{len(names)} {kind} ({_first(names)})"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
        )
        if names
    ]
    if parts:
        raise InputError(f"weights {file.name} don't fit {what}: {', '.join(parts)}")
    del own  # other names for the same memory
    if file.suffix == ".safetensors":
        mapped = map_weights(module, state, file)
        state = {key: tensor for key, tensor in state.items() if key not in mapped}
    if state:
        module.load_state_dict(state, strict=False)
    return notes


def known_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Returns all parameters and buffers by name that have plain contents, tied ones by each name.

    Buffers count whether or not a state dict holds them.
    """
    found = _tensors(module)
    return {name: tensor for name, tensor in found.items() if _is_plain(tensor)}


def special_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the other parameters and buffers: sparse, quantized, of a class of their own."""
    found = _tensors(module)
    return {name: tensor for name, tensor in found.items() if not _is_plain(tensor)}


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return dict(sorted((found | dict(module.named_buffers(remove_duplicate=False))).items()))


def _is_plain(tensor: torch.Tensor) -> bool:
    strided = type(tensor) in _PLAIN and tensor.layout is torch.strided
    return strided and not (tensor.is_quantized or tensor.is_meta)


def weights_digest(module: nn.Module) -> str:
    """Returns the SHA-256 over names, dtypes, shapes and bytes of `known_tensors`."""
    digest = hashlib.sha256()
    first: dict[int, str] = {}
    for name, tensor in known_tensors(module).items():
        digest.update(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
        if id(tensor) in first:
            digest.update(f"as {first[id(tensor)]}".encode())
        else:
            digest.update(tensor_bytes(tensor))
        first.setdefault(id(tensor), name)
    return digest.hexdigest()


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


_PLAIN = frozenset({torch.Tensor, nn.Parameter, nn.Buffer})
_UNREADABLE = (nn.UninitializedParameter, nn.UninitializedBuffer)


def _state_dict(stored: Any, file: Path) -> State:
    if isinstance(stored, nn.Module):
        return dict(stored.state_dict())
    for key in _WRAPPED:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
            break
    if not isinstance(stored, Mapping):
        raise InputError(f"weights {file.name}: expected a state dict, got {type(stored).__name__}")
    odd = [str(key) for key, value in stored.items() if not isinstance(value, torch.Tensor)]
    if odd or not stored:
        held = f"has other entries: {_first(odd)}" if odd else "is empty"
        raise InputError(
            f"weights {file.name}: expected a state dict (perhaps under "
            f"{', '.join(_WRAPPED)}), and it {held}"
        )
    return dict(stored)


def _may_lack(key: str, own: Mapping[str, Any], state: State) -> bool:
    """Whether a file may leave `key` out: tied to one that is there, or a counter of training."""
    if key.endswith("num_batches_tracked"):
        return True
    place = own[key].data_ptr()
    return bool(place) and any(
        own[other].data_ptr() == place and own[other].shape == own[key].shape
        for other in state
        if other in own
    )


def _shape(tensor: torch.Tensor) -> tuple[int, ...] | None:
    return None if isinstance(tensor, _UNREADABLE) else tuple(tensor.shape)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
