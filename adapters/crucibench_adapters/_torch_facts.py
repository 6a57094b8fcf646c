"""What tells one live torch module from another, beside its weights."""

from __future__ import annotations

import hashlib
import inspect
import re
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from crucibench.util.hashing import data_digest
from crucibench.util.user_errors import public_name
from crucibench_adapters._torch_weights import tensor_bytes, weights_digest

_INTERNAL = frozenset(vars(nn.Module()))
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device)


class _UnknownError(Exception):
    """An attribute whose content nobody can tell."""


def module_digests(module: nn.Module, source: str | None, program: str) -> dict[str, str]:
    """Returns digests of all that gives a module's answers their meaning, none if one can't be had.

    Args:
        module: the module.
        source: the digest of its source files, or None for a live module.
        program: the digest of the file of an exported program, "" for other modules.
    """
    if program:
        return {"program": program}
    live = source is None
    digests = {
        "weights": weights_digest(module, buffers=live),
        "source": class_sources(module) if live else source,
        "configuration": configuration(module, strict=live),
    }
    known = {key: digest for key, digest in digests.items() if digest is not None}
    return known if len(known) == len(digests) else {}


def class_sources(module: nn.Module) -> str | None:
    """Returns a digest of the source of the user's classes in `module`, None if one has none."""
    sources: dict[str, str] = {}
    for part in module.modules():
        for kind in type(part).__mro__:
            if not _is_torch(kind) and kind is not object:
                try:
                    sources[f"{kind.__module__}.{kind.__qualname__}"] = inspect.getsource(kind)
                except (OSError, TypeError):
                    return None
    return data_digest(sources)


def configuration(module: nn.Module, *, strict: bool) -> str | None:
    """Returns a digest of the structure of `module` and of the plain attributes of its parts.

    Args:
        module: whose attributes count: they can change its answers as weights do.
        strict: None is returned if an attribute's content can't be told, or there are hooks;
            otherwise such attributes are passed over.
    """
    facts: dict[str, Any] = {"structure": _ADDRESS.sub("", repr(module))} if strict else {}
    for name, part in module.named_modules():
        own = _is_torch(type(part))
        if strict and (part._forward_hooks or part._forward_pre_hooks):
            return None
        for key, value in vars(part).items():
            if key in _INTERNAL or isinstance(value, nn.Module):
                continue
            try:
                facts[f"{name}.{key}"] = _told(value)
            except _UnknownError:
                if strict and not own:
                    return None
    return data_digest(facts)


def _told(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, list | tuple | set | frozenset):
        told = [_told(entry) for entry in value]
        return told if isinstance(value, list | tuple) else sorted(map(str, told))
    if isinstance(value, Mapping):
        return {repr(_told(key)): _told(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray) and value.dtype != object:
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        content = hashlib.sha256(tensor_bytes(value)).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    if isinstance(value, type | types.BuiltinFunctionType) or _is_library_function(value):
        return public_name(value)
    raise _UnknownError


def _is_library_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and value.__module__.startswith("torch.")


def _is_torch(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "torch"
